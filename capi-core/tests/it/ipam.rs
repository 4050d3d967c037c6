//! Addresses from in-cluster pools.

use std::{collections::BTreeSet, time::Duration};

use capi_core::{controllers, testing::reference::Settings};
use serde_json::{Value, json};

use crate::support::{Plane, condition};

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
