//! Pools of addresses and the addresses in them: rules of one pool, and rules among pools, addresses
//! and claims. Answers to the webhooks of the in-cluster IPAM provider.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::{Objects, Verdict};
use crate::api::{
    GLOBAL_IN_CLUSTER_IP_POOL, IN_CLUSTER_IP_POOL, IP_ADDRESS, IP_ADDRESS_CLAIM,
    IPAddressClaimSpec, IPAddressSpec, InClusterIPPoolSpec, KindInfo, annotations,
    annotations::POOL_OVERLAP,
};
use crate::in_cluster_ipam::{AddressPool, AddressRange, PoolError, RangeSyntaxError};

fn read<T: for<'de> Deserialize<'de> + Default>(object: &Value, verdict: &mut Verdict) -> T {
    let spec = object.get("spec").map(T::deserialize);
    spec.unwrap_or_else(|| Ok(T::default()))
        .unwrap_or_else(|error| {
            verdict.invalid("spec", Value::Null, &error.to_string());
            T::default()
        })
}

fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn annotation<'o>(object: &'o Value, name: &str) -> Option<&'o str> {
    object.pointer("/metadata/annotations")?.get(name)?.as_str()
}

/// The ranges of a field, and whether they are IPv4.
fn ranges(path: &str, entries: &[String], verdict: &mut Verdict) -> Vec<AddressRange> {
    let mut ranges = Vec::with_capacity(entries.len());
    for entry in entries {
        match entry.parse() {
            Ok(range) => ranges.push(range),
            Err(error) => {
                let error: RangeSyntaxError = error;
                verdict.invalid(path, entry.as_str(), &error.to_string());
            }
        }
    }
    let family = ranges.first().map(|range: &AddressRange| range.is_v4());
    if ranges.iter().any(|range| Some(range.is_v4()) != family) {
        let entries = entries.to_vec();
        verdict.invalid(path, entries, "mixes IPv4 and IPv6 addresses");
    }
    ranges
}

/// The rules of one pool.
pub(super) fn validate(object: &Value, old: Option<&Value>) -> Verdict {
    let mut verdict = Verdict::default();
    // A pool that was accepted by other rules can still be labelled.
    if old.is_some_and(|old| old.get("spec") == object.get("spec")) {
        return verdict;
    }
    let spec: InClusterIPPoolSpec = read(object, &mut verdict);
    if !verdict.accepts() {
        return verdict;
    }
    if spec.addresses.is_empty() {
        verdict.required("spec.addresses", "at least one address is needed");
    }
    if spec.prefix < 0 {
        verdict.invalid("spec.prefix", spec.prefix, "must not be negative");
    }
    let addresses = ranges("spec.addresses", &spec.addresses, &mut verdict);
    let family = addresses.first().map(|range| range.is_v4());
    let gateway = spec.gateway.as_deref().filter(|text| !text.is_empty());
    if let Some(gateway) = gateway {
        match gateway.parse::<IpAddr>() {
            Err(_) => verdict.invalid("spec.gateway", gateway, "is no IP address"),
            Ok(address) if family.is_some_and(|family| family != address.is_ipv4()) => {
                verdict.invalid(
                    "spec.gateway",
                    gateway,
                    "is of another family than the addresses",
                );
            }
            Ok(_) => {}
        }
    }
    let path = "spec.excludedAddresses";
    let excluded = ranges(path, &spec.excluded_addresses, &mut verdict);
    if let (Some(family), Some(first)) = (family, excluded.first())
        && first.is_v4() != family
    {
        let entries = spec.excluded_addresses.clone();
        verdict.invalid(path, entries, "is of another family than the addresses");
    }
    if let Some(seconds) = spec.address_reuse_grace_period_seconds
        && seconds < 0
    {
        let path = "spec.addressReuseGracePeriodSeconds";
        verdict.invalid(path, seconds, "must not be negative");
    }
    if !verdict.accepts() {
        return verdict;
    }
    match AddressPool::read(&spec) {
        Ok(pool) if pool.allocatable.is_empty() => {
            verdict.warn("spec.addresses: the pool has no address to give");
        }
        Ok(_) => {}
        Err(error @ PoolError::Prefix(prefix)) => {
            verdict.invalid("spec.prefix", prefix, fault(&error.to_string()));
        }
        Err(error) => {
            let addresses = spec.addresses.clone();
            verdict.invalid("spec.addresses", addresses, fault(&error.to_string()));
        }
    }
    verdict
}

/// What is wrong, without where.
fn fault(message: &str) -> &str {
    message
        .split_once("Invalid value: ")
        .map_or(message, |(_, fault)| fault)
}

