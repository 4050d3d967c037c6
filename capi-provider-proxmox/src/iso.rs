//! ISO 9660 images with a handful of files in their root: how a NoCloud guest gets its configuration.
//!
//! The names that NoCloud asks for (`user-data`, ...) are no ISO 9660 names, so each file is named three times: in 8.3
//! form, through Rock Ridge (what Linux and Talos read), and through Joliet. The image is the same for the same input.
//! The reader is for the simulator and for tests; it is lenient towards images that others made.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

const SECTOR: usize = 2048;
/// Longest directory record, with all its Rock Ridge fields.
const LONGEST_RECORD: usize = 254;

/// Why an image cannot be made or read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IsoError {
    /// A file's name is empty, too long, holds `/` or NUL, or occurs twice.
    #[error("{0:?} cannot be the name of a file in an ISO image")]
    Name(String),
    /// The label has no place in a volume descriptor.
    #[error("{0:?} cannot be the label of an ISO image: at most 16 ASCII characters")]
    Label(String),
    /// The files are larger than an image can hold.
    #[error("the files are too large for an ISO image")]
    TooLarge,
    /// The bytes are no ISO 9660 image.
    #[error("no ISO 9660 image: {0}")]
    Malformed(&'static str),
}

/// The files of a NoCloud volume.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct NoCloud {
    /// `user-data`: the bootstrap data, byte for byte.
    pub user_data: Vec<u8>,
    /// `meta-data`.
    pub meta_data: String,
    /// `network-config`; left out when there is none.
    pub network_config: Option<String>,
    /// `vendor-data`; left out when there is none.
    pub vendor_data: Option<String>,
}

impl fmt::Debug for NoCloud {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NoCloud")
            .field("user_data", &format_args!("{} bytes", self.user_data.len()))
            .field("meta_data", &self.meta_data)
            .field("network_config", &self.network_config)
            .finish_non_exhaustive()
    }
}

impl NoCloud {
    /// The label by which a guest finds its volume.
    pub const LABEL: &'static str = "cidata";

    /// The image.
    ///
    /// # Errors
    /// [`IsoError::TooLarge`] from about 4 GiB on.
    pub fn image(&self) -> Result<Vec<u8>, IsoError> {
        let mut files = vec![
            ("meta-data", self.meta_data.as_bytes()),
            ("user-data", self.user_data.as_slice()),
        ];
        if let Some(network_config) = &self.network_config {
            files.push(("network-config", network_config.as_bytes()));
        }
        if let Some(vendor_data) = self.vendor_data.as_ref().filter(|data| !data.is_empty()) {
            files.push(("vendor-data", vendor_data.as_bytes()));
        }
        write(Self::LABEL, &files)
    }

    /// Reads a volume back, if it carries the label (in either case).
    ///
    /// # Errors
    /// [`IsoError::Malformed`].
    pub fn read(image: &[u8]) -> Result<Option<Self>, IsoError> {
        let mut volume = read(image)?;
        if !volume.label.eq_ignore_ascii_case(Self::LABEL) {
            return Ok(None);
        }
        let mut text = |name: &str| {
            volume
                .files
                .remove(name)
                .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let (meta_data, network_config, vendor_data) = (
            text("meta-data"),
            text("network-config"),
            text("vendor-data"),
        );
        Ok(Some(Self {
            user_data: volume.files.remove("user-data").unwrap_or_default(),
            meta_data: meta_data.unwrap_or_default(),
            network_config,
            vendor_data,
        }))
    }
}

/// A file's place in the image that is being made.
struct Entry<'a> {
    name: &'a str,
    short: String,
    content: &'a [u8],
    sector: usize,
    serial: usize,
}

