//! A management plane to try things on: the embedded Kubernetes API server on a loopback address,
//! with the definitions of Cluster API and of our providers installed. Idle until something is
//! applied; ends on Ctrl-C.
//!
//! ```sh
//! cargo run --example plane -- --dir /tmp/plane &
//! export KUBECONFIG=/tmp/plane/kubeconfig
//! kubectl get crds
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write},
    net::SocketAddr,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
};

use capi_core::embedded::{ApiServer, Audit, Record, User, https::Https, install_with};
use capi_core::provider::with_causes;
use capi_examples::output;
use clap::Parser;
use secrecy::ExposeSecret;

type Error = Box<dyn std::error::Error>;

/// An embedded management plane on a loopback address.
#[derive(Debug, Parser)]
struct Options {
    /// Directory for `kubeconfig` and `audit.jsonl`, both written anew; made when it is absent.
    #[arg(long)]
    dir: PathBuf,
    /// Address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Allow an address that other machines reach.
    #[arg(long)]
    allow_any_address: bool,
    /// Files of more CustomResourceDefinitions, YAML or JSON, any number of documents each.
    #[arg(long, num_args = 1..)]
    crds: Vec<PathBuf>,
    /// Leave out the definitions of Cluster API and of our providers.
    #[arg(long)]
    no_default_crds: bool,
}

/// A kind that `clusterctl describe` asks for and that we have no controller of: stored as it comes.
const MACHINE_POOLS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: machinepools.cluster.x-k8s.io
  labels: {cluster.x-k8s.io/v1beta2: v1beta2}
spec:
  group: cluster.x-k8s.io
  scope: Namespaced
  names: {plural: machinepools, singular: machinepool, kind: MachinePool, listKind: MachinePoolList}
  versions:
  - name: v1beta2
    served: true
    storage: true
    subresources: {status: {}}
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

/// Writes a line of JSON for each request.
#[derive(Debug)]
struct AuditLog(Mutex<BufWriter<File>>);

impl Audit for AuditLog {
    fn record(&self, record: &Record<'_>) {
        let Ok(mut file) = self.0.lock() else { return };
        let written = serde_json::to_writer(&mut *file, record)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"))
            .and_then(|()| file.flush());
        if let Err(error) = written {
            tracing::warn!(%error, "a request is missing in the audit log");
        }
    }
}

/// A file that only its owner reads, whatever was there before.
fn private_file(path: &Path, content: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?
        .write_all(content.as_bytes())
}

/// Says which file it is that went wrong.
fn at<T, E: std::error::Error + 'static>(path: &Path, result: Result<T, E>) -> Result<T, Error> {
    result.map_err(|error| format!("{}: {}", path.display(), with_causes(&error)).into())
}

/// A server with what the options ask for.
fn assemble(options: &Options) -> Result<ApiServer, Error> {
    let mut builder = ApiServer::builder();
    if !options.no_default_crds {
        builder = builder.manifest(MACHINE_POOLS);
        let definitions = capi_core::api::crds()
            .into_iter()
            .chain(capi_provider_proxmox::api::crds())
            .chain(capi_bootstrap_talos::api::crds())
            .chain(capi_controlplane_talos::api::crds());
        let conversions = [
            capi_core::api::conversions(),
            capi_provider_proxmox::api::conversions(),
            capi_bootstrap_talos::api::conversions(),
        ];
        let admissions = [
            capi_provider_proxmox::admission::admissions(),
            capi_bootstrap_talos::admission::admissions(),
            capi_controlplane_talos::admission::admissions(),
        ];
        builder = install_with(
            builder,
            definitions.collect(),
            &conversions.concat(),
            &admissions.concat(),
        );
    }
    let mut files = Vec::new();
    for path in &options.crds {
        let text = at(path, fs::read_to_string(path))?;
        builder = builder.manifest(&text);
        files.push((path, text));
    }
    let path = options.dir.join("audit.jsonl");
    at(&options.dir, fs::create_dir_all(&options.dir))?;
    let audit = at(&path, File::create(&path))?;
    let builder = builder.audit(AuditLog(Mutex::new(BufWriter::new(audit))));
    builder.build().map_err(|error| {
        // Each file by itself, to say which one it is.
        let alone = files.into_iter().find_map(|(path, text)| {
            let built = ApiServer::builder().manifest(&text).build();
            at(path, built).err()
        });
        alone.unwrap_or_else(|| error.into())
    })
}

async fn start(options: &Options) -> Result<Https, Error> {
    let mut https = assemble(options)?.https().listen(options.listen);
    if options.allow_any_address {
        https = https.allow_any_address();
    }
    let https = https.start().await?;
    let kubeconfig = https.kubeconfig(&User::admin())?;
    let path = options.dir.join("kubeconfig");
    at(&path, private_file(&path, kubeconfig.expose_secret()))?;
    println!("serving at {}", https.url());
    println!("KUBECONFIG={}", path.display());
    Ok(https)
}

async fn run(options: &Options) -> Result<(), Error> {
    let https = start(options).await?;
    tokio::signal::ctrl_c().await?;
    drop(https);
    Ok(())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    output::end_quietly_unread();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(io::stderr)
        .init();
    match run(&Options::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("plane: {}", with_causes(&*error));
            ExitCode::FAILURE
        }
    }
}
