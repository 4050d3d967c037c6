//! The measured requests, at the service itself and through `kube::Client`.

use std::error::Error;

use capi_apiserver::{ApiServer, ApiService};
use http_body_util::BodyExt;
use kube::{
    Client,
    api::{
        Api, ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams,
        PostParams,
    },
};
use serde_json::Value;
use tower::Service;

use crate::{
    machine::{COLLECTION, machine, status},
    measure::{Meter, Row},
    real::Plane,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A list of all machines: 10,000 unless another number is asked for.
const LIST: &str = "list 10k";

pub(crate) fn applied(index: usize, version: &str) -> Value {
    let mut object = machine(index);
    object["spec"]["version"] = version.into();
    object
}

async fn call(
    service: &mut ApiService,
    method: &str,
    path: &str,
    content_type: &str,
    body: Vec<u8>,
) -> Result<usize> {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", content_type)
        .header("user-agent", "bench/1")
        .body(kube::client::Body::from(body))?;
    let response = service.call(request).await?;
    let good = response.status().is_success();
    let body = response.into_body().collect().await?.to_bytes();
    if good {
        Ok(body.len())
    } else {
        Err(String::from_utf8_lossy(&body).into_owned().into())
    }
}

/// Requests to the service, without a client: bodies are made before, answers are not decoded.
pub(crate) async fn service(server: &ApiServer, calls: usize, machines: usize) -> Result<Vec<Row>> {
    let mut service = server.service();
    let mut rows = Vec::new();
    let bodies: Vec<Vec<u8>> = (0..calls)
        .map(|index| serde_json::to_vec(&machine(index)))
        .collect::<std::result::Result<_, _>>()?;
    let paths: Vec<String> = (0..calls)
        .map(|index| format!("{COLLECTION}/fleet-md-0-{index:05}"))
        .collect();
    let meter = Meter::start(None);
    for body in bodies {
        call(&mut service, "POST", COLLECTION, "application/json", body).await?;
    }
    rows.push(meter.stop("create", calls));
    for (name, generation) in [("first status", 1), ("update status", 2)] {
        let bodies: Vec<Vec<u8>> = (0..calls)
            .map(|_| serde_json::to_vec(&status(generation)))
            .collect::<std::result::Result<_, _>>()?;
        let paths: Vec<String> = paths.iter().map(|path| format!("{path}/status")).collect();
        let meter = Meter::start(None);
        for (path, body) in paths.iter().zip(bodies) {
            call(
                &mut service,
                "PATCH",
                path,
                "application/merge-patch+json",
                body,
            )
            .await?;
        }
        rows.push(meter.stop(name, calls));
    }
    let meter = Meter::start(None);
    for path in &paths {
        call(&mut service, "GET", path, "", Vec::new()).await?;
    }
    rows.push(meter.stop("get", calls));
    for (name, version) in [
        ("first apply", "v1.35.0"),
        ("apply", "v1.35.1"),
        ("apply no change", "v1.35.1"),
    ] {
        let bodies: Vec<Vec<u8>> = (0..calls)
            .map(|index| serde_json::to_vec(&applied(index, version)))
            .collect::<std::result::Result<_, _>>()?;
        let meter = Meter::start(None);
        for (path, body) in paths.iter().zip(bodies) {
            let path = format!("{path}?fieldManager=bench&force=true");
            call(
                &mut service,
                "PATCH",
                &path,
                "application/apply-patch+yaml",
                body,
            )
            .await?;
        }
        rows.push(meter.stop(name, calls));
    }
    for index in calls..machines {
        call(
            &mut service,
            "POST",
            COLLECTION,
            "application/json",
            serde_json::to_vec(&machine(index))?,
        )
        .await?;
    }
    let meter = Meter::start(None);
    for _ in 0..10 {
        call(&mut service, "GET", COLLECTION, "", Vec::new()).await?;
    }
    rows.push(meter.stop(LIST, 10));
    Ok(rows)
}

/// The same requests through a client, which decodes the answers.
pub(crate) async fn client(
    client: &Client,
    calls: usize,
    count: usize,
    real: Option<&Plane>,
) -> Result<Vec<Row>> {
    let others = || real.map_or(std::time::Duration::ZERO, Plane::cpu);
    let others: &dyn Fn() -> std::time::Duration = &others;
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(
        "cluster.x-k8s.io",
        "v1beta2",
        "Machine",
    ));
    let machines: Api<DynamicObject> = Api::namespaced_with(client.clone(), "default", &resource);
    let object = |index: usize| serde_json::from_value::<DynamicObject>(machine(index));
    let names: Vec<String> = (0..calls)
        .map(|index| format!("fleet-md-0-{index:05}"))
        .collect();
    let mut rows = Vec::new();
    let objects: Vec<DynamicObject> = (0..calls)
        .map(object)
        .collect::<std::result::Result<_, _>>()?;
    let meter = Meter::start(Some(others));
    for object in &objects {
        machines.create(&PostParams::default(), object).await?;
    }
    rows.push(meter.stop("create", calls));
    for (name, generation) in [("first status", 1), ("update status", 2)] {
        let patch = Patch::Merge(status(generation));
        let meter = Meter::start(Some(others));
        for name in &names {
            machines
                .patch_status(name, &PatchParams::default(), &patch)
                .await?;
        }
        rows.push(meter.stop(name, calls));
    }
    let meter = Meter::start(Some(others));
    for name in &names {
        machines.get(name).await?;
    }
    rows.push(meter.stop("get", calls));
    for (name, version) in [
        ("first apply", "v1.35.0"),
        ("apply", "v1.35.1"),
        ("apply no change", "v1.35.1"),
    ] {
        let meter = Meter::start(Some(others));
        for (index, name) in names.iter().enumerate() {
            let params = PatchParams::apply("bench").force();
            machines
                .patch(name, &params, &Patch::Apply(applied(index, version)))
                .await?;
        }
        rows.push(meter.stop(name, calls));
    }
    for index in calls..count {
        machines
            .create(&PostParams::default(), &object(index)?)
            .await?;
    }
    let meter = Meter::start(Some(others));
    for _ in 0..3 {
        let list = machines.list(&ListParams::default()).await?;
        assert!(list.items.len() >= count);
    }
    rows.push(meter.stop(LIST, 3));
    Ok(rows)
}

fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|text| text.parse::<usize>().ok())
        .unwrap_or(0)
        * 1024
}

/// Memory for each stored Machine with its status, history compacted.
pub(crate) async fn memory(server: &ApiServer, count: usize) -> Result<()> {
    let mut service = server.service();
    let before = resident();
    let mut bytes = 0;
    for index in 0..count {
        call(
            &mut service,
            "POST",
            COLLECTION,
            "application/json",
            serde_json::to_vec(&machine(index))?,
        )
        .await?;
        let path = format!("{COLLECTION}/fleet-md-0-{index:05}/status");
        bytes += call(
            &mut service,
            "PATCH",
            &path,
            "application/merge-patch+json",
            serde_json::to_vec(&status(1))?,
        )
        .await?;
    }
    server.compact();
    let used = resident().saturating_sub(before);
    println!(
        "memory: {} bytes a stored Machine of {} bytes ({count} of them)",
        used / count,
        bytes / count
    );
    Ok(())
}
