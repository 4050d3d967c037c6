//! What has to change in a virtual machine's configuration. Pure: the configuration as it is, and as it is wanted.

use std::collections::BTreeSet;

use crate::api::{NetworkDevice, ProxmoxMachineSpec};
use crate::client::{
    BootOrder, GuestConfig, InvalidProperty, Parameters, PropertyString, SizeInBytes, Smbios,
    split_tags,
};

/// The tag that CAPMOX sets while an image is attached, and that tells it to delete the image.
pub(super) const IMAGE_TAG: &str = "go-proxmox+cloud-init";

/// Why a configuration cannot become what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The disk of the template is larger than the one that is wanted.
    #[error(
        "spec.disks.bootVolume.sizeGb is {wanted_gib}, but disk {disk} of the template has {present_gib} GiB already, and disks \
         do not shrink"
    )]
    Shrink {
        /// The disk.
        disk: String,
        /// What is wanted.
        wanted_gib: u64,
        /// What is there.
        present_gib: u64,
    },
    /// The disk is not there.
    #[error("spec.disks.bootVolume.disk: the virtual machine has no disk {0}")]
    NoDisk(String),
    /// A value of the configuration cannot be read.
    #[error("the configuration of the virtual machine cannot be read: {0}")]
    Unreadable(#[from] InvalidProperty),
    /// Every drive that could hold the image is in use.
    #[error("ide0 to ide3 of the virtual machine are all in use; the image has no place")]
    NoDrive,
}

/// What a virtual machine shall be.
#[derive(Debug, Clone)]
pub(super) struct Desired<'a> {
    pub(super) spec: &'a ProxmoxMachineSpec,
    pub(super) uuid: &'a str,
    /// Its notes, with the marker.
    pub(super) notes: &'a str,
    /// The first IPv4 addresses of its default device, as tags tell them.
    pub(super) address_tags: &'a [String],
    /// The image to attach, such as `local:iso/a.iso`.
    pub(super) image: &'a str,
}

/// The hardware address of a device: the one it has, else one that is the same for the same machine and device.
pub(super) fn hardware_address_of(
    config: &GuestConfig,
    device: &NetworkDevice,
    index: usize,
    uuid: &str,
) -> String {
    let name = device_name(device, index);
    let present = config
        .get(&name)
        .and_then(|value| value.parse::<PropertyString>().ok());
    let address = present
        .as_ref()
        .and_then(PropertyString::model)
        .and_then(|(_, address)| address)
        .map(str::to_uppercase);
    address.unwrap_or_else(|| own_address(uuid, &name))
}

/// An address with Proxmox VE's own prefix, for a device that the template does not have.
fn own_address(uuid: &str, device: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{uuid}/{device}").as_bytes());
    let bytes = digest.as_ref();
    format!(
        "BC:24:11:{:02X}:{:02X}:{:02X}",
        bytes[0], bytes[1], bytes[2]
    )
}

/// The drive for the image: where it is, else `ide0`, else another free one.
fn image_drive(config: &GuestConfig, image: &str) -> Result<String, ConfigError> {
    let drives = ["ide0", "ide1", "ide2", "ide3"];
    let volume = |drive: &str| {
        config
            .get(drive)
            .map(|value| value.split(',').next().unwrap_or_default().to_owned())
    };
    if let Some(drive) = drives
        .iter()
        .find(|drive| volume(drive).as_deref() == Some(image))
    {
        return Ok((*drive).to_owned());
    }
    let usable = |drive: &&&str| match config.get(drive) {
        None => true,
        // Empty, a drive of the template's own cloud-init, or an image of an earlier attempt.
        Some(value) => {
            value.starts_with("none")
                || value.contains("cloudinit")
                || (value.contains("media=cdrom") && value.contains(":iso/"))
        }
    };
    drives
        .iter()
        .find(usable)
        .map(|drive| (*drive).to_owned())
        .ok_or(ConfigError::NoDrive)
}