/// Makes an image with `files` in its root.
///
/// # Errors
/// [`IsoError::Name`], [`IsoError::Label`], [`IsoError::TooLarge`].
pub fn write(label: &str, files: &[(&str, &[u8])]) -> Result<Vec<u8>, IsoError> {
    if label.is_empty() || label.len() > 16 || !label.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(IsoError::Label(label.to_owned()));
    }
    let mut entries = name_entries(files)?;

    // Sectors: 16 unused, primary, Joliet, terminator, four path tables, directories, Rock Ridge's note, files.
    let path_tables = 19;
    let primary_root = 23;
    entries.sort_by(|a, b| a.short.cmp(&b.short));
    let primary_sectors = directory_sectors(
        entries.iter().map(|entry| primary_record(entry).len()),
        ROOT_RECORDS_PRIMARY,
    );
    let joliet_root = primary_root + primary_sectors;
    let joliet_sectors = directory_sectors(
        entries
            .iter()
            .map(|entry| 34 + 2 * entry.name.encode_utf16().count()),
        68,
    );
    let note = joliet_root + joliet_sectors;
    let mut next = note + 1;
    for entry in &mut entries {
        entry.sector = next;
        next += entry.content.len().div_ceil(SECTOR);
    }
    let total = next;
    u32::try_from(total.checked_mul(SECTOR).ok_or(IsoError::TooLarge)?)
        .map_err(|_| IsoError::TooLarge)?;

    let mut image = vec![0u8; total * SECTOR];
    let primary = Directory {
        sector: primary_root,
        length: primary_sectors * SECTOR,
    };
    let joliet = Directory {
        sector: joliet_root,
        length: joliet_sectors * SECTOR,
    };
    put(
        &mut image,
        16,
        &volume_descriptor(label, total, path_tables, &primary, false),
    );
    put(
        &mut image,
        17,
        &volume_descriptor(label, total, path_tables + 2, &joliet, true),
    );
    put(&mut image, 18, b"\xffCD001\x01");
    for (index, (sector, big_endian)) in [
        (primary_root, false),
        (primary_root, true),
        (joliet_root, false),
        (joliet_root, true),
    ]
    .into_iter()
    .enumerate()
    {
        put(
            &mut image,
            path_tables + index,
            &path_table(sector, big_endian),
        );
    }

    let mut records = vec![
        primary.root_record(b"\0", &root_fields(note)),
        primary.root_record(b"\x01", &px(0o040_555, 2, 1)),
    ];
    records.extend(entries.iter().map(primary_record));
    put(&mut image, primary_root, &pack(&records));
    put(&mut image, note, &extension_note());

    let mut by_name: Vec<&Entry<'_>> = entries.iter().collect();
    by_name.sort_by_key(|entry| entry.name.encode_utf16().collect::<Vec<_>>());
    let mut records = vec![
        joliet.root_record(b"\0", &[]),
        joliet.root_record(b"\x01", &[]),
    ];
    records.extend(by_name.iter().map(|entry| {
        let name: Vec<u8> = entry
            .name
            .encode_utf16()
            .flat_map(u16::to_be_bytes)
            .collect();
        record(entry.sector, entry.content.len(), false, &name, &[])
    }));
    put(&mut image, joliet_root, &pack(&records));

    for entry in &entries {
        put(&mut image, entry.sector, entry.content);
    }
    Ok(image)
}

fn name_entries<'a>(files: &[(&'a str, &'a [u8])]) -> Result<Vec<Entry<'a>>, IsoError> {
    let mut names = BTreeSet::new();
    let mut shorts = BTreeSet::new();
    let mut entries = Vec::with_capacity(files.len());
    for (index, (name, content)) in files.iter().enumerate() {
        let bad = name.is_empty()
            || name.len() > 64
            || *name == "."
            || *name == ".."
            || name.contains(['/', '\0', ';']);
        if bad || !names.insert(*name) {
            return Err(IsoError::Name((*name).to_owned()));
        }
        if u32::try_from(content.len()).is_err() {
            return Err(IsoError::TooLarge);
        }
        let short = short_name(name, &shorts);
        shorts.insert(short.clone());
        entries.push(Entry {
            name,
            short,
            content,
            sector: 0,
            serial: index + 2,
        });
    }
    Ok(entries)
}

