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

#[tokio::test(start_paused = true)]
async fn an_address_rests_over_a_restart_and_no_longer_than_the_pool_says_now() {
    // Rest in the pool, what is said of it meanwhile, and how long it lasts.
    let rows = [
        (60, json!({}), 59..65),
        // Somebody's clock was ahead: as long as the pool says from now on, no longer.
        (
            60,
            json!({ "metadata": { "annotations": {
                "ipam.capi.rs/resting-addresses": "{\"10.0.0.10\":\"2030-01-01T00:00:00Z\"}",
            }}}),
            59..75,
        ),
        (
            600,
            json!({ "spec": { "addressReuseGracePeriodSeconds": 20 } }),
            19..45,
        ),
        // What nobody can read is nothing.
        (
            60,
            json!({ "metadata": { "annotations": { "ipam.capi.rs/resting-addresses": "soon" } } }),
            0..5,
        ),
    ];
    for (rest, change, expected) in rows {
        let plane = Plane::new(Settings::default());
        let running = plane.run(controllers::in_cluster_ipam());
        let mut resting = pool("InClusterIPPool", "10.0.0.10");
        resting["spec"]["addressReuseGracePeriodSeconds"] = json!(rest);
        plane.apply(&resting).await;
        plane.apply(&claim("a", "InClusterIPPool")).await;
        address(&plane, "a").await;
        let path = format!("{IPAM}/ipaddressclaims/a");
        let deleted = plane.clock.now();
        plane.delete(&path).await;
        plane.until(&path, |claim| claim.is_none()).await;
        drop(running);

        let pool = format!("{POOLS}/namespaces/default/inclusterippools/pool");
        plane.patch(&pool, &change).await;
        let _running = plane.run(controllers::in_cluster_ipam());
        plane.apply(&claim("b", "InClusterIPPool")).await;
        assert_eq!(address(&plane, "b").await, "10.0.0.10");
        let waited = plane.clock.now().duration_since(deleted).as_secs();
        assert!(expected.contains(&waited), "{change}: it rested {waited} s");
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_that_are_given_back_together_are_written_down_together() {
    let plane = Plane::new(Settings::default());
    let running = plane.run(controllers::in_cluster_ipam());
    let mut resting = pool("InClusterIPPool", "10.0.0.0/24");
    resting["spec"]["addressReuseGracePeriodSeconds"] = json!(60);
    plane.apply(&resting).await;
    let names: Vec<String> = (0..30).map(|number| format!("claim-{number}")).collect();
    for name in &names {
        plane.apply(&claim(name, "InClusterIPPool")).await;
    }
    for name in &names {
        address(&plane, name).await;
    }
    let pool = format!("{POOLS}/namespaces/default/inclusterippools/pool");
    let patches = || {
        let writes = running.runtime.metrics().writes();
        let patches = writes.get(&("PATCH".to_owned(), "inclusterippools".to_owned()));
        patches.copied().unwrap_or(0)
    };
    let before = patches();
    for name in &names {
        plane
            .delete(&format!("{IPAM}/ipaddressclaims/{name}"))
            .await;
    }
    for name in &names {
        let path = format!("{IPAM}/ipaddressclaims/{name}");
        plane.until(&path, |claim| claim.is_none()).await;
    }
    let found = plane.get(&pool).await.expect("there");
    let written = found["metadata"]["annotations"]["ipam.capi.rs/resting-addresses"]
        .as_str()
        .expect("written");
    let written: std::collections::BTreeMap<String, String> =
        serde_json::from_str(written).expect("by address");
    assert_eq!(written.len(), 30, "{written:?}");
    let patches = patches() - before;
    assert!(patches <= 30, "{patches} for 30 addresses, counts included");
}

#[tokio::test(start_paused = true)]
async fn whoever_dies_in_the_middle_of_a_hundred_allocations_gives_none_twice() {
    let plane = Plane::new(Settings::default());
    plane.apply(&pool("InClusterIPPool", "10.0.0.0/24")).await;
    let names: Vec<String> = (0..100).map(|number| format!("claim-{number}")).collect();
    for name in &names {
        plane.apply(&claim(name, "InClusterIPPool")).await;
    }
    let listed = || async {
        let list = plane.get(&format!("{IPAM}/ipaddresses")).await;
        let list = list.unwrap_or_default();
        list["items"].as_array().map_or(0, Vec::len)
    };
    let mut lives = 0;
    let mut before = 0;
    while before < 100 {
        lives += 1;
        assert!(lives < 60, "{before} addresses");
        let _running = plane.run(controllers::in_cluster_ipam());
        // It lives until some more are given, and dies wherever it is then.
        loop {
            tokio::task::yield_now().await;
            let now = listed().await;
            if now >= (before + 7).min(100) {
                before = now;
                break;
            }
        }
    }
    println!("{lives} lives");
    let _running = plane.run(controllers::in_cluster_ipam());
    let mut given = BTreeSet::new();
    for name in &names {
        assert!(given.insert(address(&plane, name).await), "{name}");
    }
    assert_eq!(listed().await, 100);
    assert!(lives >= 3, "{lives}");
}

#[tokio::test(start_paused = true)]
async fn pool_claim_and_address_may_be_restored_in_any_order() {
    let orders = [
        [0, 1, 2],
        [0, 2, 1],
        [1, 0, 2],
        [1, 2, 0],
        [2, 0, 1],
        [2, 1, 0],
    ];
    for order in orders {
        let plane = Plane::new(Settings::default());
        let _running = plane.run(controllers::in_cluster_ipam());
        let mut restored = claim("a", "InClusterIPPool");
        restored["metadata"]["annotations"] =
            json!({ "ipam.capi.rs/requested-address": "10.0.0.77" });
        let objects = [
            pool("InClusterIPPool", "10.0.0.10-10.0.0.99"),
            restored,
            json!({
                "apiVersion": "ipam.cluster.x-k8s.io/v1beta2", "kind": "IPAddress",
                "metadata": { "namespace": "default", "name": "a" },
                "spec": {
                    "address": "10.0.0.77", "prefix": 24, "gateway": "10.0.0.1",
                    "claimRef": { "name": "a" },
                    "poolRef": {
                        "apiGroup": "ipam.cluster.x-k8s.io", "kind": "InClusterIPPool", "name": "pool",
                    },
                },
            }),
        ];
        for index in order {
            // With the address last, its claim may have made the same one before.
            if index == 2 && plane.get(&format!("{IPAM}/ipaddresses/a")).await.is_some() {
                continue;
            }
            plane.apply(&objects[index]).await;
            plane.clock.sleep(Duration::from_secs(2)).await;
        }
        assert_eq!(address(&plane, "a").await, "10.0.0.77", "{order:?}");
    }
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
