//! What a write costs when it is watched.

use std::{error::Error, time::Duration};

use http_body_util::BodyExt;
use kube::{Client, client::Body};

use crate::{
    machine::{COLLECTION, machine, status},
    measure::{Meter, Row},
    real::Plane,
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const NAME: &str = "watched-00000";

/// The stream of a watch.
struct Events(Body);

impl Events {
    async fn open(client: &Client, version: &str) -> Result<Self> {
        let path = format!("{COLLECTION}?watch=true&resourceVersion={version}");
        let response = client
            .send(http::Request::get(path).body(Body::empty())?)
            .await?;
        if !response.status().is_success() {
            return Err(format!("a watch was answered with {}", response.status()).into());
        }
        Ok(Self(response.into_body()))
    }

    /// Reads to the end of the next event; one at a time is written.
    async fn next(&mut self) -> Result<()> {
        loop {
            let frame = self.0.frame().await.ok_or("a watch ended")??;
            if frame.into_data().is_ok_and(|data| data.ends_with(b"\n")) {
                return Ok(());
            }
        }
    }
}

async fn patch(client: &Client, generation: usize) -> Result<String> {
    let body = Body::from(serde_json::to_vec(&status(generation))?);
    let request = http::Request::patch(format!("{COLLECTION}/{NAME}/status"))
        .header("content-type", "application/merge-patch+json")
        .body(body)?;
    let body = client.send(request).await?.into_body().collect().await?;
    let object: serde_json::Value = serde_json::from_slice(&body.to_bytes())?;
    let version = object["metadata"]["resourceVersion"].as_str();
    Ok(version.ok_or("a patched object has no version")?.to_owned())
}

/// One status patch, and its event received by each of the watchers.
pub(crate) async fn run(client: &Client, calls: usize, real: Option<&Plane>) -> Result<Vec<Row>> {
    let others = || real.map_or(Duration::ZERO, Plane::cpu);
    let others: &dyn Fn() -> Duration = &others;
    let mut object = machine(0);
    object["metadata"]["name"] = NAME.into();
    let create = http::Request::post(COLLECTION).body(Body::from(serde_json::to_vec(&object)?))?;
    client.send(create).await?;
    let mut version = patch(client, 0).await?;
    let mut rows = Vec::new();
    for (name, watchers) in [
        ("watched by none", 0),
        ("watched by 1", 1),
        ("watched by 10", 10),
        ("watched by 100", 100),
    ] {
        let mut events = Vec::new();
        for _ in 0..watchers {
            events.push(Events::open(client, &version).await?);
        }
        let meter = Meter::start(Some(others));
        for generation in 1..=calls {
            version = patch(client, generation).await?;
            for events in &mut events {
                events.next().await?;
            }
        }
        rows.push(meter.stop(name, calls));
    }
    Ok(rows)
}
