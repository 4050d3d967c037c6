//! Pools of addresses at the embedded API server: rules of one pool, rules among pools, addresses and
//! claims, and what the client is told besides.

use capi_core::api::{conversions, crds};
use capi_core::embedded::{ApiServer, client, install};
use kube::client::Body;
use serde_json::{Value, json};

const GROUP: &str = "/apis/ipam.cluster.x-k8s.io";

struct Plane(kube::Client);

/// The answer to a request.
#[derive(Debug)]
struct Answer {
    code: u16,
    warnings: Vec<String>,
    body: Value,
}

impl Answer {
    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// The fields that are to blame.
    fn fields(&self) -> Vec<&str> {
        let causes = self.body["details"]["causes"].as_array();
        let causes = causes.into_iter().flatten();
        causes.filter_map(|cause| cause["field"].as_str()).collect()
    }
}

impl Plane {
    fn new() -> Self {
        let server = install(ApiServer::builder(), crds(), conversions())
            .build()
            .expect("the server is assembled");
        Self(client(&server))
    }

    async fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{GROUP}/{path}"))
            .header("content-type", kind)
            .body(Body::from(body.to_string().into_bytes()))
            .expect("a request");
        let response = self.0.send(request).await.expect("an answer");
        let code = response.status().as_u16();
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings
            .map(|value| value.to_str().expect("text").to_owned())
            .collect();
        let body = response.into_body().collect_bytes().await.expect("a body");
        let body = serde_json::from_slice(&body).expect("JSON");
        Answer {
            code,
            warnings,
            body,
        }
    }

    async fn pool(&self, name: &str, spec: &Value) -> Answer {
        let body = pool("InClusterIPPool", name, spec);
        self.send(
            "POST",
            "v1alpha2/namespaces/default/inclusterippools",
            &body,
        )
        .await
    }

    /// An address of the pool `p`.
    async fn take(&self, address: &str, kind: &str) -> Answer {
        let body = json!({
            "apiVersion": "ipam.cluster.x-k8s.io/v1beta2", "kind": "IPAddress",
            "metadata": {"name": format!("a-{}", address.replace('.', "-"))},
            "spec": {
                "claimRef": {"name": "c"}, "address": address, "prefix": 24,
                "poolRef": {"apiGroup": "ipam.cluster.x-k8s.io", "kind": kind, "name": "p"},
            },
        });
        self.send("POST", "v1beta2/namespaces/default/ipaddresses", &body)
            .await
    }
}

fn pool(kind: &str, name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "ipam.cluster.x-k8s.io/v1alpha2", "kind": kind,
        "metadata": {"name": name}, "spec": spec,
    })
}

fn good() -> Value {
    json!({"addresses": ["10.0.0.10-10.0.0.20"], "prefix": 24, "gateway": "10.0.0.1"})
}

fn with(field: &str, value: Value) -> Value {
    let mut spec = good();
    spec[field] = value;
    spec
}

#[tokio::test]
async fn a_pool_that_cannot_give_addresses_is_refused_with_its_fields() {
    let plane = Plane::new();
    let rows = [
        (with("addresses", json!([])), "spec.addresses"),
        (with("addresses", json!(["10.0.0.x"])), "spec.addresses"),
        (
            with("addresses", json!(["10.0.0.20-10.0.0.10"])),
            "spec.addresses",
        ),
        (
            with("addresses", json!(["10.0.0.1", "fd00::1"])),
            "spec.addresses",
        ),
        (with("prefix", json!(-1)), "spec.prefix"),
        (with("prefix", json!(33)), "spec.prefix"),
        (
            with("addresses", json!(["10.0.0.1", "10.0.1.1"])),
            "spec.addresses",
        ),
        (with("gateway", json!("x")), "spec.gateway"),
        (with("gateway", json!("fd00::1")), "spec.gateway"),
        (
            with("excludedAddresses", json!(["x"])),
            "spec.excludedAddresses",
        ),
        (
            with("excludedAddresses", json!(["fd00::1"])),
            "spec.excludedAddresses",
        ),
        (
            with("excludedAddresses", json!(["fd00::1", "10.0.0.11"])),
            "spec.excludedAddresses",
        ),
        (
            with("addressReuseGracePeriodSeconds", json!(-1)),
            "spec.addressReuseGracePeriodSeconds",
        ),
    ];
    for (spec, field) in rows {
        let answer = plane.pool("bad", &spec).await;
        assert_eq!(answer.code, 422, "{spec}: {answer:?}");
        assert!(answer.fields().contains(&field), "{spec}: {answer:?}");
        let global = pool("GlobalInClusterIPPool", "bad", &spec);
        let answer = plane
            .send("POST", "v1alpha2/globalinclusterippools", &global)
            .await;
        assert_eq!(
            answer.code, 422,
            "a global pool has the same rules: {answer:?}"
        );
    }
    // The gateway need not lie in the subnet.
    for spec in [
        good(),
        with("gateway", json!("192.168.0.1")),
        with("gateway", json!("")),
    ] {
        let answer = plane.pool("good", &spec).await;
        assert_eq!(answer.code, 201, "{spec}: {answer:?}");
        plane
            .send(
                "DELETE",
                "v1alpha2/namespaces/default/inclusterippools/good",
                &json!({}),
            )
            .await;
    }
}

