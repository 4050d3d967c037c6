//! What a machine boots from: hardware facts, and the NoCloud data that Talos finds.

use std::{net::IpAddr, str::FromStr as _};

use bytes::Bytes;
use capi_bootstrap_talos::config::yaml;
use serde_json::Value;

use super::iso;

/// What the datacenter knows about a machine that is powered on.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct MachineFacts {
    /// SMBIOS UUID: the machine's identity.
    pub uuid: String,
    /// Name, for messages only.
    pub name: String,
    /// What is in its CD drive.
    pub seed: Seed,
    /// MAC addresses of its network devices.
    pub macs: Vec<String>,
    /// Addresses that a DHCP server gives it, used where the seed's network configuration has
    /// none.
    pub addresses: Vec<IpAddr>,
}

impl std::fmt::Debug for MachineFacts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MachineFacts")
            .field("uuid", &self.uuid)
            .field("name", &self.name)
            .field("macs", &self.macs)
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

impl MachineFacts {
    /// A machine with nothing in its drive.
    pub fn new(uuid: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            uuid: uuid.into(),
            name: name.into(),
            ..Self::default()
        }
    }

    /// The same with a seed.
    #[must_use]
    pub fn seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }

    /// The same with the MAC addresses of its devices.
    #[must_use]
    pub fn macs(mut self, macs: impl IntoIterator<Item = String>) -> Self {
        self.macs = macs.into_iter().collect();
        self
    }

    /// The same with addresses that DHCP gives it.
    #[must_use]
    pub fn addresses(mut self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        self.addresses = addresses.into_iter().collect();
        self
    }
}

/// What a machine finds in its CD drive.
#[derive(Clone, Default)]
#[non_exhaustive]
pub enum Seed {
    /// Nothing.
    #[default]
    None,
    /// An ISO image.
    Iso(Bytes),
    /// The files themselves, for a datacenter that has no need of an image.
    Files {
        /// `user-data`: a machine configuration.
        user_data: String,
        /// `meta-data`.
        meta_data: String,
        /// `network-config`.
        network_config: String,
    },
}

/// NoCloud data as the platform code of Talos reads it.
#[derive(Default)]
pub(super) struct NoCloud {
    /// The machine configuration, if there is one.
    pub(super) configuration: Option<String>,
    pub(super) hostname: Option<String>,
    pub(super) addresses: Vec<IpAddr>,
}

impl NoCloud {
    /// Reads a seed.
    ///
    /// # Errors
    /// What Talos would log, when meta-data or network-config is broken.
    pub(super) fn read(seed: &Seed, macs: &[String]) -> Result<Self, String> {
        let (user_data, meta_data, network_config) = match seed {
            Seed::None => return Ok(Self::default()),
            Seed::Files {
                user_data,
                meta_data,
                network_config,
            } => (user_data.clone(), meta_data.clone(), network_config.clone()),
            Seed::Iso(image) => {
                let Some(mut volume) = iso::read(image) else {
                    return Ok(Self::default());
                };
                if !matches!(volume.label.as_str(), "cidata" | "CIDATA") {
                    return Ok(Self::default());
                }
                let mut file = |name: &str| {
                    let bytes = volume.files.remove(name).unwrap_or_default();
                    String::from_utf8(bytes).map_err(|_| format!("{name} is not UTF-8"))
                };
                (
                    file("user-data")?,
                    file("meta-data")?,
                    file("network-config")?,
                )
            }
        };
        let meta = document("meta-data", &meta_data)?;
        let network = document("network-config", &network_config)?;
        let text = |key: &str| meta.get(key).and_then(Value::as_str).map(str::to_owned);
        let cloud_config = user_data
            .lines()
            .next()
            .is_some_and(|l| l.trim_end() == "#cloud-config");
        Ok(Self {
            configuration: (!user_data.trim().is_empty() && !cloud_config).then_some(user_data),
            hostname: text("hostname").or_else(|| text("local-hostname")),
            addresses: addresses(&network, macs)?,
        })
    }
}

fn document(name: &str, text: &str) -> Result<Value, String> {
    let documents =
        yaml::parse(text).map_err(|error| format!("{name} is not valid YAML: {error}"))?;
    let first = documents.iter().find(|document| !document.node.is_null());
    Ok(first.map_or(Value::Null, |document| document.node.to_json()))
}

