//! Parameter verification: which keys a configuration has, what they may be, and which privilege they need.

use std::collections::BTreeMap;

use super::request::{Call, Failure};
use crate::client::PropertyString;

/// Keys of a configuration that are known here.
pub(super) fn is_config_key(key: &str) -> bool {
    const PLAIN: &[&str] = &[
        "agent",
        "balloon",
        "bios",
        "boot",
        "bootdisk",
        "ciuser",
        "cipassword",
        "cores",
        "cpu",
        "cpulimit",
        "cpuunits",
        "description",
        "hotplug",
        "machine",
        "memory",
        "name",
        "nameserver",
        "numa",
        "onboot",
        "ostype",
        "protection",
        "rng0",
        "scsihw",
        "searchdomain",
        "smbios1",
        "sockets",
        "sshkeys",
        "startup",
        "tablet",
        "tags",
        "template",
        "vga",
    ];
    PLAIN.contains(&key)
        || is_disk_key(key)
        || ["net", "serial", "ipconfig"]
            .iter()
            .any(|stem| is_numbered(key, stem))
}

pub(super) fn privilege_of_key(key: &str, value: Option<&str>) -> &'static str {
    match key {
        "cores" | "sockets" | "cpu" | "cpulimit" | "cpuunits" | "numa" => "VM.Config.CPU",
        "memory" | "balloon" => "VM.Config.Memory",
        "machine" | "vga" | "smbios1" | "scsihw" | "rng0" | "tablet" => "VM.Config.HWType",
        _ if is_numbered(key, "net") => "VM.Config.Network",
        _ if is_disk_key(key) && value.is_none_or(|value| value.contains("media=cdrom")) => {
            "VM.Config.CDROM"
        }
        _ if is_disk_key(key) => "VM.Config.Disk",
        _ => "VM.Config.Options",
    }
}

pub(super) fn bridge_of(key: &str, value: Option<&str>) -> Option<String> {
    let device: PropertyString = value.filter(|_| is_numbered(key, "net"))?.parse().ok()?;
    device.get("bridge").map(str::to_owned)
}

/// The configuration in a call's parameters, checked.
pub(super) fn read_config(call: &Call) -> Result<BTreeMap<String, String>, Failure> {
    let mut set = BTreeMap::new();
    for key in call.parameters.keys().filter(|key| is_config_key(key)) {
        let value = call.get(key).unwrap_or_default();
        check_value(key, value)?;
        set.insert(key.clone(), value.to_owned());
    }
    Ok(set)
}

pub(super) fn check_value(key: &str, value: &str) -> Result<(), Failure> {
    let invalid = |text: String| Err(Failure::parameter(key, text));
    match key {
        "cores" | "sockets" | "memory" => {
            let range = if key == "memory" {
                16..=4_178_944
            } else {
                1..=256u64
            };
            match value.parse::<u64>() {
                Ok(number) if range.contains(&number) => Ok(()),
                Ok(_) => invalid(format!(
                    "value must have a minimum value of {}",
                    range.start()
                )),
                Err(_) => invalid(format!("type check ('integer') failed - got '{value}'")),
            }
        }
        "name" => check_name(value),
        "boot" => {
            let entries = value.split(',').all(|entry| {
                let legacy = |text: &str| {
                    !text.is_empty()
                        && text.len() <= 4
                        && text.bytes().all(|byte| b"acdn".contains(&byte))
                };
                match entry.split_once('=') {
                    Some(("order", devices)) => devices.split(';').all(|device| !device.is_empty()),
                    Some(("legacy", text)) => legacy(text),
                    Some(_) => false,
                    None => legacy(entry),
                }
            });
            if entries {
                Ok(())
            } else {
                invalid("invalid format - format error\nboot.legacy: value does not match the regex pattern\n".into())
            }
        }
        "tags" => {
            let valid = |tag: &str| {
                tag.bytes()
                    .next()
                    .is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                    && tag
                        .bytes()
                        .all(|byte| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte))
            };
            let bad = value
                .split([';', ',', ' '])
                .filter(|tag| !tag.is_empty())
                .find(|tag| !valid(tag));
            bad.map_or(Ok(()), |tag| {
                invalid(format!(
                    "invalid format - invalid characters in tag '{tag}'"
                ))
            })
        }
        "smbios1" if value.len() > 512 => invalid("value may only be 512 characters long".into()),
        _ if is_numbered(key, "net") => {
            const MODELS: &[&str] = &[
                "e1000", "virtio", "rtl8139", "vmxnet3", "e1000e", "ne2k_pci",
            ];
            let device: PropertyString = value
                .parse()
                .map_err(|_| Failure::parameter(key, "invalid format - format error"))?;
            match device.model() {
                Some((model, _)) if MODELS.contains(&model) => {}
                _ => return invalid("invalid format - format error\nnet.model: value does not have a value in the enumeration".into()),
            }
            let bounded = |name: &str, range: std::ops::RangeInclusive<u64>| {
                device
                    .get(name)
                    .is_none_or(|text| text.parse().is_ok_and(|number| range.contains(&number)))
            };
            if !bounded("queues", 0..=64) {
                return invalid("invalid format - format error\nnet.queues: value must have a maximum value of 64".into());
            }
            if !bounded("tag", 1..=4094) || !bounded("mtu", 1..=65520) {
                return invalid("invalid format - format error".into());
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

pub(super) fn check_name(name: &str) -> Result<(), Failure> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.split('.').all(label) {
        Ok(())
    } else {
        Err(Failure::parameter(
            "name",
            "invalid format - value does not look like a valid DNS name",
        ))
    }
}

pub(super) fn is_numbered(key: &str, stem: &str) -> bool {
    key.strip_prefix(stem).is_some_and(|number| {
        !number.is_empty() && number.len() <= 3 && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

pub(super) fn is_disk_key(key: &str) -> bool {
    ["ide", "sata", "scsi", "virtio", "efidisk", "tpmstate"]
        .iter()
        .any(|stem| is_numbered(key, stem))
}
