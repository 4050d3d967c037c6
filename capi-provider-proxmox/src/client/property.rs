//! Property strings: `virtio=BC:24:11:..,bridge=vmbr0,firewall=1`, drives, boot order, SMBIOS.
//!
//! Read, change, write: what is not understood stays as it is and where it is.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;

/// A text that is no property string of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {kind}")]
pub struct InvalidProperty {
    text: String,
    kind: &'static str,
}

/// A list `key=value,key=value`, whose first entry may be a value alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropertyString {
    entries: Vec<(Option<String>, String)>,
}

impl PropertyString {
    /// The value that stands without a key, such as a drive's volume.
    #[must_use]
    pub fn head(&self) -> Option<&str> {
        self.entries
            .iter()
            .find(|(key, _)| key.is_none())
            .map(|(_, value)| value.as_str())
    }

    /// Value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entries
            .iter()
            .find(|(name, _)| name.as_deref() == Some(key))
            .map(|(_, value)| value.as_str())
    }

    /// Sets a key, where it stands, else at the end.
    #[expect(clippy::needless_pass_by_value, reason = "numbers and texts alike")]
    pub fn set(&mut self, key: &str, value: impl ToString) {
        let value = value.to_string();
        match self
            .entries
            .iter_mut()
            .find(|(name, _)| name.as_deref() == Some(key))
        {
            Some((_, old)) => *old = value,
            None => self.entries.push((Some(key.to_owned()), value)),
        }
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &str) {
        self.entries
            .retain(|(name, _)| name.as_deref() != Some(key));
    }

    /// Keys and values in order.
    pub fn iter(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        self.entries
            .iter()
            .map(|(key, value)| (key.as_deref(), value.as_str()))
    }

    /// Model and hardware address of a network device: its first entry.
    #[must_use]
    pub fn model(&self) -> Option<(&str, Option<&str>)> {
        match self.entries.first()? {
            (Some(model), address) if model != "model" && is_hardware_address(address) => {
                Some((model, Some(address)))
            }
            (None, model) => Some((model, None)),
            _ => self.get("model").map(|model| (model, self.get("macaddr"))),
        }
    }

    /// Sets model and hardware address of a network device.
    pub fn set_model(&mut self, model: &str, address: Option<&str>) {
        if self.model().is_some() {
            if self.get("model").is_some() {
                self.remove("model");
                self.remove("macaddr");
            } else {
                self.entries.remove(0);
            }
        }
        let first = match address {
            Some(address) => (Some(model.to_owned()), address.to_owned()),
            None => (None, model.to_owned()),
        };
        self.entries.insert(0, first);
    }
}

fn is_hardware_address(text: &str) -> bool {
    text.len() == 17
        && text.bytes().enumerate().all(|(index, byte)| {
            if index % 3 == 2 {
                byte == b':'
            } else {
                byte.is_ascii_hexdigit()
            }
        })
}

impl FromStr for PropertyString {
    type Err = InvalidProperty;

    fn from_str(text: &str) -> Result<Self, InvalidProperty> {
        let mut entries = Vec::new();
        for entry in text
            .split(',')
            .map(str::trim)
            .filter(|entry| !entry.is_empty())
        {
            match entry.split_once('=') {
                Some(("", _)) => {
                    return Err(InvalidProperty {
                        text: text.to_owned(),
                        kind: "property string",
                    });
                }
                Some((key, value)) => entries.push((Some(key.to_owned()), value.to_owned())),
                None if entries.iter().all(|(key, _)| key.is_some()) => {
                    entries.push((None, entry.to_owned()));
                }
                None => {
                    return Err(InvalidProperty {
                        text: text.to_owned(),
                        kind: "property string",
                    });
                }
            }
        }
        Ok(Self { entries })
    }
}

impl fmt::Display for PropertyString {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (key, value)) in self.entries.iter().enumerate() {
            if index > 0 {
                formatter.write_str(",")?;
            }
            match key {
                Some(key) => write!(formatter, "{key}={value}")?,
                None => formatter.write_str(value)?,
            }
        }
        Ok(())
    }
}

/// A size such as `20G` or `512M`, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct SizeInBytes(pub u64);

impl FromStr for SizeInBytes {
    type Err = InvalidProperty;