/// The name in 8.3 form, different from those that are taken.
fn short_name(name: &str, taken: &BTreeSet<String>) -> String {
    let plain = |text: &str, length: usize| -> String {
        text.chars()
            .map(|character| {
                if character.is_ascii_alphanumeric() {
                    character.to_ascii_uppercase()
                } else {
                    '_'
                }
            })
            .take(length)
            .collect()
    };
    let (stem, extension) = match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (plain(stem, 8), plain(extension, 3)),
        _ => (plain(name, 8), String::new()),
    };
    let mut candidate = format!("{stem}.{extension};1");
    let mut count = 1u32;
    while taken.contains(&candidate) {
        let suffix = count.to_string();
        candidate = format!(
            "{}{suffix}.{extension};1",
            plain(&stem, 8 - suffix.len().min(8))
        );
        count += 1;
    }
    candidate
}

struct Directory {
    sector: usize,
    length: usize,
}

impl Directory {
    fn root_record(&self, name: &[u8], fields: &[u8]) -> Vec<u8> {
        record(self.sector, self.length, true, name, fields)
    }
}

/// Bytes of the records of `.` and `..` in the primary root.
const ROOT_RECORDS_PRIMARY: usize = (34 + 7 + 28 + 44 + 1) + (34 + 44);

fn directory_sectors(records: impl Iterator<Item = usize>, first: usize) -> usize {
    let mut used = first;
    for length in records {
        let length = length + length % 2;
        if used % SECTOR + length > SECTOR {
            used = used.next_multiple_of(SECTOR);
        }
        used += length;
    }
    used.div_ceil(SECTOR)
}

/// Lays records out so that none crosses the end of a sector.
fn pack(records: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        if bytes.len() % SECTOR + record.len() > SECTOR {
            bytes.resize(bytes.len().next_multiple_of(SECTOR), 0);
        }
        bytes.extend_from_slice(record);
    }
    bytes
}

fn primary_record(entry: &Entry<'_>) -> Vec<u8> {
    let mut fields = px(0o100_444, 1, entry.serial);
    fields.extend_from_slice(b"NM");
    fields.push(5 + entry.name.len() as u8);
    fields.extend_from_slice(&[1, 0]);
    fields.extend_from_slice(entry.name.as_bytes());
    record(
        entry.sector,
        entry.content.len(),
        false,
        entry.short.as_bytes(),
        &fields,
    )
}

fn record(sector: usize, length: usize, directory: bool, name: &[u8], fields: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend_from_slice(&both_endian(sector));
    bytes.extend_from_slice(&both_endian(length));
    bytes.extend_from_slice(&[0; 7]);
    bytes.push(if directory { 2 } else { 0 });
    bytes.extend_from_slice(&[0, 0, 1, 0, 0, 1]);
    bytes.push(name.len() as u8);
    bytes.extend_from_slice(name);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes.extend_from_slice(fields);
    if bytes.len() % 2 == 1 {
        bytes.push(0);
    }
    debug_assert!(bytes.len() <= LONGEST_RECORD);
    bytes[0] = bytes.len() as u8;
    bytes
}

/// Rock Ridge: mode, links, owner, group, serial number.
fn px(mode: usize, links: usize, serial: usize) -> Vec<u8> {
    let mut bytes = b"PX\x2c\x01".to_vec();
    for value in [mode, links, 0, 0, serial] {
        bytes.extend_from_slice(&both_endian(value));
    }
    bytes
}

/// Rock Ridge fields of the root's own record: the protocol is in use, and its note is elsewhere.
fn root_fields(note: usize) -> Vec<u8> {
    let mut fields = b"SP\x07\x01\xbe\xef\x00".to_vec();
    fields.extend_from_slice(&px(0o040_555, 2, 1));
    fields.extend_from_slice(b"CE\x1c\x01");
    for value in [note, 0, extension_note().len()] {
        fields.extend_from_slice(&both_endian(value));
    }
    fields
}

