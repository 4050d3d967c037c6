//! What a request costs on the embedded API server: create, get, update of the status, apply, a list
//! of 10,000, and a watched write; at the service itself, as our controllers write (`runtime`, and
//! `cached` with the kind in their cache and its watch), through `kube::Client` and its dynamic
//! objects in process (`client`), the same over HTTPS, and, where `KUBEBUILDER_ASSETS` names a
//! directory with kube-apiserver and etcd, on the real one in the same run, with ratios. Then what a
//! stored Machine takes of memory.
//!
//! ```sh
//! cargo bench -p capi-benches --bench apiserver             # everything, some minutes
//! cargo bench -p capi-benches --bench apiserver -- --quick  # the same with fewer calls
//! cargo bench -p capi-benches --bench apiserver -- --only service,runtime,client
//! ```
//!
//! The doors are `service`, `runtime`, `cached`, `client`, `stub`, `https`, `real`; and `memory`.
//! `--calls N` says how many of each. CPU is that of this thread, which client and embedded server
//! share, and for the real one that of kube-apiserver and etcd besides. `stub` is the client with a
//! service behind it that answers fixed bytes: what is left when the server costs nothing. A Machine
//! of about 3 KB is the object.

mod fanout;
mod machine;
mod measure;
mod real;
mod requests;
mod runtime;
mod stub;

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

/// What is to be measured.
#[derive(Debug)]
struct Options {
    calls: usize,
    /// Machines in the list.
    machines: usize,
    only: Option<Vec<String>>,
}

impl Options {
    fn read(arguments: impl Iterator<Item = String>) -> Result<Self, Box<dyn Error>> {
        let mut options = Self {
            calls: 2000,
            machines: 10_000,
            only: None,
        };
        let mut arguments = arguments.filter(|argument| argument != "--bench");
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
            match argument.as_str() {
                "--quick" => options.calls = 200,
                "--calls" => options.calls = value()?.parse()?,
                "--machines" => options.machines = value()?.parse()?,
                "--only" => options.only = Some(value()?.split(',').map(str::to_owned).collect()),
                other => {
                    let known = "--quick, --calls N, --machines N, --only DOOR,DOOR";
                    return Err(format!("{other} is not known; there are {known}").into());
                }
            }
        }
        Ok(options)
    }

    fn measures(&self, what: &str) -> bool {
        self.only
            .as_ref()
            .is_none_or(|only| only.iter().any(|one| one == what))
    }
}

async fn https_client(https: &capi_apiserver::https::Https) -> Result<Client, Box<dyn Error>> {
    let kubeconfig = https.kubeconfig(&User::admin())?;
    let kubeconfig = Kubeconfig::from_yaml(secrecy::ExposeSecret::expose_secret(&kubeconfig))?;
    let options = kube::config::KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await?;
    Ok(Client::try_from(config)?)
}

async fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let Options {
        calls, machines, ..
    } = *options;
    // First, while the process has no freed memory to give again.
    if options.measures("memory") {
        requests::memory(&server()?, calls * 5).await?;
    }
    let mut rows: Vec<(&str, Vec<Row>)> = Vec::new();
    if options.measures("service") {
        rows.push((
            "service",
            requests::service(&server()?, calls, machines).await?,
        ));
    }
    for (door, cached) in [("runtime", false), ("cached", true)] {
        if options.measures(door) {
            let embedded = server()?;
            let client = Client::new(embedded.service(), "default");
            rows.push((door, runtime::run(&client, calls, cached).await?));
        }
    }
    if options.measures("client") {
        let embedded = server()?;
        let client = Client::new(embedded.service(), "default");
        rows.push(("client", all(&client, calls, machines, None).await?));
    }
    if options.measures("stub") {
        let client = stub::client(&server()?, machines).await?;
        let measured = requests::client(&client, calls, machines, None).await?;
        rows.push(("stub", measured));
    }
    if options.measures("https") {
        let embedded = server()?;
        let https = embedded.https().start().await?;
        let client = https_client(&https).await?;
        rows.push(("https", all(&client, calls / 4, machines, None).await?));
    }
    if options.measures("real")
        && let Some(real) = real::Plane::start().await?
    {
        real.install(capi_core::api::crds()).await?;
        let measured = all(&real.client, calls / 4, machines, Some(&real)).await?;
        rows.push(("real", measured));
    }
    table(&rows);
    Ok(())
}

/// All requests at one door, and watched writes.
async fn all(
    client: &Client,
    calls: usize,
    machines: usize,
    real: Option<&real::Plane>,
) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut rows = fanout::run(client, calls / 8, real).await?;
    let mut requests = requests::client(client, calls, machines, real).await?;
    requests.append(&mut rows);
    Ok(requests)
}

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read(std::env::args().skip(1))?;
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run(&options))
}
