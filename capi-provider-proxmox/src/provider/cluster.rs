//! A ProxmoxCluster: its pools of addresses, and whether its datacenter answers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use capi_core::api::{InClusterIPPool, InClusterIPPoolSpec};
use capi_core::provider::{ClusterContext, ClusterFacts, Progress, ProviderError, StatusFields};
use capi_core::ready;
use serde_json::json;

use super::errors::step;
use super::{ProxmoxProvider, reasons};
use crate::api::{InClusterZoneReference, IpConfig, ProxmoxCluster};

/// Zone of the addresses in `ipv4Config` and `ipv6Config` themselves.
pub(super) const DEFAULT_ZONE: &str = "default";
/// Label that says which zone a pool, claim or machine is in.
pub(super) const ZONE_LABEL: &str = "topology.kubernetes.io/proxmox-zone";
const FAMILY_ANNOTATION: &str = "ipam.capmox.cluster.x-k8s.io/ip-family";
const METRIC_ANNOTATION: &str = "ipam.capmox.cluster.x-k8s.io/gateway-metric";
/// Where older versions of CAPMOX read the metric.
const OLD_METRIC_ANNOTATION: &str = "metric";
/// Metric of a route through a gateway, unless said.
const DEFAULT_METRIC: i32 = 100;

/// Addresses of one family in one zone.
struct ZoneAddresses<'a> {
    zone: &'a str,
    v6: bool,
    config: &'a IpConfig,
}

fn zone_addresses(cluster: &ProxmoxCluster) -> impl Iterator<Item = ZoneAddresses<'_>> {
    let spec = &cluster.spec;
    let default = [
        (DEFAULT_ZONE, false, spec.ipv4_config.as_ref()),
        (DEFAULT_ZONE, true, spec.ipv6_config.as_ref()),
    ];
    let zones = spec.zone_config.iter().flat_map(|zone| {
        [
            (zone.zone.as_str(), false, zone.ipv4_config.as_ref()),
            (zone.zone.as_str(), true, zone.ipv6_config.as_ref()),
        ]
    });
    default
        .into_iter()
        .chain(zones)
        .filter_map(|(zone, v6, config)| {
            Some(ZoneAddresses {
                zone,
                v6,
                config: config?,
            })
        })
}

/// The name of a zone's pool, and the metric of routes through its gateway; `None` when the zone has none of the family.
pub(super) fn pool_of(cluster: &ProxmoxCluster, zone: &str, v6: bool) -> Option<(String, i32)> {
    let found =
        zone_addresses(cluster).find(|addresses| addresses.zone == zone && addresses.v6 == v6)?;
    Some((
        pool_name(cluster, &found),
        found.config.metric.unwrap_or(DEFAULT_METRIC),
    ))
}

/// Whether a zone is known.
pub(super) fn has_zone(cluster: &ProxmoxCluster, zone: &str) -> bool {
    zone == DEFAULT_ZONE
        || cluster
            .spec
            .zone_config
            .iter()
            .any(|known| known.zone == zone)
}

/// `<cluster>-v4-icip`, or `<cluster>-<zone>-v4-icip`.
fn pool_name(cluster: &ProxmoxCluster, addresses: &ZoneAddresses<'_>) -> String {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let family = if addresses.v6 { "v6" } else { "v4" };
    if addresses.zone == DEFAULT_ZONE {
        format!("{name}-{family}-icip")
    } else {
        format!("{name}-{}-{family}-icip", addresses.zone)
    }
}

