//! PEM blocks: label and content. Reading accepts what Go accepts (text around the block,
//! any line length); writing is what Go writes (64 columns).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;

use super::PkiError;

/// One PEM block.
pub(super) struct Block<'a> {
    pub(super) label: &'a str,
    pub(super) content: Zeroizing<Vec<u8>>,
    /// What follows the block.
    pub(super) rest: &'a str,
}

/// The first block of `text`.
pub(super) fn read(text: &str) -> Result<Block<'_>, PkiError> {
    let missing = || PkiError::Malformed("no PEM block (-----BEGIN ...) was found".to_owned());
    let (_, after) = text.split_once("-----BEGIN ").ok_or_else(missing)?;
    let (label, after) = after.split_once("-----").ok_or_else(missing)?;
    let end = format!("-----END {label}-----");
    let (body, rest) = after
        .split_once(&end)
        .ok_or_else(|| PkiError::Malformed(format!("the PEM block {label:?} has no END line")))?;
    let compact = Zeroizing::new(body.split_ascii_whitespace().collect::<String>());
    let content = STANDARD
        .decode(compact.as_bytes())
        .map_err(|_| PkiError::Malformed(format!("the PEM block {label:?} is not base64")))?;
    Ok(Block {
        label,
        content: Zeroizing::new(content),
        rest,
    })
}

/// Writes one block.
pub(super) fn write(label: &str, content: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(content));
    let mut out = Zeroizing::new(String::with_capacity(
        encoded.len() * 66 / 64 + 2 * label.len() + 40,
    ));
    out.push_str("-----BEGIN ");
    out.push_str(label);
    out.push_str("-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        out.push_str(line);
        out.push('\n');
        rest = after;
    }
    out.push_str("-----END ");
    out.push_str(label);
    out.push_str("-----\n");
    out
}