/// The note that says which extension is in use.
fn extension_note() -> Vec<u8> {
    let identifier = b"IEEE_P1282";
    let descriptor = b"THE IEEE P1282 PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS";
    let source = b"PLEASE CONTACT THE IEEE STANDARDS DEPARTMENT, PISCATAWAY, NJ, USA FOR THE P1282 SPECIFICATION.";
    let length = 8 + identifier.len() + descriptor.len() + source.len();
    let mut bytes = b"ER".to_vec();
    bytes.extend_from_slice(&[
        length as u8,
        1,
        identifier.len() as u8,
        descriptor.len() as u8,
        source.len() as u8,
        1,
    ]);
    bytes.extend_from_slice(identifier);
    bytes.extend_from_slice(descriptor);
    bytes.extend_from_slice(source);
    bytes
}

fn volume_descriptor(
    label: &str,
    sectors: usize,
    path_tables: usize,
    root: &Directory,
    joliet: bool,
) -> Vec<u8> {
    let text = |value: &str, length: usize| -> Vec<u8> {
        let mut bytes: Vec<u8> = if joliet {
            value.encode_utf16().flat_map(u16::to_be_bytes).collect()
        } else {
            value.as_bytes().to_vec()
        };
        while bytes.len() < length {
            if joliet && bytes.len() + 1 < length {
                bytes.push(0);
            }
            bytes.push(b' ');
        }
        bytes
    };
    let mut bytes = vec![if joliet { 2 } else { 1 }];
    bytes.extend_from_slice(b"CD001\x01\0");
    bytes.extend_from_slice(&text("", 32));
    bytes.extend_from_slice(&text(label, 32));
    bytes.extend_from_slice(&[0; 8]);
    bytes.extend_from_slice(&both_endian(sectors));
    let mut escapes = [0; 32];
    if joliet {
        escapes[..3].copy_from_slice(b"%/E");
    }
    bytes.extend_from_slice(&escapes);
    for value in [1, 1, SECTOR as u16] {
        bytes.extend_from_slice(&value.to_le_bytes());
        bytes.extend_from_slice(&value.to_be_bytes());
    }
    bytes.extend_from_slice(&both_endian(path_table(0, false).len()));
    bytes.extend_from_slice(&(path_tables as u32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(path_tables as u32 + 1).to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&root.root_record(b"\0", &[]));
    for _ in 0..4 {
        bytes.extend_from_slice(&text("", 128));
    }
    for _ in 0..3 {
        bytes.extend_from_slice(&text("", 37));
    }
    for _ in 0..4 {
        bytes.extend_from_slice(b"0000000000000000\0");
    }
    bytes.extend_from_slice(&[1, 0]);
    bytes
}

fn path_table(root: usize, big_endian: bool) -> Vec<u8> {
    let mut bytes = vec![1, 0];
    let (sector, parent) = (root as u32, 1u16);
    if big_endian {
        bytes.extend_from_slice(&sector.to_be_bytes());
        bytes.extend_from_slice(&parent.to_be_bytes());
    } else {
        bytes.extend_from_slice(&sector.to_le_bytes());
        bytes.extend_from_slice(&parent.to_le_bytes());
    }
    bytes.extend_from_slice(&[0, 0]);
    bytes
}

fn both_endian(value: usize) -> [u8; 8] {
    let value = value as u32;
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&value.to_le_bytes());
    bytes[4..].copy_from_slice(&value.to_be_bytes());
    bytes
}

fn put(image: &mut [u8], sector: usize, bytes: &[u8]) {
    let start = sector * SECTOR;
    image[start..start + bytes.len()].copy_from_slice(bytes);
}

/// What a reader finds in an image.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volume {
    /// The label, without padding.
    pub label: String,
    /// Files in the root by their Rock Ridge names, else their Joliet names, else their plain ones.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Reads the files in the root of an image.