fn pool(
    cluster: &ProxmoxCluster,
    addresses: &ZoneAddresses<'_>,
) -> Result<InClusterIPPool, ProviderError> {
    let config = addresses.config;
    let family = if addresses.v6 { "ipv6" } else { "ipv4" };
    let field = if addresses.zone == DEFAULT_ZONE {
        format!("spec.{family}Config.addresses")
    } else {
        format!(
            "spec.zoneConfig[{}].{family}Config.addresses",
            addresses.zone
        )
    };
    if config.addresses.is_empty() {
        return Err(ProviderError::invalid(
            reasons::UNREACHABLE,
            format!("{field} is empty"),
        ));
    }
    for text in &config.addresses {
        let first = text.split(['-', '/']).next().unwrap_or_default();
        match first.parse::<IpAddr>() {
            Ok(address) if address.is_ipv6() == addresses.v6 => {}
            Ok(_) => {
                return Err(ProviderError::invalid(
                    reasons::UNREACHABLE,
                    format!("{field}: {text:?} is not {family}"),
                ));
            }
            Err(_) => {
                let message = format!("{field}: {text:?} is no address, range or network");
                return Err(ProviderError::invalid(reasons::UNREACHABLE, message));
            }
        }
    }
    let spec = InClusterIPPoolSpec {
        addresses: config.addresses.clone(),
        prefix: config.prefix,
        gateway: (!config.gateway.is_empty()).then(|| config.gateway.clone()),
        address_reuse_grace_period_seconds: Some(60),
        ..InClusterIPPoolSpec::default()
    };
    let mut pool = InClusterIPPool::new(&pool_name(cluster, addresses), spec);
    pool.metadata
        .namespace
        .clone_from(&cluster.metadata.namespace);
    pool.metadata.labels = Some(BTreeMap::from([(
        ZONE_LABEL.to_owned(),
        addresses.zone.to_owned(),
    )]));
    let metric = config.metric.unwrap_or(DEFAULT_METRIC).to_string();
    pool.metadata.annotations = Some(BTreeMap::from([
        (FAMILY_ANNOTATION.to_owned(), family.to_owned()),
        (METRIC_ANNOTATION.to_owned(), metric.clone()),
        (OLD_METRIC_ANNOTATION.to_owned(), metric),
    ]));
    Ok(pool)
}

/// Status fields that tell where the pools are.
fn status(cluster: &ProxmoxCluster) -> StatusFields {
    let mut pools = Vec::new();
    let mut zones: Vec<InClusterZoneReference> = Vec::new();
    for addresses in zone_addresses(cluster) {
        let reference = capi_core::api::LocalObjectReference {
            name: pool_name(cluster, &addresses),
        };
        let index = zones
            .iter()
            .position(|known| known.zone.as_deref() == Some(addresses.zone))
            .unwrap_or_else(|| {
                zones.push(InClusterZoneReference {
                    zone: Some(addresses.zone.to_owned()),
                    ..InClusterZoneReference::default()
                });
                zones.len() - 1
            });
        let slot = if addresses.v6 {
            &mut zones[index].in_cluster_ip_pool_ref_v6
        } else {
            &mut zones[index].in_cluster_ip_pool_ref_v4
        };
        *slot = Some(reference.clone());
        pools.push(reference);
    }
    let mut status = StatusFields::new();
    status.insert("inClusterIPPoolRef".into(), json!(pools));
    status.insert("inClusterZoneRef".into(), json!(zones));
    status
}

