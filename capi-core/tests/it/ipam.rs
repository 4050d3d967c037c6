//! Addresses from in-cluster pools.

use std::{collections::BTreeSet, time::Duration};

use capi_core::{controllers, testing::reference::Settings};
use serde_json::{Value, json};

use crate::{
    support::{Plane, condition},
    wire::{Log, Wire},
};

const IPAM: &str = "/apis/ipam.cluster.x-k8s.io/v1beta2/namespaces/default";
const POOLS: &str = "/apis/ipam.cluster.x-k8s.io/v1alpha2";

fn pool(kind: &str, addresses: &str) -> Value {
    let mut pool = json!({
        "apiVersion": "ipam.cluster.x-k8s.io/v1alpha2", "kind": kind,
        "metadata": { "name": "pool" },
        "spec": { "addresses": [addresses], "prefix": 24, "gateway": "10.0.0.1" },
    });
    if kind == "InClusterIPPool" {
        pool["metadata"]["namespace"] = json!("default");
    }
    pool
}

fn claim(name: &str, kind: &str) -> Value {
    json!({
        "apiVersion": "ipam.cluster.x-k8s.io/v1beta2", "kind": "IPAddressClaim",
        "metadata": { "namespace": "default", "name": name },
        "spec": { "poolRef": {
            "apiGroup": "ipam.cluster.x-k8s.io", "kind": kind, "name": "pool",
        }},
    })
}