/// The changes, in one call. Empty when there are none.
pub(super) fn changes(
    config: &GuestConfig,
    desired: &Desired<'_>,
) -> Result<Parameters, ConfigError> {
    let spec = desired.spec;
    let mut set: Vec<(String, String)> = Vec::new();
    let mut change = |key: &str, value: String| {
        if config.get(key) != Some(&value) {
            set.push((key.to_owned(), value));
        }
    };
    for (key, value) in [
        ("sockets", spec.num_sockets),
        ("cores", spec.num_cores),
        ("memory", spec.memory_mib),
    ] {
        if let Some(value) = value.filter(|value| *value > 0) {
            change(key, value.to_string());
        }
    }
    if config.get("description").map(str::trim_end) != Some(desired.notes.trim_end()) {
        change("description", desired.notes.to_owned());
    }
    for (index, device) in spec.network.network_devices.iter().enumerate() {
        let name = device_name(device, index);
        let address = hardware_address_of(config, device, index, desired.uuid);
        change(&name, network_device(config.get(&name), device, &address)?);
    }
    let mut smbios = Smbios::read(config.get("smbios1"))?;
    if smbios.uuid().as_deref() != Some(desired.uuid) {
        smbios.set_uuid(desired.uuid);
        change("smbios1", smbios.to_string());
    }
    let present: BTreeSet<String> = split_tags(config.get("tags").unwrap_or_default()).collect();
    let mut wanted = present.clone();
    wanted.extend(spec.tags.iter().map(|tag| tag.to_lowercase()));
    wanted.extend(desired.address_tags.iter().cloned());
    wanted.insert(IMAGE_TAG.to_owned());
    if wanted != present {
        change("tags", wanted.into_iter().collect::<Vec<_>>().join(";"));
    }
    let drive = image_drive(config, desired.image)?;
    change(&drive, format!("{},media=cdrom", desired.image));
    let mut boot = BootOrder::read(config);
    let mut delete = Vec::new();
    for (key, value) in config.iter() {
        // A second volume labelled cidata would be read instead of ours.
        if key != drive && value.contains("cloudinit") && value.contains("media=cdrom") {
            delete.push(key.to_owned());
            boot.remove(key);
        }
    }
    boot.add(&drive);
    change("boot", boot.to_string());
    // An image that was attached is told with its size; the rest of the drive is equal.
    let same_image = |key: &str| {
        config
            .get(key)
            .is_some_and(|value| value.split(',').next() == Some(desired.image))
    };
    set.retain(|(key, _)| !(key == &drive && same_image(key)));

    let mut parameters: Parameters = set.into_iter().collect();
    if !delete.is_empty() {
        parameters = parameters.with("delete", delete.join(","));
    }
    if !parameters.is_empty() {
        parameters = parameters.with_optional("digest", config.digest());
    }
    Ok(parameters)
}

/// The name of a device: its own, else by its place.
pub(super) fn device_name(device: &NetworkDevice, index: usize) -> String {
    device.name.clone().unwrap_or_else(|| format!("net{index}"))
}

/// A device as it shall be: unknown options stay.
fn network_device(
    present: Option<&str>,
    device: &NetworkDevice,
    address: &str,
) -> Result<String, ConfigError> {
    let mut value: PropertyString = present.unwrap_or_default().parse()?;
    let present = value
        .model()
        .map(|(model, address)| (model.to_owned(), address.is_some()));
    let wanted = match (&device.model, &present) {
        (Some(model), _) => model.as_str().to_owned(),
        (None, Some((model, _))) => model.clone(),
        (None, None) => "virtio".to_owned(),
    };
    if present != Some((wanted.clone(), true)) {
        value.set_model(&wanted, Some(address));
    }
    let options = [
        ("bridge", device.bridge.clone()),
        ("mtu", device.mtu.map(|value| value.to_string())),
        ("tag", device.vlan.map(|value| value.to_string())),
        ("queues", device.queues.map(|value| value.to_string())),
    ];
    for (key, wanted) in options {
        if let Some(wanted) = wanted
            && value.get(key) != Some(&wanted)
        {
            value.set(key, wanted);
        }
    }
    Ok(value.to_string())
}