pub(super) async fn ensure(
    provider: &ProxmoxProvider,
    cx: &ClusterContext<ProxmoxCluster>,
) -> Result<Progress<ClusterFacts>, ProviderError> {
    let cluster = &*cx.infrastructure;
    let endpoint = &cluster.spec.control_plane_endpoint;
    if !endpoint.is_valid() {
        let message = "spec.controlPlaneEndpoint needs host and port";
        let external = cluster.spec.external_managed_control_plane.unwrap_or(false);
        return if external {
            Ok(Progress::waiting(
                "ProxmoxCluster spec.controlPlaneEndpoint",
                reasons::MISSING_ENDPOINT,
                message,
            ))
        } else {
            Err(ProviderError::invalid(reasons::MISSING_ENDPOINT, message))
        };
    }
    let pools = zone_addresses(cluster)
        .map(|addresses| pool(cluster, &addresses))
        .collect::<Result<Vec<_>, _>>()?;
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let session = ready!(
        provider
            .session(&cx.context, namespace, name, Some(cluster))
            .await?
    );
    // A cluster that was ready stays so while its datacenter does not answer; its machines tell.
    if cluster.status.initialization.provisioned != Some(true) {
        session
            .snapshot(Duration::from_secs(10))
            .await
            .map_err(|error| step(reasons::UNREACHABLE, error))?;
    }
    for pool in pools {
        let object = serde_json::to_value(&pool).map_err(|error| {
            ProviderError::invalid(reasons::UNREACHABLE, "a pool cannot be written as JSON")
                .with_source(error)
        })?;
        cx.context.objects().ensure(object).await?;
    }
    Ok(Progress::Ready(ClusterFacts {
        control_plane_endpoint: Some(endpoint.clone()),
        failure_domains: Vec::new(),
        status: status(cluster),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{ProxmoxClusterSpec, ZoneConfig};

    fn config(addresses: &str, metric: Option<i32>) -> Option<IpConfig> {
        Some(IpConfig {
            addresses: vec![addresses.into()],
            prefix: 24,
            gateway: "10.0.0.1".into(),
            metric,
        })
    }

    fn cluster() -> ProxmoxCluster {
        let spec = ProxmoxClusterSpec {
            ipv4_config: config("10.0.0.10-10.0.0.99", None),
            ipv6_config: config("fd00::10-fd00::99", Some(0)),
            zone_config: vec![ZoneConfig {
                zone: "z1".into(),
                ipv4_config: config("10.1.0.0/24", Some(7)),
                ..ZoneConfig::default()
            }],
            ..ProxmoxClusterSpec::default()
        };
        let mut cluster = ProxmoxCluster::new("c", spec);
        cluster.metadata.namespace = Some("ns".into());
        cluster.metadata.uid = Some("u".into());
        cluster
    }

    #[test]
    fn pools_are_named_and_labelled_as_capmox_does() {
        let cluster = cluster();
        let pools: Vec<_> = zone_addresses(&cluster)
            .map(|addresses| pool(&cluster, &addresses).unwrap())
            .collect();
        let names: Vec<_> = pools
            .iter()
            .map(|pool| pool.metadata.name.as_deref().unwrap())
            .collect();
        assert_eq!(names, ["c-v4-icip", "c-v6-icip", "c-z1-v4-icip"]);
        let annotation = |index: usize, key: &str| {
            pools[index].metadata.annotations.as_ref().unwrap()[key].clone()
        };
        assert_eq!(
            (
                annotation(0, METRIC_ANNOTATION),
                annotation(1, METRIC_ANNOTATION)
            ),
            ("100".into(), "0".into())
        );
        assert_eq!(
            (
                annotation(0, FAMILY_ANNOTATION),
                annotation(1, FAMILY_ANNOTATION)
            ),
            ("ipv4".into(), "ipv6".into())
        );
        assert_eq!(pools[2].metadata.labels.as_ref().unwrap()[ZONE_LABEL], "z1");
        assert_eq!(pools[0].spec.address_reuse_grace_period_seconds, Some(60));
    }

    #[test]
    fn a_second_zone_has_its_reference_beside_the_first() {
        let status = serde_json::Value::Object(status(&cluster()));
        let expected = json!({
            "inClusterIPPoolRef": [{"name": "c-v4-icip"}, {"name": "c-v6-icip"}, {"name": "c-z1-v4-icip"}],
            "inClusterZoneRef": [
                {"zone": "default", "inClusterIPPoolRefV4": {"name": "c-v4-icip"}, "inClusterIPPoolRefV6": {"name": "c-v6-icip"}},
                {"zone": "z1", "inClusterIPPoolRefV4": {"name": "c-z1-v4-icip"}},
            ],
        });
        assert_eq!(status, expected);
        assert_eq!(
            pool_of(&cluster(), "z1", false),
            Some(("c-z1-v4-icip".into(), 7))
        );
        assert_eq!(pool_of(&cluster(), "z1", true), None);
    }

    #[test]
    fn addresses_that_are_none_are_said_with_their_field() {
        for (addresses, text) in [("nonsense", "is no address"), ("fd00::1", "is not ipv4")] {
            let mut cluster = cluster();
            cluster.spec.ipv4_config = config(addresses, None);
            let first = zone_addresses(&cluster).next().unwrap();
            let error = pool(&cluster, &first).unwrap_err().full_message();
            assert!(
                error.starts_with("spec.ipv4Config.addresses") && error.contains(text),
                "{error}"
            );
        }
    }
}