/// The addresses that were taken from a pool.
fn addresses(pool: &Value, others: &dyn Objects) -> Vec<IPAddressSpec> {
    let namespace = text(pool, "/metadata/namespace");
    let (kind, name) = (text(pool, "/kind"), text(pool, "/metadata/name"));
    others
        .list(IP_ADDRESS, namespace)
        .iter()
        .filter_map(|object| IPAddressSpec::deserialize(object.get("spec")?).ok())
        .filter(|address| {
            let pool = &address.pool_ref;
            pool.api_group == IN_CLUSTER_IP_POOL.group && pool.kind == kind && pool.name == name
        })
        .collect()
}

/// The rules of a pool among its addresses and among other pools.
pub(super) fn among(object: &Value, old: Option<&Value>, others: &dyn Objects) -> Verdict {
    let mut verdict = Verdict::default();
    if old.is_some_and(|old| old.get("spec") == object.get("spec")) {
        return verdict;
    }
    let spec: InClusterIPPoolSpec = read(object, &mut verdict);
    let Ok(pool) = AddressPool::read(&spec) else {
        return verdict;
    };
    if old.is_some() {
        let mut stranded: Vec<IpAddr> = addresses(object, others)
            .iter()
            .filter_map(|address| address.address.parse().ok())
            .filter(|address| !pool.allocatable.contains(*address))
            .collect();
        stranded.sort_unstable();
        if !stranded.is_empty() {
            let shown: Vec<String> = stranded.iter().map(ToString::to_string).collect();
            verdict.refuse(&format!(
                "the pool must hold the addresses that are in use: {}",
                shown.join(", ")
            ));
            return verdict;
        }
    }
    overlaps(object, &spec, others, &mut verdict);
    verdict
}

fn overlaps(
    object: &Value,
    spec: &InClusterIPPoolSpec,
    others: &dyn Objects,
    verdict: &mut Verdict,
) {
    let policy = annotation(object, POOL_OVERLAP).unwrap_or("warn");
    if policy == "allow" {
        return;
    }
    let is_global = text(object, "/kind") == GLOBAL_IN_CLUSTER_IP_POOL.kind;
    // A pool of one namespace meets those of its namespace; a global one meets all.
    let namespace = if is_global {
        ""
    } else {
        text(object, "/metadata/namespace")
    };
    let mine: Vec<AddressRange> = spec
        .addresses
        .iter()
        .filter_map(|one| one.parse().ok())
        .collect();
    let kinds: [(KindInfo, &str); 2] = [
        (IN_CLUSTER_IP_POOL, namespace),
        (GLOBAL_IN_CLUSTER_IP_POOL, ""),
    ];
    for (kind, namespace) in kinds {
        for other in others.list(kind, namespace) {
            let is_same = ["/kind", "/metadata/namespace", "/metadata/name"]
                .iter()
                .all(|pointer| text(&other, pointer) == text(object, pointer));
            let Some(Ok(spec)) = other.get("spec").map(InClusterIPPoolSpec::deserialize) else {
                continue;
            };
            let meets = spec.addresses.iter().find(|entry| {
                entry
                    .parse()
                    .is_ok_and(|range: AddressRange| mine.iter().any(|own| own.meets(range)))
            });
            let Some(entry) = meets.filter(|_| !is_same) else {
                continue;
            };
            let name = text(&other, "/metadata/name");
            let message = format!(
                "has addresses in common with {} {name} ({entry}); the annotation {POOL_OVERLAP} says warn, deny or allow",
                kind.kind
            );
            if policy == "deny" {
                verdict.invalid("spec.addresses", spec.addresses.clone(), &message);
            } else {
                verdict.warn(format!("spec.addresses: {message}"));
            }
        }
    }
}

/// A pool stays as long as addresses are taken from it.
pub(super) fn delete(object: &Value, others: &dyn Objects) -> Verdict {
    let mut verdict = Verdict::default();
    if annotation(object, annotations::SKIP_VALIDATE_DELETE).is_some() {
        return verdict;
    }
    let count = addresses(object, others).len();
    if count > 0 {
        verdict.refuse(&format!(
            "the pool has {count} addresses in use; delete their claims first, or annotate the pool with {}",
            annotations::SKIP_VALIDATE_DELETE
        ));
    }
    verdict
}

/// A new address is of the pool that its claim asks.
pub(super) fn address_of_claim(
    object: &Value,
    old: Option<&Value>,
    others: &dyn Objects,
) -> Verdict {
    let mut verdict = Verdict::default();
    if old.is_some() {
        return verdict;
    }
    let spec: IPAddressSpec = read(object, &mut verdict);
    let namespace = text(object, "/metadata/namespace");
    // A restored address may come before its claim.
    let Some(claim) = others.get(IP_ADDRESS_CLAIM, namespace, &spec.claim_ref.name) else {
        return verdict;
    };
    let claim: IPAddressClaimSpec = read(&claim, &mut verdict);
    if claim.pool_ref != spec.pool_ref {
        let pool = &spec.pool_ref;
        let shown = format!("{}/{}/{}", pool.api_group, pool.kind, pool.name);
        verdict.invalid(
            "spec.poolRef",
            shown,
            "is another pool than that of the claim",
        );
    }
    verdict
}
