//! The answer of the Kubeconfig call: a gzip'd tar with one file. Talos does not write the blocks
//! that end a tar, so the end of the data ends it.

use std::io::Read as _;

use secrecy::SecretString;

/// A kubeconfig is small; whatever unpacks to more than this is none.
const LIMIT: u64 = 1024 * 1024;
const BLOCK: usize = 512;

/// The file in the archive.
pub(super) fn unpack(archive: &[u8]) -> Result<SecretString, &'static str> {
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(archive)
        .take(LIMIT)
        .read_to_end(&mut tar)
        .map_err(|_| "it is no gzip archive, or cut short")?;
    let mut rest = tar.as_slice();
    while rest.len() >= BLOCK {
        let (header, after) = rest.split_at(BLOCK);
        let size = octal(&header[124..136]).ok_or("its tar has a broken header")?;
        if header[0] == 0 {
            break;
        }
        let content = after.get(..size).ok_or("its tar is cut short")?;
        if matches!(header[156], b'0' | 0) {
            return String::from_utf8(content.to_vec())
                .map(SecretString::from)
                .map_err(|_| "the kubeconfig in it is not UTF-8");
        }
        rest = after
            .get(size.next_multiple_of(BLOCK)..)
            .unwrap_or_default();
    }
    Err("its tar holds no file")
}

fn octal(field: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches(['\0', ' ']);
    if digits.is_empty() {
        Some(0)
    } else {
        usize::from_str_radix(digits, 8).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;
    use std::io::Write as _;

    fn archive(tar: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(tar).expect("in memory");
        encoder.finish().expect("in memory")
    }

    fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut block = vec![0_u8; BLOCK];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        block[156] = kind;
        block.extend_from_slice(content);
        block
    }

    #[test]
    fn a_kubeconfig_is_found_in_a_tar_that_has_no_end() {
        let packed = archive(&entry("kubeconfig", b'0', b"apiVersion: v1\n"));
        assert_eq!(
            unpack(&packed).expect("a file").expose_secret(),
            "apiVersion: v1\n"
        );
    }

    #[test]
    fn entries_that_are_no_files_are_passed_over() {
        let tar = [entry("./", b'5', b""), entry("./kubeconfig", b'0', b"x")].concat();
        assert_eq!(unpack(&archive(&tar)).expect("a file").expose_secret(), "x");
    }

    #[test]
    fn archives_that_hold_no_kubeconfig_are_refused_with_a_reason() {
        let cut = {
            let mut tar = entry("kubeconfig", b'0', b"0123456789");
            tar.truncate(515);
            tar
        };
        assert_eq!(
            unpack(b"plain").err(),
            Some("it is no gzip archive, or cut short")
        );
        assert_eq!(unpack(&archive(&cut)).err(), Some("its tar is cut short"));
        assert_eq!(
            unpack(&archive(&[0; 1024])).err(),
            Some("its tar holds no file")
        );
        assert_eq!(unpack(&archive(b"")).err(), Some("its tar holds no file"));
        assert_eq!(
            unpack(&archive(&[b'x'; 512])).err(),
            Some("its tar has a broken header")
        );
    }
}