#[tokio::test]
async fn an_update_that_strands_an_address_in_use_is_refused() {
    let plane = Plane::new();
    assert_eq!(plane.pool("p", &good()).await.code, 201);
    assert_eq!(plane.take("10.0.0.15", "InClusterIPPool").await.code, 201);
    assert_eq!(
        plane.take("10.0.0.99", "GlobalInClusterIPPool").await.code,
        201
    );
    let path = "v1alpha2/namespaces/default/inclusterippools/p";
    for spec in [
        json!({"addresses": ["10.0.0.10-10.0.0.14"]}),
        json!({"excludedAddresses": ["10.0.0.15"]}),
        json!({"gateway": "10.0.0.15"}),
        json!({"addresses": ["10.0.0.14", "10.0.0.15"], "prefix": 28, "gateway": ""}),
    ] {
        let answer = plane.send("PATCH", path, &json!({"spec": spec})).await;
        assert_eq!(answer.code, 400, "{spec}: {answer:?}");
        assert!(answer.message().contains("10.0.0.15"), "{answer:?}");
        assert!(
            !answer.message().contains("10.0.0.99"),
            "of another pool: {answer:?}"
        );
    }
    let wider = json!({"spec": {"addresses": ["10.0.0.10-10.0.0.30"]}});
    assert_eq!(plane.send("PATCH", path, &wider).await.code, 200);
    let labels = json!({"metadata": {"labels": {"a": "b"}}});
    assert_eq!(plane.send("PATCH", path, &labels).await.code, 200);
}

#[tokio::test]
async fn a_pool_with_addresses_in_use_is_not_deleted_unless_its_annotation_says_so() {
    let plane = Plane::new();
    plane.pool("p", &good()).await;
    plane.take("10.0.0.15", "InClusterIPPool").await;
    let path = "v1alpha2/namespaces/default/inclusterippools/p";
    let answer = plane.send("DELETE", path, &json!({})).await;
    assert_eq!(answer.code, 400, "{answer:?}");
    let annotation = json!({"metadata": {"annotations": {"ipam.cluster.x-k8s.io/skip-validate-delete-webhook": ""}}});
    assert_eq!(plane.send("PATCH", path, &annotation).await.code, 200);
    assert_eq!(plane.send("DELETE", path, &json!({})).await.code, 200);
    let global = pool(
        "GlobalInClusterIPPool",
        "p",
        &with("addresses", json!(["10.1.0.0/24"])),
    );
    plane
        .send("POST", "v1alpha2/globalinclusterippools", &global)
        .await;
    plane.take("10.1.0.15", "GlobalInClusterIPPool").await;
    let answer = plane
        .send("DELETE", "v1alpha2/globalinclusterippools/p", &json!({}))
        .await;
    assert_eq!(answer.code, 400, "{answer:?}");
}

#[tokio::test]
async fn pools_with_addresses_in_common_are_warned_of_denied_or_allowed() {
    let plane = Plane::new();
    let first = plane.pool("first", &good()).await;
    assert_eq!((first.code, first.warnings), (201, Vec::new()));
    let second = plane
        .pool("second", &with("addresses", json!(["10.0.0.20-10.0.0.40"])))
        .await;
    assert_eq!(second.code, 201);
    let [warning] = second.warnings.as_slice() else {
        panic!("one warning: {:?}", second.warnings);
    };
    assert!(warning.starts_with("299 - \"spec.addresses: "), "{warning}");
    assert!(warning.contains("InClusterIPPool first"), "{warning}");
    for (policy, code, warnings) in [("deny", 422, 0), ("allow", 201, 0), ("warn", 201, 3)] {
        let mut global = pool("GlobalInClusterIPPool", policy, &good());
        global["metadata"]["annotations"] = json!({"ipam.capi.rs/overlap": policy});
        let answer = plane
            .send("POST", "v1alpha2/globalinclusterippools", &global)
            .await;
        assert_eq!(
            (answer.code, answer.warnings.len()),
            (code, warnings),
            "{policy}: {answer:?}"
        );
    }
    let elsewhere = plane
        .pool("third", &with("addresses", json!(["10.0.0.100"])))
        .await;
    assert_eq!((elsewhere.code, elsewhere.warnings), (201, Vec::new()));
}

#[tokio::test]
async fn a_pool_that_gives_nothing_or_has_a_field_misspelt_is_accepted_with_a_warning() {
    let plane = Plane::new();
    let spec = json!({"addresses": ["10.0.0.1"], "prefix": 24, "gateway": "10.0.0.1"});
    let answer = plane.pool("empty", &spec).await;
    assert_eq!(answer.code, 201);
    assert!(
        answer.warnings[0].contains("no address to give"),
        "{answer:?}"
    );
    let spec =
        json!({"addresses": ["10.2.0.1-10.2.0.9"], "prefix": 24, "excludeAddresses": ["10.2.0.2"]});
    let answer = plane.pool("misspelt", &spec).await;
    assert_eq!(answer.code, 201);
    assert!(
        answer.warnings[0].contains("excludeAddresses"),
        "{answer:?}"
    );
}

#[tokio::test]
async fn an_address_is_of_the_pool_that_its_claim_asks() {
    let plane = Plane::new();
    let claim = json!({
        "apiVersion": "ipam.cluster.x-k8s.io/v1beta2", "kind": "IPAddressClaim",
        "metadata": {"name": "c"},
        "spec": {"poolRef": {"apiGroup": "ipam.cluster.x-k8s.io", "kind": "InClusterIPPool", "name": "p"}},
    });
    let path = "v1beta2/namespaces/default/ipaddressclaims";
    assert_eq!(plane.send("POST", path, &claim).await.code, 201);
    let wrong = plane.take("10.0.0.15", "GlobalInClusterIPPool").await;
    assert_eq!(wrong.code, 422, "{wrong:?}");
    assert_eq!(wrong.fields(), ["spec.poolRef"]);
    assert_eq!(plane.take("10.0.0.15", "InClusterIPPool").await.code, 201);
}
