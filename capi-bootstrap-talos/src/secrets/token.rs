//! Join tokens: `abcdef.0123456789abcdef`, the form of kubeadm.

use capi_core::pki::PkiError;
use rand::RngCore;
use secrecy::SecretString;
use secrecy::zeroize::Zeroizing;

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// A new token; every character is equally likely.
pub(super) fn generate(random: &mut dyn RngCore) -> Result<SecretString, PkiError> {
    let mut out = Zeroizing::new(String::with_capacity(23));
    for length in [6, 16] {
        if !out.is_empty() {
            out.push('.');
        }
        let end = out.len() + length;
        while out.len() < end {
            let mut bytes = Zeroizing::new([0; 32]);
            random
                .try_fill_bytes(bytes.as_mut())
                .map_err(|_| PkiError::Random)?;
            // 252 is the largest multiple of 36 in a byte: larger values would favour some
            for byte in bytes
                .iter()
                .filter(|byte| **byte < 252)
                .take(end - out.len())
            {
                out.push(char::from(ALPHABET[usize::from(byte % 36)]));
            }
        }
    }
    Ok(SecretString::from(out.as_str()))
}

/// Whether a text has the form of a token.
pub(super) fn is_valid(text: &str) -> bool {
    let of = |part: &str, length| {
        part.len() == length && part.bytes().all(|byte| ALPHABET.contains(&byte))
    };
    text.split_once('.')
        .is_some_and(|(id, secret)| of(id, 6) && of(secret, 16))
}
