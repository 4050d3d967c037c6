//! Bodies and queries: `application/x-www-form-urlencoded`, and the multipart body of an upload.

use std::fmt::Write as _;

use bytes::Bytes;

/// Parameters of a call, in order. A repeated name is an array.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// No parameters.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a parameter.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts alike")]
    pub fn with(mut self, name: impl Into<String>, value: impl ToString) -> Self {
        self.0.push((name.into(), value.to_string()));
        self
    }

    /// Adds a parameter if there is a value.
    #[must_use]
    pub fn with_optional(self, name: impl Into<String>, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The parameters as a form body or a query.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.0 {
            if !text.is_empty() {
                text.push('&');
            }
            percent_encode(&mut text, name, |_| false);
            text.push('=');
            percent_encode(&mut text, value, |_| false);
        }
        text
    }
}

impl<N: Into<String>, V: ToString> FromIterator<(N, V)> for Parameters {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(parameters: I) -> Self {
        Self(
            parameters
                .into_iter()
                .map(|(name, value)| (name.into(), value.to_string()))
                .collect(),
        )
    }
}

/// Encodes a segment of a path. Volume ids hold `:` and `/`, which Proxmox VE takes as they are.
pub(super) fn path_segment(text: &str) -> String {
    let mut encoded = String::new();
    percent_encode(&mut encoded, text, |byte| {
        matches!(byte, b':' | b'/' | b'!' | b'@')
    });
    encoded
}

fn percent_encode(out: &mut String, text: &str, also_plain: impl Fn(u8) -> bool) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'.' | b'_' | b'~')
            || also_plain(byte)
        {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

/// The multipart body of an upload: plain fields first, then one part named `filename`.
///
/// Proxmox VE reads the length from the header and knows no chunked bodies, so the body is one piece.
/// Returns the content type and the body.
#[must_use]
pub fn multipart(fields: &Parameters, file_name: &str, content: &[u8]) -> (String, Bytes) {
    let boundary = boundary_for(content);
    let mut body = Vec::with_capacity(content.len() + 512);
    for (name, value) in fields.iter() {
        let part = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
        body.extend_from_slice(part.as_bytes());
    }
    let head = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"{file_name}\"\r\n\
         Content-Type: application/octet-stream\r\n\r\n"
    );
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(content);
    body.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    (
        format!("multipart/form-data; boundary={boundary}"),
        Bytes::from(body),
    )
}

/// A boundary that does not occur in `content`: its digest, counted up until it fits.
fn boundary_for(content: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, content);
    let mut stem = String::from("proxmox-");
    for byte in &digest.as_ref()[..12] {
        let _ = write!(stem, "{byte:02x}");
    }
    let mut count = 0u32;
    loop {
        let boundary = format!("{stem}{count}");
        if !content
            .windows(boundary.len())
            .any(|window| window == boundary.as_bytes())
        {
            return boundary;
        }
        count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_encoded_so_that_a_form_reader_reads_them_back() {
        let parameters = Parameters::new()
            .with("net0", "virtio=BC:24:11:00:00:01,bridge=vmbr0")
            .with("description", "a b&c=ü\n");
        assert_eq!(
            parameters.encode(),
            "net0=virtio%3DBC%3A24%3A11%3A00%3A00%3A01%2Cbridge%3Dvmbr0&description=a%20b%26c%3D%C3%BC%0A"
        );
    }

    #[test]
    fn a_volume_id_stays_readable_in_a_path() {
        assert_eq!(path_segment("local:iso/a b.iso"), "local:iso/a%20b.iso");
        assert_eq!(path_segment("pve?1#"), "pve%3F1%23");
    }

    #[test]
    fn an_upload_has_its_fields_first_and_its_file_named_filename() {
        let (content_type, body) = multipart(
            &Parameters::new().with("content", "iso"),
            "a.iso",
            b"\r\n--x\0\xff",
        );
        let boundary = content_type
            .strip_prefix("multipart/form-data; boundary=")
            .unwrap();
        let expected = [
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"content\"\r\n\r\niso\r\n").into_bytes(),
            format!("--{boundary}\r\nContent-Disposition: form-data; name=\"filename\"; filename=\"a.iso\"\r\n").into_bytes(),
            b"Content-Type: application/octet-stream\r\n\r\n\r\n--x\0\xff\r\n".to_vec(),
            format!("--{boundary}--\r\n").into_bytes(),
        ]
        .concat();
        assert_eq!(body, expected);
    }
}
