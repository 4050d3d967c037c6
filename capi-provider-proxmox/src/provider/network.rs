//! What a guest is told about its network and itself: `network-config` and `meta-data` of NoCloud. Pure.
//!
//! Equal as YAML to what CAPMOX writes (spec of cloud-init's network configuration, version 2), except that a Talos
//! guest gets neither VRFs nor routing policies, which it does not know.

use std::fmt::Write as _;
use std::net::IpAddr;

use capi_core::provider::AddressFacts;
use ipnet::IpNet;

use crate::api::{NetworkDevice, NetworkSpec, Route, RoutingPolicy};

/// Table that routes are in when none is named.
const MAIN_TABLE: i32 = 254;

/// What kind of system reads the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GuestFamily {
    /// cloud-init.
    CloudInit,
    /// Talos Linux.
    Talos,
}

impl GuestFamily {
    /// Reads the family off the bootstrap data: what is neither script nor cloud-init document is a machine
    /// configuration of Talos.
    #[must_use]
    pub fn of(user_data: &[u8]) -> Self {
        let first = user_data
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let known = [
            "#cloud-config",
            "#!",
            "#include",
            "#part-handler",
            "#cloud-boothook",
            "## template:",
            "Content-Type:",
            "MIME-Version:",
        ];
        if known
            .iter()
            .any(|start| first.starts_with(start.as_bytes()))
        {
            Self::CloudInit
        } else {
            Self::Talos
        }
    }
}

/// One address of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceAddress {
    /// The address with prefix and gateway.
    pub facts: AddressFacts,
    /// Metric of the route through its gateway.
    pub metric: Option<i32>,
}

/// A device with what is known of it.
#[derive(Debug, Clone)]
pub struct Interface<'a> {
    /// The device as it is wanted.
    pub device: &'a NetworkDevice,
    /// Its hardware address.
    pub hardware_address: String,
    /// Its addresses.
    pub addresses: Vec<DeviceAddress>,
}

/// Why a network cannot be rendered. The machine's spec has to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// There is no device.
    #[error("spec.network.networkDevices is empty")]
    NoDevice,
    /// No route leads out.
    #[error("no network device has a gateway or uses DHCP")]
    NoGateway,
    /// A route is not usable.
    #[error("{field}: {reason}")]
    Route {
        /// Where it stands.
        field: String,
        /// What is wrong.
        reason: String,
    },
}