///
/// # Errors
/// [`IsoError::Malformed`] when the bytes are no image, or point outside of it.
pub fn read(image: &[u8]) -> Result<Volume, IsoError> {
    let mut primary = None;
    let mut joliet = None;
    for sector in 16..64 {
        let descriptor = bytes_at(image, sector * SECTOR, SECTOR)
            .ok_or(IsoError::Malformed("it has no volume descriptors"))?;
        if &descriptor[1..6] != b"CD001" {
            return Err(IsoError::Malformed("it has no volume descriptors"));
        }
        match descriptor[0] {
            1 => primary = primary.or(Some(descriptor)),
            2 if matches!(&descriptor[88..91], b"%/@" | b"%/C" | b"%/E") => {
                joliet = Some(descriptor);
            }
            255 => break,
            _ => {}
        }
    }
    let primary = primary.ok_or(IsoError::Malformed("it has no primary volume descriptor"))?;
    let label = String::from_utf8_lossy(&primary[40..72])
        .trim_end_matches([' ', '\0'])
        .to_owned();
    let (mut files, rock_ridge) = read_root(image, primary, false)?;
    if let (false, Some(joliet)) = (rock_ridge, joliet) {
        files = read_root(image, joliet, true)?.0;
    }
    Ok(Volume { label, files })
}

type Files = BTreeMap<String, Vec<u8>>;

fn read_root(image: &[u8], descriptor: &[u8], joliet: bool) -> Result<(Files, bool), IsoError> {
    let outside = IsoError::Malformed("its directory lies outside of it");
    let root = &descriptor[156..190];
    let directory = bytes_at(image, le32(root, 2) * SECTOR, le32(root, 10)).ok_or(outside)?;
    let mut files = Files::new();
    let mut rock_ridge = false;
    let mut at = 0;
    while at < directory.len() {
        let length = usize::from(directory[at]);
        if length == 0 {
            at = (at / SECTOR + 1) * SECTOR;
            continue;
        }
        let record = directory
            .get(at..at + length)
            .filter(|record| record.len() > 33);
        let record = record.ok_or(IsoError::Malformed("a directory record is cut off"))?;
        at += length;
        let name_length = usize::from(record[32]);
        let name = record
            .get(33..33 + name_length)
            .ok_or(IsoError::Malformed("a file's name is cut off"))?;
        if name == b"\0" || name == b"\x01" || record[25] & 2 != 0 {
            continue;
        }
        let fields = record
            .get(33 + name_length + (name_length + 1) % 2..)
            .unwrap_or_default();
        let long = if joliet {
            None
        } else {
            rock_ridge_name(image, fields)
        };
        rock_ridge |= long.is_some();
        let name = long.unwrap_or_else(|| plain_name(name, joliet));
        let content = bytes_at(image, le32(record, 2) * SECTOR, le32(record, 10));
        let content = content.ok_or(IsoError::Malformed("a file lies outside of it"))?;
        files.insert(name, content.to_vec());
    }
    Ok((files, rock_ridge))
}

fn plain_name(name: &[u8], joliet: bool) -> String {
    let text = if joliet {
        let units: Vec<u16> = name
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect();
        String::from_utf16_lossy(&units)
    } else {
        String::from_utf8_lossy(name).into_owned()
    };
    let without_version = text.split(';').next().unwrap_or_default();
    without_version.trim_end_matches('.').to_owned()
}

/// The NM fields of a record joined, following continuations.
fn rock_ridge_name(image: &[u8], fields: &[u8]) -> Option<String> {
    let mut name = Vec::new();
    let mut fields = fields;
    // A malicious image may chain continuations in a ring.
    for _ in 0..8 {
        let mut continuation = None;
        while fields.len() >= 4 {
            let length = usize::from(fields[2]);
            if length < 4 || length > fields.len() {
                break;
            }
            let (field, rest) = fields.split_at(length);
            match &field[..2] {
                b"NM" if length > 5 => name.extend_from_slice(&field[5..]),
                b"CE" if length >= 28 => {
                    continuation = bytes_at(
                        image,
                        le32(field, 4) * SECTOR + le32(field, 12),
                        le32(field, 20),
                    );
                }
                b"ST" => break,
                _ => {}
            }
            fields = rest;
        }
        match continuation {
            Some(more) => fields = more,
            None => break,
        }
    }
    if name.is_empty() {
        None
    } else {
        Some(String::from_utf8_lossy(&name).into_owned())
    }
}

