//! The little DER that key files need: reading and writing tag-length-value, and the
//! shells around a private key (PKCS#8, SEC1). It decides nothing about certificates.

use secrecy::zeroize::Zeroizing;

use super::PkiError;

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_1: u8 = 0xa1;

/// 1.2.840.10045.2.1
const OID_EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// 1.2.840.10045.3.1.7
const OID_P256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// 1.2.840.113549.1.1.1
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// 1.3.101.112
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// Everything of a PKCS#8 v1 Ed25519 key before its 32 bytes of seed.
const ED25519_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// What a PKCS#8 document holds.
pub(super) enum Pkcs8<'a> {
    /// The PKCS#1 document.
    Rsa(&'a [u8]),
    /// The scalar and, where written, the uncompressed public point.
    P256(&'a [u8], Option<&'a [u8]>),
    /// The 32 byte seed.
    Ed25519(&'a [u8]),
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// The next element's tag and content; `None` at the end or where the length is not sound.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 || rest.len() < count {
                return None;
            }
            let (bytes, rest) = rest.split_at(count);
            (
                bytes
                    .iter()
                    .fold(0, |sum, byte| (sum << 8) | usize::from(*byte)),
                rest,
            )
        };
        if rest.len() < length {
            return None;
        }
        let (content, rest) = rest.split_at(length);
        self.0 = rest;
        Some((tag, content))
    }

    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next()
            .filter(|(found, _)| *found == tag)
            .map(|(_, content)| content)
    }
}

fn element(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut out = Zeroizing::new(Vec::with_capacity(length + 6));
    out.push(tag);
    let bytes = length.to_be_bytes();
    let significant = bytes
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(bytes.len() - 1);
    if length < 0x80 {
        out.push(bytes[bytes.len() - 1]);
    } else {
        out.push(0x80 | u8::try_from(bytes.len() - significant).unwrap_or(8));
        out.extend_from_slice(&bytes[significant..]);
    }
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

fn malformed(form: &str) -> PkiError {
    PkiError::Malformed(format!("the private key is not valid {form}"))
}

/// Reads a PKCS#8 document, version 1 or 2.
pub(super) fn read_pkcs8(der: &[u8]) -> Result<Pkcs8<'_>, PkiError> {
    read_pkcs8_parts(der).ok_or_else(|| malformed("PKCS#8 (RSA, P-256 and Ed25519 are known)"))
}

fn read_pkcs8_parts(der: &[u8]) -> Option<Pkcs8<'_>> {
    let mut body = Reader(Reader(der).expect(SEQUENCE)?);
    body.expect(INTEGER)?;
    let mut algorithm = Reader(body.expect(SEQUENCE)?);
    let oid = algorithm.expect(OBJECT_IDENTIFIER)?;
    let key = body.expect(OCTET_STRING)?;
    if oid == OID_RSA {
        Some(Pkcs8::Rsa(key))
    } else if oid == OID_ED25519 {
        let seed = Reader(key).expect(OCTET_STRING)?;
        (seed.len() == 32).then_some(Pkcs8::Ed25519(seed))
    } else if oid == OID_EC_PUBLIC_KEY && algorithm.expect(OBJECT_IDENTIFIER)? == OID_P256 {
        let (scalar, public) = read_sec1_parts(key)?;
        Some(Pkcs8::P256(scalar, public))
    } else {
        None
    }
}

/// The scalar and public point of a SEC1 document on P-256.
pub(super) fn read_sec1(der: &[u8]) -> Result<(&[u8], Option<&[u8]>), PkiError> {
    read_sec1_parts(der).ok_or_else(|| malformed("SEC1 on curve P-256"))
}

fn read_sec1_parts(der: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let mut body = Reader(Reader(der).expect(SEQUENCE)?);
    body.expect(INTEGER)?;
    let scalar = body.expect(OCTET_STRING)?;
    let mut public = None;
    while let Some((tag, content)) = body.next() {
        match tag {
            CONTEXT_0 if Reader(content).expect(OBJECT_IDENTIFIER)? != OID_P256 => return None,
            CONTEXT_0 => {}
            // a bit string's first byte counts the unused bits
            CONTEXT_1 => public = Reader(content).expect(BIT_STRING)?.strip_prefix(&[0]),
            _ => return None,
        }
    }
    (scalar.len() == 32).then_some((scalar, public))
}

/// SEC1 as Go's `x509.MarshalECPrivateKey` writes it: curve and public point included.
pub(super) fn write_sec1(scalar: &[u8], public: &[u8]) -> Zeroizing<Vec<u8>> {
    element(
        SEQUENCE,
        &[
            &element(INTEGER, &[&[1]]),
            &element(OCTET_STRING, &[scalar]),
            &element(CONTEXT_0, &[&element(OBJECT_IDENTIFIER, &[OID_P256])]),
            &element(CONTEXT_1, &[&element(BIT_STRING, &[&[0], public])]),
        ],
    )
}

/// PKCS#8 around a P-256 key, with the public point and without the repeated curve: the
/// one form that ring reads.
pub(super) fn write_p256_pkcs8(scalar: &[u8], public: &[u8]) -> Zeroizing<Vec<u8>> {
    let key = element(
        SEQUENCE,
        &[
            &element(INTEGER, &[&[1]]),
            &element(OCTET_STRING, &[scalar]),
            &element(CONTEXT_1, &[&element(BIT_STRING, &[&[0], public])]),
        ],
    );
    element(
        SEQUENCE,
        &[
            &element(INTEGER, &[&[0]]),
            &element(
                SEQUENCE,
                &[
                    &element(OBJECT_IDENTIFIER, &[OID_EC_PUBLIC_KEY]),
                    &element(OBJECT_IDENTIFIER, &[OID_P256]),
                ],
            ),
            &element(OCTET_STRING, &[&key]),
        ],
    )
}

/// PKCS#8 around a PKCS#1 document.
pub(super) fn write_rsa_pkcs8(pkcs1: &[u8]) -> Zeroizing<Vec<u8>> {
    element(
        SEQUENCE,
        &[
            &element(INTEGER, &[&[0]]),
            &element(
                SEQUENCE,
                &[&element(OBJECT_IDENTIFIER, &[OID_RSA]), &[0x05, 0x00]],
            ),
            &element(OCTET_STRING, &[pkcs1]),
        ],
    )
}

/// PKCS#8 version 1, the 48 bytes that Go writes.
pub(super) fn write_ed25519_pkcs8(seed: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut out = Zeroizing::new(Vec::with_capacity(ED25519_PREFIX.len() + seed.len()));
    out.extend_from_slice(&ED25519_PREFIX);
    out.extend_from_slice(seed);
    out
}