/// The size that a disk has to grow to, such as `20G`; `None` when it is right.
pub(super) fn growth(
    config: &GuestConfig,
    spec: &ProxmoxMachineSpec,
) -> Result<Option<(String, String)>, ConfigError> {
    let Some(volume) = spec
        .disks
        .as_ref()
        .and_then(|disks| disks.boot_volume.as_ref())
    else {
        return Ok(None);
    };
    let drive: PropertyString = config
        .get(&volume.disk)
        .ok_or_else(|| ConfigError::NoDisk(volume.disk.clone()))?
        .parse()?;
    let present = drive
        .get("size")
        .map(str::parse::<SizeInBytes>)
        .transpose()?
        .map_or(0, |size| size.0);
    let wanted_gib = u64::try_from(volume.size_gb).unwrap_or(0);
    let wanted = wanted_gib << 30;
    if wanted < present {
        return Err(ConfigError::Shrink {
            disk: volume.disk.clone(),
            wanted_gib,
            present_gib: present.div_ceil(1 << 30),
        });
    }
    Ok((wanted > present).then(|| (volume.disk.clone(), format!("{wanted_gib}G"))))
}

/// What takes the image out of its drive, with the image; `None` when none is attached.
pub(super) fn detach(
    config: &GuestConfig,
    is_ours: impl Fn(&str) -> bool,
) -> Option<(Parameters, String)> {
    let (drive, image) = config
        .iter()
        .filter(|(key, _)| key.starts_with("ide"))
        .filter_map(|(key, value)| value.split(',').next().map(|volume| (key, volume)))
        .find(|(_, volume)| is_ours(volume))?;
    let tags: Vec<String> = split_tags(config.get("tags").unwrap_or_default())
        .filter(|tag| tag != IMAGE_TAG)
        .collect();
    let parameters = Parameters::new()
        .with(drive, "none,media=cdrom")
        .with("tags", tags.join(";"))
        .with_optional("digest", config.digest());
    Some((parameters, image.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{DiskSize, Disks, NetworkSpec};

    fn config(entries: &[(&str, &str)]) -> GuestConfig {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    const CLONE: &[(&str, &str)] = &[
        ("boot", "order=scsi0;net0"),
        ("cores", "1"),
        ("digest", "d"),
        ("memory", "2048"),
        ("net0", "virtio=BC:24:11:AA:BB:CC,bridge=vmbr0,firewall=1"),
        ("scsi0", "local-lvm:vm-100-disk-0,size=10G"),
        ("smbios1", "uuid=00000000-0000-4000-8000-000000000000"),
        ("tags", "talos;template"),
    ];
    const UUID: &str = "2bbfcadb-f96c-4584-ad34-f84e42b01ac2";

    fn spec(device: NetworkDevice) -> ProxmoxMachineSpec {
        ProxmoxMachineSpec {
            num_cores: Some(4),
            memory_mib: Some(2048),
            tags: vec!["Team-A".into()],
            network: NetworkSpec {
                network_devices: vec![device],
                ..NetworkSpec::default()
            },
            ..ProxmoxMachineSpec::default()
        }
    }

    fn diff(present: &GuestConfig, spec: &ProxmoxMachineSpec) -> Vec<(String, String)> {
        let tags = ["ip_net0_10.0.0.7".to_owned()];
        let desired = Desired {
            spec,
            uuid: UUID,
            notes: "capi-uuid: u",
            address_tags: &tags,
            image: "local:iso/a.iso",
        };
        let parameters = changes(present, &desired).unwrap();
        parameters
            .iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.into(), value.into())
    }

    #[test]
    fn one_call_changes_what_differs_and_nothing_else() {
        let device = NetworkDevice {
            bridge: Some("vmbr0.100".into()),
            vlan: Some(7),
            ..NetworkDevice::default()
        };
        let expected = vec![
            pair("cores", "4"),
            pair("description", "capi-uuid: u"),
            pair(
                "net0",
                "virtio=BC:24:11:AA:BB:CC,bridge=vmbr0.100,firewall=1,tag=7",
            ),
            pair("smbios1", &format!("uuid={UUID}")),
            pair(
                "tags",
                "go-proxmox+cloud-init;ip_net0_10.0.0.7;talos;team-a;template",
            ),
            pair("ide0", "local:iso/a.iso,media=cdrom"),
            pair("boot", "order=scsi0;net0;ide0"),
            pair("digest", "d"),
        ];
        assert_eq!(diff(&config(CLONE), &spec(device)), expected);
    }

    #[test]
    fn what_was_configured_needs_no_change() {
        let device = NetworkDevice {
            bridge: Some("vmbr0".into()),
            ..NetworkDevice::default()
        };
        let mut present: std::collections::BTreeMap<String, String> =
            CLONE.iter().map(|(key, value)| pair(key, value)).collect();
        present.extend(diff(&config(CLONE), &spec(device.clone())));
        present.insert("ide0".into(), "local:iso/a.iso,media=cdrom,size=60K".into());
        assert_eq!(diff(&present.into_iter().collect(), &spec(device)), []);
    }

    #[test]
    fn a_device_that_is_missing_is_added_and_a_model_changes_in_place() {
        let device = NetworkDevice {
            bridge: Some("my-br".into()),
            model: Some(crate::api::NetworkModel::E1000),
            ..NetworkDevice::default()
        };
        let mac = "BC:24:11:AA:BB:CC";
        assert_eq!(
            network_device(None, &device, mac).unwrap(),
            "e1000=BC:24:11:AA:BB:CC,bridge=my-br"
        );
        let present = "virtio=BC:24:11:AA:BB:CC,bridge=vmbr0,firewall=1";
        assert_eq!(
            network_device(Some(present), &device, mac).unwrap(),
            "e1000=BC:24:11:AA:BB:CC,bridge=my-br,firewall=1"
        );
        assert_eq!(
            network_device(Some(present), &NetworkDevice::default(), mac).unwrap(),
            present
        );
    }

    #[test]
    fn there_are_never_two_configuration_volumes() {
        let device = NetworkDevice {
            bridge: Some("vmbr0".into()),
            ..NetworkDevice::default()
        };
        let with_drive = |drive: &str| {
            let extra = [(drive, "local-lvm:vm-100-cloudinit,media=cdrom")];
            diff(&config(&[CLONE, &extra].concat()), &spec(device.clone()))
        };
        let on_two = with_drive("ide2");
        assert!(
            on_two.contains(&pair("delete", "ide2"))
                && on_two.contains(&pair("ide0", "local:iso/a.iso,media=cdrom")),
            "{on_two:?}"
        );
        let on_zero = with_drive("ide0");
        assert!(
            !on_zero.iter().any(|(key, _)| key == "delete")
                && on_zero.contains(&pair("ide0", "local:iso/a.iso,media=cdrom"))
        );
        let disks = [
            ("ide0", "local-lvm:vm-100-disk-1,size=1G"),
            ("ide1", "local-lvm:vm-100-disk-2,size=1G"),
        ];
        let taken = diff(&config(&[CLONE, &disks].concat()), &spec(device));
        assert!(
            taken.contains(&pair("ide2", "local:iso/a.iso,media=cdrom")),
            "{taken:?}"
        );
    }

    #[test]
    fn a_disk_grows_once_and_never_shrinks() {
        let wanted = |size_gb| ProxmoxMachineSpec {
            disks: Some(Disks {
                boot_volume: Some(DiskSize {
                    disk: "scsi0".into(),
                    size_gb,
                }),
            }),
            ..ProxmoxMachineSpec::default()
        };
        let present = config(CLONE);
        assert_eq!(
            growth(&present, &wanted(20)),
            Ok(Some(("scsi0".into(), "20G".into())))
        );
        assert_eq!(growth(&present, &wanted(10)), Ok(None));
        let error = growth(&present, &wanted(5)).unwrap_err().to_string();
        assert!(
            error.contains("sizeGb is 5") && error.contains("has 10 GiB"),
            "{error}"
        );
        assert_eq!(
            growth(&config(&[]), &wanted(5)),
            Err(ConfigError::NoDisk("scsi0".into()))
        );
    }

    #[test]
    fn the_image_is_taken_out_with_its_tag() {
        let extra = [
            ("ide0", "local:iso/capi-x-1.iso,media=cdrom"),
            ("tags", "a;go-proxmox+cloud-init"),
        ];
        let (parameters, image) =
            detach(&config(&extra), |volume| volume.contains("capi-x-")).unwrap();
        assert_eq!(image, "local:iso/capi-x-1.iso");
        assert_eq!(
            parameters.iter().collect::<Vec<_>>(),
            [("ide0", "none,media=cdrom"), ("tags", "a")]
        );
        assert_eq!(
            detach(&config(&extra), |volume| volume.contains("capi-y-")),
            None
        );
    }
}