async fn address(plane: &Plane, name: &str) -> String {
    let claim = format!("{IPAM}/ipaddressclaims/{name}");
    plane
        .until(&claim, |claim| {
            claim.is_some_and(|claim| condition(claim, "Ready").as_deref() == Some("True"))
        })
        .await;
    let address = plane
        .get(&format!("{IPAM}/ipaddresses/{name}"))
        .await
        .expect("ready");
    assert_eq!(address["spec"]["gateway"], "10.0.0.1");
    assert_eq!(address["spec"]["prefix"], 24);
    address["spec"]["address"]
        .as_str()
        .expect("an address")
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn claims_get_the_lowest_free_address_and_wait_when_there_is_none() {
    for kind in ["InClusterIPPool", "GlobalInClusterIPPool"] {
        let plane = Plane::new(Settings::default());
        let running = plane.run(controllers::in_cluster_ipam());
        plane.apply(&claim("a", kind)).await;
        let path = |name: &str| format!("{IPAM}/ipaddressclaims/{name}");
        let reason = |claim: &Value| {
            claim["status"]["conditions"][0]["reason"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        plane
            .until(&path("a"), |claim| {
                claim.is_some_and(|claim| reason(claim) == "PoolNotReady")
            })
            .await;
        plane.apply(&pool(kind, "10.0.0.10-10.0.0.11")).await;
        assert_eq!(address(&plane, "a").await, "10.0.0.10");
        plane.apply(&claim("b", kind)).await;
        assert_eq!(address(&plane, "b").await, "10.0.0.11");
        plane.apply(&claim("c", kind)).await;
        plane
            .until(&path("c"), |claim| {
                claim.is_some_and(|claim| reason(claim) == "PoolExhausted")
            })
            .await;
        plane.delete(&path("a")).await;
        assert_eq!(address(&plane, "c").await, "10.0.0.10");

        let pool = match kind {
            "InClusterIPPool" => format!("{POOLS}/namespaces/default/inclusterippools/pool"),
            _ => format!("{POOLS}/globalinclusterippools/pool"),
        };
        let counted = json!({ "total": 2, "used": 2, "free": 0, "outOfRange": 0 });
        plane
            .until(&pool, |pool| {
                pool.is_some_and(|pool| pool["status"]["ipAddresses"] == counted)
            })
            .await;
        plane.delete(&pool).await;
        assert!(plane.get(&pool).await.is_some(), "a pool in use stays");
        plane.delete(&path("b")).await;
        plane.delete(&path("c")).await;
        plane.until(&pool, |pool| pool.is_none()).await;
        let writes = running.runtime.metrics().writes();
        plane.clock.sleep(Duration::from_secs(60)).await;
        assert_eq!(running.runtime.metrics().writes(), writes);
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_is_never_given_twice_however_many_ask_at_once() {
    let plane = Plane::new(Settings::default());
    let _running = plane.run(controllers::in_cluster_ipam());
    plane.apply(&pool("InClusterIPPool", "10.0.0.0/24")).await;
    let names: Vec<String> = (0..100).map(|number| format!("claim-{number}")).collect();
    for name in &names {
        plane.apply(&claim(name, "InClusterIPPool")).await;
    }
    let mut given = BTreeSet::new();
    for name in &names {
        assert!(given.insert(address(&plane, name).await));
    }
    assert_eq!(given.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_claim_goes_at_once_and_its_address_rests_as_long_as_the_pool_says() {
    let plane = Plane::new(Settings::default());
    let _running = plane.run(controllers::in_cluster_ipam());
    let mut resting = pool("InClusterIPPool", "10.0.0.10");
    resting["spec"]["addressReuseGracePeriodSeconds"] = json!(60);
    plane.apply(&resting).await;
    plane.apply(&claim("a", "InClusterIPPool")).await;
    address(&plane, "a").await;
    let path = format!("{IPAM}/ipaddressclaims/a");
    let deleted = plane.clock.now();
    plane.delete(&path).await;
    plane.until(&path, |claim| claim.is_none()).await;
    assert!(
        plane.clock.now().duration_since(deleted).as_secs() < 2,
        "the claim does not wait"
    );
    plane.apply(&claim("b", "InClusterIPPool")).await;
    assert_eq!(address(&plane, "b").await, "10.0.0.10");
    let waited = plane.clock.now().duration_since(deleted).as_secs();
    assert!((59..65).contains(&waited), "the address rested {waited} s");
}

/// A pool of a name of its own, and what it may say beside its addresses.
fn named(kind: &str, name: &str, addresses: &str, annotations: &Value) -> Value {
    let mut pool = pool(kind, addresses);
    pool["metadata"]["name"] = json!(name);
    pool["metadata"]["annotations"] = annotations.clone();
    pool
}

fn claim_on(name: &str, kind: &str, pool: &str, annotations: &Value) -> Value {
    let mut claim = claim(name, kind);
    claim["spec"]["poolRef"]["name"] = json!(pool);
    claim["metadata"]["annotations"] = annotations.clone();
    claim
}

fn message(claim: Option<&Value>) -> String {
    let message = claim.and_then(|claim| claim["status"]["conditions"][0]["message"].as_str());
    message.unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn pools_that_overlap_are_warned_of_and_give_no_address_twice() {
    let plane = Plane::new(Settings::default());
    let _running = plane.run(controllers::in_cluster_ipam());
    let none = json!({});
    let kinds = [
        "InClusterIPPool",
        "GlobalInClusterIPPool",
        "InClusterIPPool",
    ];
    let pools = ["one", "two", "three"];
    for (kind, name) in kinds.iter().zip(pools) {
        plane
            .apply(&named(kind, name, "10.0.0.10-10.0.0.39", &none))
            .await;
    }
    let mut given = BTreeSet::new();
    for number in 0..30 {
        let (kind, pool) = (kinds[number % 3], pools[number % 3]);
        let name = format!("claim-{number}");
        plane.apply(&claim_on(&name, kind, pool, &none)).await;
    }
    for number in 0..30 {
        let address = address(&plane, &format!("claim-{number}")).await;
        assert!(given.insert(address.clone()), "{address} was given twice");
    }
    plane
        .apply(&claim_on("late", kinds[0], pools[0], &none))
        .await;
    let late = format!("{IPAM}/ipaddressclaims/late");
    plane
        .until(&late, |claim| message(claim).contains("in use"))
        .await;
    // What another pool gave up is what it waited for, too.
    plane
        .delete(&format!("{IPAM}/ipaddressclaims/claim-1"))
        .await;
    assert!(given.contains(&address(&plane, "late").await));
    let events = plane.get("/api/v1/namespaces/default/events").await;
    let events = events.expect("a list")["items"].clone();
    let warned = events
        .as_array()
        .into_iter()
        .flatten()
        .filter(|event| event["reason"] == "OverlappingPools" && event["type"] == "Warning");
    assert!(warned.count() >= 2, "{events:#}");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_asked_for_or_reserved_goes_to_that_claim_and_no_other() {
    let plane = Plane::new(Settings::default());
    let _running = plane.run(controllers::in_cluster_ipam());
    let kind = "InClusterIPPool";
    let reserved = json!({ "ipam.capi.rs/reservations":
        json!({ "kept": "10.0.0.10", "default/other": "10.0.0.12" }).to_string() });
    plane
        .apply(&named(kind, "pool", "10.0.0.10-10.0.0.14", &reserved))
        .await;
    let asks = |address: &str| json!({ "ipam.capi.rs/requested-address": address });
    let rows = [
        ("plain", json!({}), "10.0.0.11"),
        ("asks", asks("10.0.0.14"), "10.0.0.14"),
        ("second", json!({}), "10.0.0.13"),
        ("other", json!({}), "10.0.0.12"),
        ("kept", json!({}), "10.0.0.10"),
    ];
    for (name, annotations, expected) in &rows {
        plane
            .apply(&claim_on(name, kind, "pool", annotations))
            .await;
        assert_eq!(address(&plane, name).await, *expected, "{name}");
    }
    let refused = [
        ("taken", "10.0.0.14", "default/asks has it"),
        ("outside", "10.0.0.99", "is not one of the pool"),
        ("nonsense", "10.0.0", "is no IP address"),
    ];
    for (name, wanted, words) in refused {
        plane
            .apply(&claim_on(name, kind, "pool", &asks(wanted)))
            .await;
        let path = format!("{IPAM}/ipaddressclaims/{name}");
        let seen = plane
            .until(&path, |claim| message(claim).contains(words))
            .await
            .expect("a claim");
        assert_eq!(condition(&seen, "Ready").as_deref(), Some("False"));
        assert_eq!(
            seen["status"]["conditions"][0]["reason"],
            "AllocationFailed"
        );
    }
    plane.delete(&format!("{IPAM}/ipaddressclaims/asks")).await;
    assert_eq!(address(&plane, "taken").await, "10.0.0.14");
}

#[tokio::test(start_paused = true)]
async fn a_paused_pool_gives_nothing_and_takes_nothing_back() {
    let plane = Plane::new(Settings::default());
    let running = plane.run(controllers::in_cluster_ipam());
    let kind = "InClusterIPPool";
    let paused = json!({ "cluster.x-k8s.io/paused": "" });
    let pool = |annotations: &Value| named(kind, "pool", "10.0.0.10-10.0.0.14", annotations);
    plane.apply(&pool(&json!({}))).await;
    plane.apply(&claim("before", kind)).await;
    address(&plane, "before").await;
    plane.apply(&pool(&paused)).await;
    let path = |name: &str| format!("{IPAM}/ipaddressclaims/{name}");
    plane.apply(&claim("meanwhile", kind)).await;
    plane.delete(&path("before")).await;
    let writes = running.runtime.metrics().writes();
    plane.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(running.runtime.metrics().writes(), writes);
    assert!(plane.get(&path("before")).await.is_some());
    plane.apply(&pool(&json!({}))).await;
    plane.until(&path("before"), |claim| claim.is_none()).await;
    address(&plane, "meanwhile").await;
}

#[tokio::test(start_paused = true)]
async fn an_address_whose_making_was_not_answered_is_neither_lost_nor_given_twice() {
    let plane = Plane::new(Settings::default());
    let log = Log::default();
    let wire = Wire::new(&plane.server, &plane.clock, "manager", &log);
    let wire = wire.late_watches(Duration::from_secs(5)).lose_makings();
    let _running = plane.run_through(
        wire.client(),
        plane.datacenter.connector(),
        controllers::in_cluster_ipam(),
    );
    // As many addresses as claims: one that is lost is missed.
    plane
        .apply(&pool("InClusterIPPool", "10.0.0.10-10.0.0.17"))
        .await;
    let names: Vec<String> = (0..8).map(|number| format!("claim-{number}")).collect();
    for name in &names {
        plane.apply(&claim(name, "InClusterIPPool")).await;
    }
    let mut given = BTreeSet::new();
    for name in &names {
        assert!(given.insert(address(&plane, name).await));
    }
    for name in &names {
        plane
            .delete(&format!("{IPAM}/ipaddressclaims/{name}"))
            .await;
    }
    let pool = format!("{POOLS}/namespaces/default/inclusterippools/pool");
    plane.delete(&pool).await;
    plane.until(&pool, |pool| pool.is_none()).await;
}
