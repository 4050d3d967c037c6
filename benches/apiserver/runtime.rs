//! The requests as controllers make them: by the one writer of `capi_core::runtime`, on a client of
//! the server in this process. Bodies are encoded and answers read as in a manager.

use std::error::Error;

use capi_core::runtime::{Manager, ObjectKey, ResourceType};
use kube::Client;

use crate::{
    machine::{machine, status},
    measure::{Meter, Row},
    requests::applied,
};

/// The requests of a manager; `watched` with the kind in its cache, so that each answer goes into
/// that, and each event of the watch comes besides.
pub(crate) async fn run(
    client: &Client,
    calls: usize,
    watched: bool,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let machines = ResourceType::new("cluster.x-k8s.io", "v1beta2", "Machine", "machines", true);
    let manager = Manager::builder(client.clone()).build();
    let runtime = manager.runtime();
    if watched {
        runtime.cache().store(&machines).synced().await?;
    }
    let writer = runtime.writer();
    let keys: Vec<ObjectKey> = (0..calls)
        .map(|index| ObjectKey::new("default", format!("fleet-md-0-{index:05}")))
        .collect();
    let mut rows = Vec::new();
    let objects: Vec<_> = (0..calls).map(machine).collect();
    let meter = Meter::start(None);
    for object in &objects {
        writer.create(&machines, "default", object).await?;
    }
    rows.push(meter.stop("create", calls));
    for (name, generation) in [("first status", 1), ("update status", 2)] {
        let patch = status(generation);
        let meter = Meter::start(None);
        for key in &keys {
            writer.merge_patch_status(&machines, key, &patch).await?;
        }
        rows.push(meter.stop(name, calls));
    }
    let meter = Meter::start(None);
    for key in &keys {
        writer.get(&machines, key).await?;
    }
    rows.push(meter.stop("get", calls));
    for (name, version) in [
        ("first apply", "v1.35.0"),
        ("apply", "v1.35.1"),
        ("apply no change", "v1.35.1"),
    ] {
        let objects: Vec<_> = (0..calls).map(|index| applied(index, version)).collect();
        let meter = Meter::start(None);
        for (key, object) in keys.iter().zip(&objects) {
            writer.apply(&machines, key, "bench", object).await?;
        }
        rows.push(meter.stop(name, calls));
    }
    if watched {
        // What the store knows is what was written last, and the watch added nothing of its own.
        let known = runtime.cache().store(&machines).len();
        assert_eq!(known, calls, "the cache lacks machines");
    }
    Ok(rows)
}