fn bytes_at(image: &[u8], start: usize, length: usize) -> Option<&[u8]> {
    image.get(start..start.checked_add(length)?)
}

fn le32(bytes: &[u8], at: usize) -> usize {
    bytes
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map_or(0, |four| u32::from_le_bytes(four) as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_the_same_input_makes_the_same_image() {
        let volume = NoCloud {
            user_data: (0..65_536u32).map(|index| (index % 251) as u8).collect(),
            meta_data: "instance-id: x\n".into(),
            network_config: Some(String::new()),
            vendor_data: None,
        };
        let image = volume.image().unwrap();
        assert_eq!(image.len() % SECTOR, 0);
        assert_eq!(NoCloud::read(&image).unwrap().unwrap(), volume);
        assert_eq!(volume.image().unwrap(), image);
        assert!(!format!("{volume:?}").contains("251"));
    }

    #[test]
    fn names_that_collide_in_short_form_stay_apart() {
        let names: Vec<String> = (0..300)
            .map(|index| format!("network-config-{index}"))
            .collect();
        let files: Vec<(&str, &[u8])> = names
            .iter()
            .map(|name| (name.as_str(), name.as_bytes()))
            .collect();
        let volume = read(&write("x", &files).unwrap()).unwrap();
        assert_eq!(volume.files.len(), 300);
        assert!(
            volume
                .files
                .iter()
                .all(|(name, content)| name.as_bytes() == content)
        );
    }

    #[test]
    fn names_and_labels_that_have_no_place_are_refused() {
        for name in ["", ".", "..", "a/b", "a\0", "a;1", &"x".repeat(65)] {
            assert_eq!(
                write("x", &[(name, b"")]),
                Err(IsoError::Name(name.to_owned()))
            );
        }
        assert_eq!(
            write("x", &[("a", b""), ("a", b"")]),
            Err(IsoError::Name("a".into()))
        );
        for label in ["", "a b", "seventeen-letters"] {
            assert_eq!(write(label, &[]), Err(IsoError::Label(label.to_owned())));
        }
    }

    #[test]
    fn another_label_is_no_configuration_volume() {
        assert_eq!(
            NoCloud::read(&write("other", &[("user-data", b"x")]).unwrap()),
            Ok(None)
        );
        assert!(
            NoCloud::read(&write("CIDATA", &[("user-data", b"x")]).unwrap())
                .unwrap()
                .is_some()
        );
    }

    proptest! {
        #[test]
        fn any_content_is_read_back(contents in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..5000), 0..6)) {
            let names: Vec<String> = (0..contents.len()).map(|index| format!("f{index}")).collect();
            let files: Vec<(&str, &[u8])> = names.iter().map(String::as_str).zip(contents.iter().map(Vec::as_slice)).collect();
            let volume = read(&write("cidata", &files).unwrap()).unwrap();
            prop_assert_eq!(volume.files.len(), files.len());
            for (name, content) in files {
                prop_assert_eq!(volume.files[name].as_slice(), content);
            }
        }

        #[test]
        fn a_damaged_image_is_an_error_and_never_a_panic(at in 32_768usize..60_000, bytes in proptest::collection::vec(any::<u8>(), 1..64), cut in 0usize..70_000) {
            let mut image = NoCloud { user_data: vec![1; 9000], meta_data: "m".into(), ..NoCloud::default() }.image().unwrap();
            for (offset, byte) in bytes.into_iter().enumerate() {
                if let Some(place) = image.get_mut(at + offset) {
                    *place = byte;
                }
            }
            image.truncate(cut);
            let _ = read(&image);
        }
    }
}
