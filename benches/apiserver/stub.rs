//! What `kube::Client` costs by itself: the same requests to a service that reads their bodies and
//! answers bytes that an embedded server answered before.

use std::{convert::Infallible, error::Error};

use bytes::Bytes;
use capi_apiserver::ApiServer;
use http_body_util::{BodyExt, Full};
use kube::Client;
use tower::Service;

use crate::machine::{COLLECTION, machine, status};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The answers to each kind of request.
#[derive(Debug, Clone)]
struct Answers {
    created: Bytes,
    patched: Bytes,
    applied: Bytes,
    list: Bytes,
}

async fn answer(
    server: &ApiServer,
    request: http::request::Builder,
    body: String,
) -> Result<Bytes> {
    let request = request.body(Full::new(Bytes::from(body)))?;
    let Ok(response) = server.service().call(request).await;
    let Ok(body) = response.into_body().collect().await;
    Ok(body.to_bytes())
}

/// A client of a service that answers what `server` answers now, whatever it is asked.
pub(crate) async fn client(server: &ApiServer, machines: usize) -> Result<Client> {
    let mut created = Bytes::new();
    for index in 0..machines {
        let request = http::Request::post(COLLECTION);
        created = answer(server, request, machine(index).to_string()).await?;
    }
    let path = format!("{COLLECTION}/fleet-md-0-00000");
    let patch = http::Request::patch(format!("{path}/status"))
        .header("content-type", "application/merge-patch+json");
    let patched = answer(server, patch, status(1).to_string()).await?;
    let apply = http::Request::patch(format!("{path}?fieldManager=bench&force=true"))
        .header("content-type", "application/apply-patch+yaml");
    let applied = answer(server, apply, machine(0).to_string()).await?;
    let list = answer(server, http::Request::get(COLLECTION), String::new()).await?;
    let answers = Answers {
        created,
        patched,
        applied,
        list,
    };
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let answers = answers.clone();
        async move {
            let (head, body) = request.into_parts();
            let sent = body
                .collect()
                .await
                .map(http_body_util::Collected::to_bytes);
            let body = match (head.method.as_str(), head.uri.path()) {
                ("POST", _) => answers.created,
                ("PATCH", path) if path.ends_with("/status") => answers.patched,
                ("PATCH", _) => answers.applied,
                (_, COLLECTION) => answers.list,
                _ => answers.patched,
            };
            drop(sent);
            Ok::<_, Infallible>(http::Response::new(Full::new(body)))
        }
    });
    Ok(Client::new(service, "default"))
}