/// The static addresses of a network-config of version 1 or 2, bare or wrapped in `network:`.
fn addresses(document: &Value, macs: &[String]) -> Result<Vec<IpAddr>, String> {
    if document.is_null() {
        return Ok(Vec::new());
    }
    let network = document.get("network").unwrap_or(document);
    match network.get("version").and_then(Value::as_u64) {
        Some(1) => Ok(version_1(network)),
        Some(2) => version_2(network, macs),
        version => Err(format!(
            "network-config has version {version:?}; Talos reads 1 and 2"
        )),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value
        .get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn address(text: &str) -> Option<IpAddr> {
    IpAddr::from_str(text.split('/').next()?).ok()
}

fn version_1(network: &Value) -> Vec<IpAddr> {
    list(network, "config")
        .flat_map(|device| list(device, "subnets"))
        .filter_map(|subnet| {
            subnet
                .get("address")
                .and_then(Value::as_str)
                .and_then(address)
        })
        .collect()
}

fn version_2(network: &Value, macs: &[String]) -> Result<Vec<IpAddr>, String> {
    let mut found = Vec::new();
    let ethernets = network.get("ethernets").and_then(Value::as_object);
    for (name, ethernet) in ethernets.into_iter().flatten() {
        for route in list(ethernet, "routes") {
            let via = route.get("via").and_then(Value::as_str).unwrap_or_default();
            if IpAddr::from_str(via).is_err() {
                return Err(format!(
                    "network-config: a route of {name} has no valid `via`: {via:?}"
                ));
            }
        }
        let wanted = ethernet
            .pointer("/match/macaddress")
            .and_then(Value::as_str);
        let present = wanted
            .is_none_or(|mac| macs.is_empty() || macs.iter().any(|m| m.eq_ignore_ascii_case(mac)));
        if present {
            found.extend(
                list(ethernet, "addresses")
                    .filter_map(Value::as_str)
                    .filter_map(address),
            );
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(user_data: &str, meta_data: &str, network_config: &str) -> Seed {
        Seed::Files {
            user_data: user_data.to_owned(),
            meta_data: meta_data.to_owned(),
            network_config: network_config.to_owned(),
        }
    }

    #[test]
    fn a_cloud_config_or_nothing_is_no_configuration() {
        for user_data in ["", "\n", "#cloud-config\nusers: []\n"] {
            let read = NoCloud::read(&files(user_data, "", ""), &[]).expect("readable");
            assert_eq!(read.configuration, None, "{user_data:?}");
        }
        let read =
            NoCloud::read(&files("#!talos\nversion: v1alpha1\n", "", ""), &[]).expect("readable");
        assert!(read.configuration.is_some());
    }

    /// Data of others; `None`, and a line that says so, where it is absent.
    fn upstream() -> Option<std::path::PathBuf> {
        let found = std::env::var_os("CAPI_UPSTREAM")
            .map(Into::into)
            .or_else(|| {
                std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
                    .ancestors()
                    .map(|directory| directory.join("../shared/upstream"))
                    .find(|directory| directory.is_dir())
            });
        if found.is_none() {
            println!("skipped: set CAPI_UPSTREAM to the directory of upstream's test data");
        }
        found
    }

    #[test]
    fn an_image_of_the_go_provider_is_read() {
        let Some(upstream) = upstream() else { return };
        let directory = upstream.join("capmox/iso");
        let image = std::fs::read(directory.join("user-data.iso")).expect("an image");
        let read = NoCloud::read(
            &Seed::Iso(image.clone().into()),
            &["bc:24:11:57:db:d3".to_owned()],
        );
        let read = read.expect("readable");
        assert_eq!(read.configuration, None, "a cloud-config");
        assert_eq!(read.hostname.as_deref(), Some("c5-m0"));
        assert_eq!(
            read.addresses,
            ["10.77.5.10".parse::<IpAddr>().expect("ip")]
        );
        let files = iso::read(&image).expect("a volume").files;
        for name in ["user-data", "meta-data", "network-config"] {
            let text = std::fs::read(directory.join(name)).expect("a file");
            assert_eq!(files.get(name), Some(&text), "{name}");
        }
    }

    #[test]
    fn meta_data_may_be_missing_and_gives_the_host_name() {
        let name = |meta: &str| {
            NoCloud::read(&files("x: y", meta, ""), &[])
                .expect("readable")
                .hostname
        };
        assert_eq!(name(""), None);
        assert_eq!(name("local-hostname: a\n"), Some("a".to_owned()));
        assert_eq!(
            name("hostname: b\nlocal-hostname: a\n"),
            Some("b".to_owned())
        );
    }

    #[test]
    fn addresses_are_found_in_both_versions_bare_and_wrapped_and_by_mac_of_any_case() {
        let v2 = "version: 2\nethernets:\n  eth0:\n    match: {macaddress: aa:bb:cc:00:00:01}\n    addresses: [10.0.0.5/24, 'fd00::5/64']\n    routes: [{to: default, via: 10.0.0.1}]\n  eth1:\n    match: {macaddress: aa:bb:cc:00:00:02}\n    addresses: [10.0.1.5/24]\nvrfs: {vrf-blue: {table: 500}}\n";
        let wrapped = format!(
            "network:\n{}",
            v2.lines().map(|l| format!("  {l}\n")).collect::<String>()
        );
        let v1 = "version: 1\nconfig:\n- type: physical\n  subnets: [{type: static, address: 10.0.0.5/24}]\n";
        let macs = ["AA:BB:CC:00:00:01".to_owned()];
        let read =
            |network: &str| NoCloud::read(&files("", "", network), &macs).map(|n| n.addresses);
        let both: Vec<IpAddr> = vec![
            "10.0.0.5".parse().expect("ip"),
            "fd00::5".parse().expect("ip"),
        ];
        assert_eq!(read(v2), Ok(both.clone()));
        assert_eq!(read(&wrapped), Ok(both));
        assert_eq!(read(v1), Ok(vec!["10.0.0.5".parse().expect("ip")]));
        assert_eq!(read(""), Ok(vec![]));
    }

    #[test]
    fn a_route_without_via_and_an_unknown_version_are_errors() {
        let read = |network: &str| NoCloud::read(&files("", "", network), &[]).err();
        assert!(
            read("version: 2\nethernets: {eth0: {routes: [{to: default}]}}\n")
                .is_some_and(|e| e.contains("via"))
        );
        assert!(read("version: 3\n").is_some_and(|e| e.contains("version")));
        assert!(read("{").is_some_and(|e| e.contains("YAML")));
    }
}
