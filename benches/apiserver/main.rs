//! What a request costs on the embedded API server: in process, over HTTPS, and, where
//! `KUBEBUILDER_ASSETS` names a directory with kube-apiserver and etcd, on the real one in the same run.
//!
//! ```sh
//! cargo bench -p capi-benches --bench apiserver
//! ```
//!
//! CPU is that of this thread, which client and embedded server share, and for the real one that
//! of kube-apiserver and etcd besides. A Machine of about 3 KB is the object.

mod fanout;
mod machine;
mod measure;
mod real;
mod requests;

use std::error::Error;

use capi_apiserver::{ApiServer, User};
use kube::{Client, Config, config::Kubeconfig};

use measure::{Row, table};

fn server() -> Result<ApiServer, Box<dyn Error>> {
    let mut builder = ApiServer::builder().seed(1);
    for definition in capi_core::api::crds() {
        builder = builder.crd(definition);
    }
    Ok(builder.build()?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let scale: usize = std::env::args()
        .filter_map(|argument| argument.parse().ok())
        .next()
        .unwrap_or(2000);
    runtime.block_on(async {
        // First, while the process has no freed memory to give again.
        requests::memory(&server()?, scale * 5).await?;
        let mut rows: Vec<(&str, Vec<Row>)> = Vec::new();

        rows.push(("service", requests::service(&server()?, scale).await?));

        let embedded = server()?;
        let client = Client::new(embedded.service(), "default");
        rows.push(("in process", requests::client(&client, scale, None).await?));

        let embedded = server()?;
        let https = embedded.https().start().await?;
        let kubeconfig = https.kubeconfig(&User::admin())?;
        let kubeconfig = Kubeconfig::from_yaml(secrecy::ExposeSecret::expose_secret(&kubeconfig))?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default())
                .await?;
        rows.push((
            "HTTPS",
            requests::client(&Client::try_from(config)?, scale / 4, None).await?,
        ));

        if let Some(real) = real::Plane::start().await? {
            real.install(capi_core::api::crds()).await?;
            rows.push((
                "real",
                requests::client(&real.client, scale / 4, Some(&real)).await?,
            ));
        }
        table(&rows);
        fanout::run(&server, scale / 4).await?;
        Ok(())
    })
}
