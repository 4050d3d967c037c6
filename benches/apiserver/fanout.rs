//! What a write costs when it is watched.

use std::error::Error;

use capi_apiserver::ApiServer;
use http_body_util::BodyExt;
use tower::Service;

use crate::{
    machine::{COLLECTION, machine, status},
    measure::Meter,
};

/// One status patch, and its frame received by each of the watchers.
pub(crate) async fn run(
    server: &dyn Fn() -> Result<ApiServer, Box<dyn Error>>,
    calls: usize,
) -> Result<(), Box<dyn Error>> {
    for watchers in [0, 1, 10, 100] {
        let server = server()?;
        let mut service = server.service();
        let get = |path: &str| http::Request::get(path).body(kube::client::Body::empty());
        let create = http::Request::post(COLLECTION)
            .body(kube::client::Body::from(serde_json::to_vec(&machine(0))?))?;
        service.call(create).await?;
        let mut bodies = Vec::new();
        for _ in 0..watchers {
            let path = format!(
                "{COLLECTION}?watch=true&resourceVersion={}",
                server.resource_version()
            );
            bodies.push(service.call(get(&path)?).await?.into_body());
        }
        let meter = Meter::start(None);
        for generation in 0..calls {
            let body = kube::client::Body::from(serde_json::to_vec(&status(generation))?);
            let patch = http::Request::patch(format!("{COLLECTION}/fleet-md-0-00000/status"))
                .header("content-type", "application/merge-patch+json")
                .body(body)?;
            service.call(patch).await?;
            for body in &mut bodies {
                let frame = body.frame().await.ok_or("a watch ended")??;
                assert!(
                    frame
                        .into_data()
                        .is_ok_and(|data| data.starts_with(b"{\"type\":\"MODIFIED\""))
                );
            }
        }
        let row = meter.stop("fan-out", calls);
        println!(
            "status patch seen by {watchers:>3} watchers: {:.1} us CPU",
            row.cpu.as_secs_f64() * 1e6
        );
    }
    Ok(())
}