    fn from_str(text: &str) -> Result<Self, InvalidProperty> {
        let invalid = || InvalidProperty {
            text: text.to_owned(),
            kind: "size",
        };
        let (digits, factor) = match text.as_bytes().last() {
            Some(b'K') => (&text[..text.len() - 1], 1u64 << 10),
            Some(b'M') => (&text[..text.len() - 1], 1 << 20),
            Some(b'G') => (&text[..text.len() - 1], 1 << 30),
            Some(b'T') => (&text[..text.len() - 1], 1 << 40),
            _ => (text, 1),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) || fraction.len() > 9 {
            return Err(invalid());
        }
        let whole = whole
            .parse::<u64>()
            .ok()
            .and_then(|whole| whole.checked_mul(factor))
            .ok_or_else(invalid)?;
        let part = if fraction.is_empty() {
            0
        } else {
            let numerator: u128 = fraction.parse().map_err(|_| invalid())?;
            u64::try_from(numerator * u128::from(factor) / 10u128.pow(fraction.len() as u32))
                .map_err(|_| invalid())?
        };
        whole.checked_add(part).map(Self).ok_or_else(invalid)
    }
}

/// The order of devices to boot from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootOrder(Vec<String>);

impl BootOrder {
    /// Reads `boot`; the old form (`c`, `cdn`, with `bootdisk`) becomes a list of devices that exist in `config`.
    #[must_use]
    pub fn read(config: &super::GuestConfig) -> Self {
        let boot = config.get("boot").unwrap_or_default();
        let order = boot
            .split(',')
            .find_map(|entry| entry.trim().strip_prefix("order="));
        if let Some(order) = order {
            return Self(
                order
                    .split(';')
                    .map(str::trim)
                    .filter(|device| !device.is_empty())
                    .map(str::to_owned)
                    .collect(),
            );
        }
        let letters =
            boot.strip_prefix("legacy=")
                .unwrap_or(if boot.is_empty() { "cdn" } else { boot });
        let mut devices = Vec::new();
        for letter in letters.chars() {
            match letter {
                'c' | 'a'..='b' => {
                    let disk = config
                        .get("bootdisk")
                        .map(str::to_owned)
                        .or_else(|| first_disk(config));
                    devices.extend(disk.filter(|disk| config.get(disk).is_some()));
                }
                'd' => devices.extend(
                    config
                        .iter()
                        .filter(|(key, value)| is_drive(key) && value.contains("media=cdrom"))
                        .map(|(key, _)| key.to_owned()),
                ),
                'n' => devices.extend(
                    config
                        .iter()
                        .filter(|(key, _)| is_numbered(key, "net"))
                        .map(|(key, _)| key.to_owned()),
                ),
                _ => {}
            }
        }
        Self(devices)
    }

    /// Adds a device at the end, unless it is there.
    pub fn add(&mut self, device: &str) {
        if !self.0.iter().any(|known| known == device) {
            self.0.push(device.to_owned());
        }
    }

    /// Removes a device.
    pub fn remove(&mut self, device: &str) {
        self.0.retain(|known| known != device);
    }

    /// The devices in order.
    #[must_use]
    pub fn devices(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for BootOrder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "order={}", self.0.join(";"))
    }
}

fn first_disk(config: &super::GuestConfig) -> Option<String> {
    let disks = || {
        config
            .iter()
            .filter(|(key, value)| is_drive(key) && !value.contains("media=cdrom"))
            .map(|(key, _)| key)
    };
    ["scsi", "virtio", "sata", "ide"]
        .iter()
        .find_map(|bus| disks().find(|key| is_numbered(key, bus)))
        .map(str::to_owned)
}

fn is_drive(key: &str) -> bool {
    ["ide", "sata", "scsi", "virtio"]
        .iter()
        .any(|bus| is_numbered(key, bus))
}