/// The network configuration.
///
/// # Errors
/// [`NetworkError`].
pub fn network_config(
    network: &NetworkSpec,
    interfaces: &[Interface<'_>],
    cluster_dns: &[String],
    family: GuestFamily,
) -> Result<String, NetworkError> {
    if interfaces.is_empty() {
        return Err(NetworkError::NoDevice);
    }
    let mut routes = RouteTable::default();
    let mut text = String::from("network:\n  version: 2\n  renderer: networkd\n  ethernets:\n");
    let mut has_way_out = false;
    for (index, interface) in interfaces.iter().enumerate() {
        let dhcp = interface.addresses.is_empty();
        has_way_out |= dhcp;
        write_device(
            &mut text,
            index,
            interface,
            cluster_dns,
            network,
            family,
            &mut routes,
        )?;
        has_way_out |= interface
            .addresses
            .iter()
            .any(|address| address.facts.gateway.is_some());
    }
    if !has_way_out && !routes.has_default {
        return Err(NetworkError::NoGateway);
    }
    if family == GuestFamily::CloudInit && !network.vrfs.is_empty() {
        text.push_str("  vrfs:\n");
        for (index, vrf) in network.vrfs.iter().enumerate() {
            let field = format!("spec.network.vrfs[{index}]");
            let _ = writeln!(
                text,
                "    {}:\n      table: {}",
                quoted(&vrf.name),
                vrf.table
            );
            write_routes(
                &mut text,
                6,
                &field,
                &vrf.routes,
                Some(vrf.table),
                family,
                &mut routes,
            )?;
            write_policies(&mut text, 6, &field, &vrf.routing_policy, Some(vrf.table))?;
            let mut members = Vec::new();
            for name in &vrf.interfaces {
                let position = interfaces
                    .iter()
                    .position(|interface| interface.device.name.as_deref() == Some(name));
                let position = position.ok_or_else(|| NetworkError::Route {
                    field: format!("{field}.interfaces"),
                    reason: format!("there is no network device {name}"),
                })?;
                members.push(format!("eth{position}"));
            }
            write_list(&mut text, 6, "interfaces", &members);
        }
    }
    Ok(text)
}

#[derive(Default)]
struct RouteTable {
    seen: std::collections::BTreeSet<(i32, String, Option<i32>)>,
    has_default: bool,
}

impl RouteTable {
    fn add(
        &mut self,
        field: &str,
        table: i32,
        to: &str,
        metric: Option<i32>,
    ) -> Result<(), NetworkError> {
        self.has_default |= to.ends_with("/0");
        if self.seen.insert((table, to.to_owned(), metric)) {
            return Ok(());
        }
        let metric = metric.map_or_else(
            || "no metric".to_owned(),
            |metric| format!("metric {metric}"),
        );
        Err(NetworkError::Route {
            field: field.to_owned(),
            reason: format!("there is another route to {to} with {metric} in table {table}"),
        })
    }
}

fn write_device(
    text: &mut String,
    index: usize,
    interface: &Interface<'_>,
    cluster_dns: &[String],
    network: &NetworkSpec,
    family: GuestFamily,
    routes: &mut RouteTable,
) -> Result<(), NetworkError> {
    let device = interface.device;
    let field = format!("spec.network.networkDevices[{index}]");
    let dhcp = interface.addresses.is_empty();
    let _ = write!(
        text,
        "    eth{index}:\n      match:\n        macaddress: {}\n      dhcp4: {dhcp}\n      dhcp6: false\n",
        quoted(&interface.hardware_address)
    );
    let addresses: Vec<String> = interface
        .addresses
        .iter()
        .map(|address| format!("{}/{}", address.facts.address, address.facts.prefix))
        .collect();
    write_list(text, 6, "addresses", &addresses);
    let name = device.name.as_deref().unwrap_or_default();
    let table = network
        .vrfs
        .iter()
        .find(|vrf| vrf.interfaces.iter().any(|member| member == name))
        .map(|vrf| vrf.table);
    let mut lines = String::new();
    for address in &interface.addresses {
        let Some(gateway) = address.facts.gateway else {
            continue;
        };
        let to = if gateway.is_ipv4() {
            "0.0.0.0/0"
        } else {
            "::/0"
        };
        routes.add(&field, table.unwrap_or(MAIN_TABLE), to, address.metric)?;
        write_route(&mut lines, 8, to, Some(gateway), address.metric, None);
    }
    route_lines(&mut lines, 8, &field, &device.routes, table, family, routes)?;
    if !lines.is_empty() {
        let _ = write!(text, "      routes:\n{lines}");
    }
    if family == GuestFamily::CloudInit {
        write_policies(text, 6, &field, &device.routing_policy, None)?;
    }
    let dns = if device.dns_servers.is_empty() {
        cluster_dns
    } else {
        &device.dns_servers
    };
    if !dns.is_empty() {
        text.push_str("      nameservers:\n");
        write_list(text, 8, "addresses", dns);
    }
    if let Some(mtu) = device.link_mtu {
        let _ = writeln!(text, "      mtu: {mtu}");
    }
    Ok(())
}

fn write_routes(
    text: &mut String,
    indent: usize,
    field: &str,
    wanted: &[Route],
    table: Option<i32>,
    family: GuestFamily,
    routes: &mut RouteTable,
) -> Result<(), NetworkError> {
    let mut lines = String::new();
    route_lines(&mut lines, indent + 2, field, wanted, table, family, routes)?;
    if !lines.is_empty() {
        let _ = write!(text, "{:indent$}routes:\n{lines}", "");
    }
    Ok(())
}

fn route_lines(
    lines: &mut String,
    indent: usize,
    field: &str,
    wanted: &[Route],
    table: Option<i32>,
    family: GuestFamily,
    routes: &mut RouteTable,
) -> Result<(), NetworkError> {
    for (index, route) in wanted.iter().enumerate() {
        let field = format!("{field}.routes[{index}]");
        let via = route.via.as_deref().map(|via| {
            via.parse::<IpAddr>().map_err(|_| NetworkError::Route {
                field: format!("{field}.via"),
                reason: format!("{via:?} is no IP address"),
            })
        });
        let via = via.transpose()?;
        let to = route.to.as_deref().ok_or_else(|| NetworkError::Route {
            field: format!("{field}.to"),
            reason: "it is missing".into(),
        })?;
        let to = target(
            &format!("{field}.to"),
            to,
            route.is6.or(via.map(|via| via.is_ipv6())),
        )?;
        if family == GuestFamily::Talos && via.is_none() {
            return Err(NetworkError::Route {
                field: format!("{field}.via"),
                reason: "Talos refuses a network configuration that has a route without it".into(),
            });
        }
        routes.add(
            &field,
            route.table.or(table).unwrap_or(MAIN_TABLE),
            &to,
            route.metric,
        )?;
        write_route(lines, indent, &to, via, route.metric, route.table);
    }
    Ok(())
}

fn write_route(
    lines: &mut String,
    indent: usize,
    to: &str,
    via: Option<IpAddr>,
    metric: Option<i32>,
    table: Option<i32>,
) {
    let mut fields = vec![format!("to: {}", quoted(to))];
    fields.extend(via.map(|via| format!("via: {}", quoted(&via.to_string()))));
    fields.extend(metric.map(|metric| format!("metric: {metric}")));
    fields.extend(table.map(|table| format!("table: {table}")));
    let _ = writeln!(
        lines,
        "{:indent$}- {}",
        "",
        fields.join(&format!("\n{:width$}", "", width = indent + 2))
    );
}

fn write_policies(
    text: &mut String,
    indent: usize,
    field: &str,
    policies: &[RoutingPolicy],
    vrf_table: Option<i32>,
) -> Result<(), NetworkError> {
    if policies.is_empty() {
        return Ok(());
    }
    let _ = writeln!(text, "{:indent$}routing-policy:", "");
    for (index, policy) in policies.iter().enumerate() {
        let field = format!("{field}.routingPolicy[{index}]");
        let wrong = |reason: String| NetworkError::Route {
            field: field.clone(),
            reason,
        };
        let known = |text: Option<&str>| {
            text.and_then(|text| parse_target(text).map(|net| matches!(net, IpNet::V6(_))))
        };
        let family = policy
            .is6
            .or(known(policy.to.as_deref()))
            .or(known(policy.from.as_deref()));
        let resolve = |name: &str, text: Option<&str>| {
            text.map(|text| target(&format!("{field}.{name}"), text, family))
                .transpose()
        };
        let (to, from) = (
            resolve("to", policy.to.as_deref())?,
            resolve("from", policy.from.as_deref())?,
        );
        if to.is_none() && from.is_none() {
            return Err(wrong("it needs to or from".into()));
        }
        if let (Some(to), Some(from)) = (&to, &from)
            && to.contains(':') != from.contains(':')
        {
            return Err(wrong(format!("{to} and {from} are of different families")));
        }
        let table = policy
            .table
            .or(vrf_table)
            .ok_or_else(|| wrong("it needs a table".into()))?;
        if let Some(vrf_table) = vrf_table.filter(|vrf_table| *vrf_table != table) {
            return Err(wrong(format!(
                "its table {table} is not that of its VRF, {vrf_table}"
            )));
        }
        let mut fields = Vec::new();
        fields.extend(to.map(|to| format!("to: {}", quoted(&to))));
        fields.extend(from.map(|from| format!("from: {}", quoted(&from))));
        fields.extend(
            policy
                .priority
                .map(|priority| format!("priority: {priority}")),
        );
        fields.push(format!("table: {table}"));
        let (outer, inner) = (indent + 2, indent + 4);
        let _ = writeln!(
            text,
            "{:outer$}- {}",
            "",
            fields.join(&format!("\n{:inner$}", ""))
        );
    }
    Ok(())
}

/// A route's target as a network: a network, an address, or `default` / `all` of a known family.
fn target(field: &str, text: &str, is6: Option<bool>) -> Result<String, NetworkError> {
    let wrong = |reason: String| NetworkError::Route {
        field: field.to_owned(),
        reason,
    };
    match text {
        "default" | "all" => match is6 {
            Some(true) => Ok("::/0".into()),
            Some(false) => Ok("0.0.0.0/0".into()),
            None => Err(wrong(format!("{text:?} is of no family; set is6 or via"))),
        },
        _ => parse_target(text)
            .map(|net| net.to_string())
            .ok_or_else(|| wrong(format!("{text:?} is no network, address, default or all"))),
    }
}

fn parse_target(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn write_list(text: &mut String, indent: usize, key: &str, values: &[String]) {
    if values.is_empty() {
        return;
    }
    let _ = writeln!(text, "{:indent$}{key}:", "");
    for value in values {
        let inner = indent + 2;
        let _ = writeln!(text, "{:inner$}- {}", "", quoted(value));
    }
}

/// A text in YAML's single quotes, which know no escapes.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The meta-data.
#[must_use]
pub fn meta_data(
    uuid: &str,
    name: &str,
    provider_id: Option<&str>,
    kubernetes_version: Option<&str>,
) -> String {
    let mut text = format!("instance-id: {uuid}\nlocal-hostname: {name}\nhostname: {name}\n");
    if let Some(provider_id) = provider_id {
        let _ = writeln!(text, "provider-id: {provider_id}");
    }
    if let Some(version) = kubernetes_version {
        let _ = writeln!(text, "kubernetes-version: {version}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::Vrf;

    fn given(address: &str, gateway: Option<&str>, metric: Option<i32>) -> DeviceAddress {
        let (address, prefix) = address.split_once('/').unwrap();
        let facts = AddressFacts {
            address: address.parse().unwrap(),
            prefix: prefix.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        };
        DeviceAddress { facts, metric }
    }

    fn interface<'a>(device: &'a NetworkDevice, addresses: Vec<DeviceAddress>) -> Interface<'a> {
        Interface {
            device,
            hardware_address: "BC:24:11:57:DB:D3".into(),
            addresses,
        }
    }

    fn yaml(text: &str) -> serde_json::Value {
        serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    const DNS: [&str; 2] = ["10.77.0.53", "10.77.0.54"];

    fn dns() -> Vec<String> {
        DNS.map(str::to_owned).to_vec()
    }

    fn render(
        network: &NetworkSpec,
        interfaces: &[Interface<'_>],
        family: GuestFamily,
    ) -> Result<serde_json::Value, NetworkError> {
        network_config(network, interfaces, &dns(), family).map(|text| yaml(&text))
    }

    #[test]
    fn a_static_address_is_rendered_as_capmox_does() {
        let device = NetworkDevice::default();
        let interfaces = [interface(
            &device,
            vec![given("10.77.5.10/24", Some("10.77.5.1"), Some(100))],
        )];
        let expected = yaml(
            "network: {version: 2, renderer: networkd, ethernets: {eth0: {match: {macaddress: 'BC:24:11:57:DB:D3'}, dhcp4: false, dhcp6: false, \
             addresses: ['10.77.5.10/24'], routes: [{to: 0.0.0.0/0, via: 10.77.5.1, metric: 100}], nameservers: {addresses: [10.77.0.53, 10.77.0.54]}}}}",
        );
        for family in [GuestFamily::CloudInit, GuestFamily::Talos] {
            assert_eq!(
                render(&NetworkSpec::default(), &interfaces, family).unwrap(),
                expected
            );
        }
    }

    #[test]
    fn two_families_and_a_second_device_have_their_own_routes() {
        let first = NetworkDevice {
            link_mtu: Some(1400),
            ..NetworkDevice::default()
        };
        let second = NetworkDevice {
            dns_servers: vec!["1.1.1.1".into()],
            routes: vec![Route {
                to: Some("10.9.0.0/16".into()),
                via: Some("10.1.0.1".into()),
                metric: Some(5),
                ..Route::default()
            }],
            ..NetworkDevice::default()
        };
        let interfaces = [
            interface(
                &first,
                vec![
                    given("10.0.0.2/24", Some("10.0.0.1"), Some(100)),
                    given("fd00::2/64", Some("fd00::1"), Some(0)),
                ],
            ),
            interface(&second, vec![given("10.1.0.2/24", None, None)]),
        ];
        let rendered = render(&NetworkSpec::default(), &interfaces, GuestFamily::Talos).unwrap();
        let first = &rendered["network"]["ethernets"]["eth0"];
        assert_eq!(
            first["routes"],
            yaml(
                "[{to: 0.0.0.0/0, via: 10.0.0.1, metric: 100}, {to: '::/0', via: 'fd00::1', metric: 0}]"
            )
        );
        assert_eq!(
            (&first["mtu"], &first["addresses"]),
            (&yaml("1400"), &yaml("['10.0.0.2/24', 'fd00::2/64']"))
        );
        let second = &rendered["network"]["ethernets"]["eth1"];
        assert_eq!(
            second["routes"],
            yaml("[{to: 10.9.0.0/16, via: 10.1.0.1, metric: 5}]")
        );
        assert_eq!(second["nameservers"]["addresses"], yaml("[1.1.1.1]"));
    }

    fn with_vrf() -> NetworkSpec {
        NetworkSpec {
            vrfs: vec![Vrf {
                name: "blue".into(),
                table: 500,
                interfaces: vec!["net0".into()],
                routes: vec![Route {
                    to: Some("default".into()),
                    via: Some("10.0.0.9".into()),
                    table: Some(500),
                    ..Route::default()
                }],
                routing_policy: vec![RoutingPolicy {
                    from: Some("10.0.0.0/24".into()),
                    priority: Some(100),
                    ..RoutingPolicy::default()
                }],
            }],
            ..NetworkSpec::default()
        }
    }

    #[test]
    fn cloud_init_is_told_of_vrfs_and_talos_is_not() {
        let device = NetworkDevice {
            name: Some("net0".into()),
            ..NetworkDevice::default()
        };
        let interfaces = [interface(
            &device,
            vec![given("10.0.0.2/24", Some("10.0.0.1"), Some(100))],
        )];
        let rendered = render(&with_vrf(), &interfaces, GuestFamily::CloudInit).unwrap();
        let expected = yaml(
            "{blue: {table: 500, routes: [{to: 0.0.0.0/0, via: 10.0.0.9, table: 500}], \
             routing-policy: [{from: 10.0.0.0/24, priority: 100, table: 500}], interfaces: [eth0]}}",
        );
        assert_eq!(rendered["network"]["vrfs"], expected);
        let rendered = render(&with_vrf(), &interfaces, GuestFamily::Talos).unwrap();
        assert!(rendered["network"].get("vrfs").is_none());
    }

    #[test]
    fn a_device_without_addresses_asks_by_dhcp() {
        let device = NetworkDevice::default();
        let rendered = render(
            &NetworkSpec::default(),
            &[interface(&device, vec![])],
            GuestFamily::Talos,
        )
        .unwrap();
        assert_eq!(rendered["network"]["ethernets"]["eth0"]["dhcp4"], true);
    }

    #[test]
    fn what_cannot_be_rendered_is_said_with_its_field() {
        let route = |to: &str, via: Option<&str>| NetworkDevice {
            routes: vec![Route {
                to: Some(to.into()),
                via: via.map(str::to_owned),
                metric: Some(100),
                ..Route::default()
            }],
            ..NetworkDevice::default()
        };
        let rule = |policy: RoutingPolicy| NetworkDevice {
            routing_policy: vec![policy],
            ..NetworkDevice::default()
        };
        let policy = |to: Option<&str>, from: Option<&str>, table| RoutingPolicy {
            to: to.map(str::to_owned),
            from: from.map(str::to_owned),
            table,
            ..RoutingPolicy::default()
        };
        let rows = [
            (
                route("10.9.0.0/16", None),
                GuestFamily::Talos,
                "networkDevices[0].routes[0].via: Talos refuses",
            ),
            (
                route("default", None),
                GuestFamily::CloudInit,
                "routes[0].to: \"default\" is of no family",
            ),
            (
                route("nowhere", Some("10.0.0.1")),
                GuestFamily::CloudInit,
                "\"nowhere\" is no network",
            ),
            (
                route("10.9.0.0/16", Some("gateway")),
                GuestFamily::CloudInit,
                "\"gateway\" is no IP address",
            ),
            (
                route("default", Some("10.0.0.7")),
                GuestFamily::CloudInit,
                "there is another route to 0.0.0.0/0 with metric 100 in table 254",
            ),
            (
                rule(policy(None, None, Some(7))),
                GuestFamily::CloudInit,
                "it needs to or from",
            ),
            (
                rule(policy(Some("10.0.0.0/8"), None, None)),
                GuestFamily::CloudInit,
                "it needs a table",
            ),
            (
                rule(policy(Some("10.0.0.0/8"), Some("fd00::/8"), Some(7))),
                GuestFamily::CloudInit,
                "of different families",
            ),
        ];
        for (device, family, text) in rows {
            let interfaces = [interface(
                &device,
                vec![given("10.0.0.2/24", Some("10.0.0.1"), Some(100))],
            )];
            let error = render(&NetworkSpec::default(), &interfaces, family)
                .unwrap_err()
                .to_string();
            assert!(error.contains(text), "{text:?} in {error:?}");
        }
        let device = NetworkDevice {
            name: Some("net9".into()),
            ..NetworkDevice::default()
        };
        let interfaces = [interface(
            &device,
            vec![given("10.0.0.2/24", Some("10.0.0.1"), None)],
        )];
        let error = render(&with_vrf(), &interfaces, GuestFamily::CloudInit)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("vrfs[0].interfaces: there is no network device net0"),
            "{error}"
        );
        let mut network = with_vrf();
        network.vrfs[0].routing_policy[0].table = Some(7);
        network.vrfs[0].interfaces.clear();
        let error = render(&network, &interfaces, GuestFamily::CloudInit)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("its table 7 is not that of its VRF, 500"),
            "{error}"
        );
        let no_gateway = [interface(&device, vec![given("10.0.0.2/24", None, None)])];
        assert_eq!(
            render(&NetworkSpec::default(), &no_gateway, GuestFamily::CloudInit),
            Err(NetworkError::NoGateway)
        );
        assert_eq!(
            render(&NetworkSpec::default(), &[], GuestFamily::CloudInit),
            Err(NetworkError::NoDevice)
        );
    }

    #[test]
    fn the_first_line_tells_the_family() {
        for (data, family) in [
            ("#cloud-config\n", GuestFamily::CloudInit),
            (
                "## template: jinja\n#cloud-config\n",
                GuestFamily::CloudInit,
            ),
            ("#!/bin/sh\n", GuestFamily::CloudInit),
            ("version: v1alpha1\n", GuestFamily::Talos),
            ("---\napiVersion: v1alpha1\n", GuestFamily::Talos),
        ] {
            assert_eq!(GuestFamily::of(data.as_bytes()), family, "{data}");
        }
    }

    #[test]
    fn meta_data_has_what_is_asked_for() {
        assert_eq!(
            meta_data("u", "m", None, None),
            "instance-id: u\nlocal-hostname: m\nhostname: m\n"
        );
        let full = meta_data("u", "m", Some("proxmox://u"), Some("v1.34.0"));
        assert!(full.ends_with("provider-id: proxmox://u\nkubernetes-version: v1.34.0\n"));
    }
}
