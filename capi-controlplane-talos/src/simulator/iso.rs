//! Reads the few files of a NoCloud ISO as Linux would: names by Rock Ridge, else by Joliet, else
//! as ISO 9660 has them.

use std::collections::BTreeMap;

const SECTOR: usize = 2048;
const FIRST_DESCRIPTOR: usize = 16;
/// More descriptors or directory sectors than any volume of this kind has.
const MOST: usize = 64;

/// A volume: its label and the files in its root.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Volume {
    pub(super) label: String,
    pub(super) files: BTreeMap<String, Vec<u8>>,
}

/// Reads a volume; `None` if the bytes hold none.
pub(super) fn read(image: &[u8]) -> Option<Volume> {
    let descriptors = || (0..MOST).map_while(|i| sector(image, FIRST_DESCRIPTOR + i));
    let of_kind = |kind: u8| {
        descriptors()
            .take_while(|d| &d[1..6] == b"CD001" && d[0] != 255)
            .filter(move |d| d[0] == kind)
    };
    let primary = of_kind(1).next()?;
    // padded with spaces by the standard, with zeros by some
    let label = String::from_utf8_lossy(&primary[40..72]);
    let label = label.trim_end_matches([' ', '\0']).to_owned();
    let (mut files, rock_ridge) = directory(image, &primary[156..190], false)?;
    if !rock_ridge {
        let joliet = of_kind(2).find(|d| matches!(&d[88..91], b"%/@" | b"%/C" | b"%/E"));
        if let Some(joliet) = joliet {
            files = directory(image, &joliet[156..190], true)?.0;
        }
    }
    Some(Volume { label, files })
}

fn sector(image: &[u8], number: usize) -> Option<&[u8]> {
    let start = number.checked_mul(SECTOR)?;
    image.get(start..start.checked_add(SECTOR)?)
}

fn word(bytes: &[u8]) -> Option<usize> {
    let four: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
    usize::try_from(u32::from_le_bytes(four)).ok()
}

/// The extent of a directory record: its bytes.
fn extent<'a>(image: &'a [u8], record: &[u8]) -> Option<&'a [u8]> {
    let start = word(record.get(2..)?)?.checked_mul(SECTOR)?;
    image.get(start..start.checked_add(word(record.get(10..)?)?)?)
}

fn directory(image: &[u8], root: &[u8], joliet: bool) -> Option<(BTreeMap<String, Vec<u8>>, bool)> {
    let content = extent(image, root)?;
    let mut files = BTreeMap::new();
    let mut rock_ridge = false;
    for sector in content.chunks(SECTOR).take(MOST) {
        let mut rest = sector;
        while let Some(length) = rest
            .first()
            .map(|length| usize::from(*length))
            .filter(|l| *l > 0)
        {
            let record = rest.get(..length)?;
            rest = &rest[length..];
            let name_length = usize::from(*record.get(32)?);
            let name = record.get(33..33 + name_length)?;
            if record.get(25)? & 2 != 0 {
                continue;
            }
            let alternate = if joliet {
                None
            } else {
                rock_ridge_name(
                    record
                        .get(33 + name_length + (1 - name_length % 2)..)
                        .unwrap_or_default(),
                )
            };
            rock_ridge |= alternate.is_some();
            let name = alternate.unwrap_or_else(|| plain_name(name, joliet));
            files.insert(name, extent(image, record)?.to_vec());
        }
    }
    Some((files, rock_ridge))
}

fn plain_name(name: &[u8], joliet: bool) -> String {
    let text = if joliet {
        let units = name
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        char::decode_utf16(units)
            .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
            .collect()
    } else {
        String::from_utf8_lossy(name).to_ascii_lowercase()
    };
    let text = text.split(';').next().unwrap_or_default();
    text.trim_end_matches('.').to_owned()
}

/// The name in the `NM` entries of a record's system use area.
fn rock_ridge_name(mut area: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    while let [a, b, length, ..] = *area {
        let entry = area
            .get(..usize::from(length))
            .filter(|entry| entry.len() >= 4)?;
        if [a, b] == *b"NM" {
            name.extend_from_slice(entry.get(5..)?);
        }
        area = &area[entry.len()..];
    }
    (!name.is_empty()).then(|| String::from_utf8_lossy(&name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_are_no_volume_are_told_apart_without_panic() {
        assert_eq!(read(b""), None);
        assert_eq!(read(&vec![0; 64 * SECTOR]), None);
        let mut image = vec![0xff; 20 * SECTOR];
        image[FIRST_DESCRIPTOR * SECTOR..][..6].copy_from_slice(b"\x01CD001");
        assert_eq!(read(&image), None, "extents that lie outside are no volume");
    }

    #[test]
    fn names_are_as_linux_shows_them() {
        assert_eq!(plain_name(b"USER_DATA.;1", false), "user_data");
        assert_eq!(
            plain_name(b"\0u\0s\0e\0r\0-\0d\0a\0t\0a", true),
            "user-data"
        );
        assert_eq!(
            rock_ridge_name(b"RR\x05\x01\x89NM\x0e\x01\0user-data").as_deref(),
            Some("user-data")
        );
        assert_eq!(rock_ridge_name(b""), None);
    }

    proptest::proptest! {
        #[test]
        fn no_image_makes_the_reader_panic(start: u8, bytes: Vec<u8>) {
            let mut image = vec![0; FIRST_DESCRIPTOR * SECTOR];
            image.extend_from_slice(&[start % 3, b'C', b'D', b'0', b'0', b'1']);
            image.extend_from_slice(&bytes);
            image.resize(FIRST_DESCRIPTOR * SECTOR + 3 * SECTOR, 1);
            let _ = read(&image);
        }
    }
}