fn is_numbered(key: &str, stem: &str) -> bool {
    key.strip_prefix(stem).is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// The `smbios1` property: what the firmware tells the guest about the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Smbios(PropertyString);

impl Smbios {
    /// Reads the property; absent is empty.
    ///
    /// # Errors
    /// [`InvalidProperty`] when it is no property string.
    pub fn read(text: Option<&str>) -> Result<Self, InvalidProperty> {
        text.unwrap_or_default().parse().map(Self)
    }

    /// The UUID, in lower case.
    #[must_use]
    pub fn uuid(&self) -> Option<String> {
        self.0.get("uuid").map(str::to_lowercase)
    }

    /// Sets the UUID.
    pub fn set_uuid(&mut self, uuid: &str) {
        self.0.set("uuid", uuid);
    }

    /// The serial number, decoded where it is written in base64.
    #[must_use]
    pub fn serial(&self) -> Option<String> {
        let serial = self.0.get("serial")?;
        if self.0.get("base64") == Some("1") {
            let bytes = base64::engine::general_purpose::STANDARD
                .decode(serial)
                .ok()?;
            String::from_utf8(bytes).ok()
        } else {
            Some(serial.to_owned())
        }
    }
}

impl fmt::Display for Smbios {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::GuestConfig;

    fn config(entries: &[(&str, &str)]) -> GuestConfig {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn a_network_device_keeps_what_it_does_not_understand() {
        let mut device: PropertyString =
            "virtio=BC:24:11:AA:BB:CC,bridge=vmbr0.100,firewall=1,rate=10"
                .parse()
                .unwrap();
        assert_eq!(device.model(), Some(("virtio", Some("BC:24:11:AA:BB:CC"))));
        device.set("bridge", "my-br");
        device.set("tag", 7);
        assert_eq!(
            device.to_string(),
            "virtio=BC:24:11:AA:BB:CC,bridge=my-br,firewall=1,rate=10,tag=7"
        );
        device.set_model("e1000", Some("BC:24:11:AA:BB:CC"));
        assert_eq!(
            device.to_string(),
            "e1000=BC:24:11:AA:BB:CC,bridge=my-br,firewall=1,rate=10,tag=7"
        );
        let bare: PropertyString = "virtio,bridge=vmbr0".parse().unwrap();
        assert_eq!(bare.model(), Some(("virtio", None)));
        let long: PropertyString = "model=virtio,macaddr=BC:24:11:AA:BB:CC,bridge=vmbr0"
            .parse()
            .unwrap();
        assert_eq!(long.model(), Some(("virtio", Some("BC:24:11:AA:BB:CC"))));
    }

    #[test]
    fn every_form_of_boot_becomes_an_order_of_devices() {
        let devices = [
            ("scsi0", "local:vm-1-disk-0,size=8G"),
            ("net0", "virtio=BC:24:11:AA:BB:CC"),
            ("ide2", "none,media=cdrom"),
        ];
        let rows: &[(&[(&str, &str)], &str)] = &[
            (&[("boot", "order=scsi0;net0")], "order=scsi0;net0;ide0"),
            (&[("boot", "order=scsi0;ide0")], "order=scsi0;ide0"),
            (&[("boot", "c"), ("bootdisk", "scsi0")], "order=scsi0;ide0"),
            (&[("boot", "cdn")], "order=scsi0;ide2;net0;ide0"),
            (&[("boot", "legacy=n")], "order=net0;ide0"),
            (&[], "order=scsi0;ide2;net0;ide0"),
        ];
        for (boot, expected) in rows {
            let mut order = BootOrder::read(&config(&[&devices[..], boot].concat()));
            order.add("ide0");
            assert_eq!(order.to_string(), *expected, "{boot:?}");
        }
    }

    #[test]
    fn sizes_are_read_in_bytes() {
        let rows = [
            ("10G", Some(10 << 30)),
            ("512M", Some(512 << 20)),
            ("1.5K", Some(1536)),
            ("7", Some(7)),
            ("", None),
            ("x", None),
            ("1.G", Some(1 << 30)),
            ("99999999999T", None),
        ];
        for (text, bytes) in rows {
            assert_eq!(
                text.parse::<SizeInBytes>().ok().map(|size| size.0),
                bytes,
                "{text}"
            );
        }
    }

    #[test]
    fn the_uuid_is_set_beside_the_rest_of_smbios() {
        let mut smbios = Smbios::read(Some("base64=1,serial=ZHM9bm9jbG91ZA==,uuid=AA00")).unwrap();
        assert_eq!(
            (smbios.uuid().as_deref(), smbios.serial().as_deref()),
            (Some("aa00"), Some("ds=nocloud"))
        );
        smbios.set_uuid("bb11");
        assert_eq!(
            smbios.to_string(),
            "base64=1,serial=ZHM9bm9jbG91ZA==,uuid=bb11"
        );
        let mut empty = Smbios::read(None).unwrap();
        empty.set_uuid("cc22");
        assert_eq!(empty.to_string(), "uuid=cc22");
    }

    proptest::proptest! {
        #[test]
        fn what_is_read_is_written_back_and_nothing_panics(text in "[a-zA-Z0-9:=,;. \\-/é]{0,60}") {
            if let Ok(property) = text.parse::<PropertyString>() {
                let written = property.to_string();
                proptest::prop_assert_eq!(written.parse::<PropertyString>().unwrap(), property);
            }
            let _ = text.parse::<SizeInBytes>();
            let _ = Smbios::read(Some(&text)).map(|smbios| smbios.serial());
            let order = BootOrder::read(&config(&[("boot", &text), ("scsi0", &text)]));
            proptest::prop_assert!(order.to_string().starts_with("order="));
        }
    }
}
