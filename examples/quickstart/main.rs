//! A first cluster with one command: Talos Linux on Proxmox VE.
//!
//! ```text
//! cargo run --example quickstart
//! cargo run --example quickstart -- --manifest my-cluster.yaml --dir state --serve
//! cargo run --example quickstart -- --manifest my-cluster.yaml --dir state \
//!     --proxmox-url https://pve1:8006 --proxmox-token 'capi@pve!quickstart=...' --fingerprint ... --yes
//! ```
//!
//! Applies a manifest to an embedded Kubernetes API server; the controllers of this library make
//! the cluster on a datacenter that is simulated (or, with a URL and a token, on a real one),
//! scale it, replace its workers, delete it, and the datacenter is read back.

mod arguments;
mod controllers;
mod credentials;
mod datacenter;
mod directory;
mod manifest;
mod plan;
mod plane;
mod proof;
mod real;
mod state;
mod steps;
mod tree;
mod view;

use capi_core::provider::with_causes;
use capi_core::{clock::Clock, pki::PrivateKey};
use capi_examples::{lab::Lab, output};
use capi_provider_proxmox::provider::Belonging;
use clap::Parser as _;

use crate::{
    arguments::{Arguments, Part},
    credentials::Credentials,
    datacenter::{Access, Contents},
    directory::{Directory, Error},
    manifest::Manifest,
    plan::Plan,
    plane::Plane,
    steps::Run,
    tree::Tree,
    view::View,
};

#[tokio::main]
async fn main() -> std::process::ExitCode {
    output::end_quietly_unread();
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    match run(&arguments).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quickstart: {}", with_causes(&*error));
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Error> {
    arguments.check()?;
    if arguments.print_manifest {
        print!("{}", manifest::EXAMPLE);
        return Ok(());
    }
    let manifest = Manifest::read(&arguments.manifest)?;
    let (directory, temporary) = Directory::open(arguments.dir.as_deref())?;
    let ended = match (arguments.only, datacenter::real(arguments)?) {
        (Some(Part::Api), _) => api(arguments, &directory).await,
        (Some(Part::Simulators), _) => simulators(arguments, &manifest, &directory).await,
        (Some(Part::Controllers), real) => controllers_alone(arguments, &directory, real).await,
        (Some(Part::Steps), real) => steps_alone(arguments, &manifest, &directory, real).await,
        (None, Some(access)) => real::run(arguments, &manifest, &directory, access).await,
        (None, None) => together(arguments, &manifest, &directory).await,
    };
    drop(temporary);
    ended
}

/// `--only api`
async fn api(arguments: &Arguments, directory: &Directory) -> Result<(), Error> {
    let clock = directory.begin_time(arguments.speed)?;
    let plane = Plane::start(directory, arguments.port, clock).await?;
    println!("serving at {}", plane.url().unwrap_or_default());
    interrupted().await;
    Ok(())
}

/// `--only simulators`
async fn simulators(
    arguments: &Arguments,
    manifest: &Manifest,
    directory: &Directory,
) -> Result<(), Error> {
    let clock = directory.begin_time(arguments.speed)?;
    let (lab, _access) = datacenter::simulated(manifest, 1.0, clock).await?;
    println!("serving at {} ({})", lab.url(), lab.fingerprint());
    tokio::select! {
        () = interrupted() => Ok(()),
        failed = datacenter::publish(&lab, directory) => failed,
    }
}

/// `--only controllers`
async fn controllers_alone(
    arguments: &Arguments,
    directory: &Directory,
    real: Option<Access>,
) -> Result<(), Error> {
    let (clock, access, key) = match real {
        Some(access) => (Clock::system(), access, None),
        None => (
            directory.join_time().await?,
            datacenter::published(directory).await?,
            Some(controllers::service_account_key(directory)?),
        ),
    };
    let plane = served(arguments, directory).await?;
    println!("controllers run");
    controllers::assemble(plane.client, &access, clock, key)?
        .run(interrupted())
        .await?;
    Ok(())
}

/// `--only steps`
async fn steps_alone(
    arguments: &Arguments,
    manifest: &Manifest,
    directory: &Directory,
    real: Option<Access>,
) -> Result<(), Error> {
    let simulated = real.is_none();
    let access = match real {
        Some(access) => access,
        None => datacenter::published(directory).await?,
    };
    let plane = served(arguments, directory).await?;
    let mut view = View::new(Clock::system(), arguments.json);
    let parts = Parts {
        plane,
        access,
        lab: None,
        clock: Clock::system(),
        simulated,
    };
    tokio::select! {
        ended = parts.steps(arguments, manifest, directory, &mut view) => ended,
        () = interrupted() => Err("interrupted".into()),
    }
}

/// The API server of `--kubeconfig`, or that of another process.
async fn served(arguments: &Arguments, directory: &Directory) -> Result<Plane, Error> {
    match &arguments.kubeconfig {
        Some(path) => Plane::connect(path, false).await,
        None => Plane::connect(&directory.awaited("kubeconfig").await, true).await,
    }
}

/// Everything in this process, on a simulated datacenter.
async fn together(
    arguments: &Arguments,
    manifest: &Manifest,
    directory: &Directory,
) -> Result<(), Error> {
    // All of it lives in a time that runs faster.
    let clock = directory::faster(arguments.speed)?;
    let mut view = View::new(Clock::system(), arguments.json);
    let plane = match &arguments.kubeconfig {
        Some(path) => {
            let plane = Plane::connect(path, false).await?;
            plane.install().await?;
            plane
        }
        None => Plane::start(directory, arguments.port, clock.clone()).await?,
    };
    let (lab, access) = datacenter::simulated(manifest, 1.0, clock.clone()).await?;
    view.say(&format!(
        "the datacenter is SIMULATED, {} times as fast as a real one: {}",
        arguments.speed,
        lab.url()
    ));
    view.say(&format!(
        "management API server: {}",
        plane
            .url()
            .unwrap_or_else(|| "that of --kubeconfig".to_owned())
    ));
    let key = PrivateKey::generate_rsa(4096)?;
    let manager = controllers::assemble(plane.client.clone(), &access, clock.clone(), Some(key))?;
    view.ask(manager.runtime().clone());
    let publisher = {
        let (lab, directory) = (lab.clone(), directory.clone());
        tokio::spawn(async move { datacenter::publish(&lab, &directory).await })
    };
    let parts = Parts {
        plane,
        access,
        lab: Some(lab),
        clock,
        simulated: true,
    };
    let ended = with_controllers(manager, async {
        tokio::select! {
            ended = parts.steps(arguments, manifest, directory, &mut view) => ended,
            () = interrupted() => Err("interrupted".into()),
        }
    })
    .await;
    publisher.abort();
    ended
}

/// Runs controllers as long as `work` takes, and lets them finish what they are at.
async fn with_controllers(
    manager: capi_core::runtime::Manager,
    work: impl Future<Output = Result<(), Error>>,
) -> Result<(), Error> {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let manager = tokio::spawn(manager.run(async move {
        // Also when the sender is dropped.
        let _ = stopped.await;
    }));
    let ended = work.await;
    // A manager that is gone already says why below.
    let _ = stop.send(());
    manager.await??;
    ended
}

/// What the steps work on.
struct Parts {
    plane: Plane,
    access: Access,
    /// When it is in this process.
    lab: Option<Lab>,
    /// The datacenter's time.
    clock: Clock,
    simulated: bool,
}

impl Parts {
    /// Checks everything, then goes through the steps.
    async fn steps(
        &self,
        arguments: &Arguments,
        manifest: &Manifest,
        directory: &Directory,
        view: &mut View,
    ) -> Result<(), Error> {
        let proxmox = self.access.client(self.clock.clone())?;
        let mut documents = plan::check(manifest, &self.plane).await?;
        let credentials =
            Credentials::look(&self.plane.client, manifest, &self.access, self.simulated).await?;
        if self.simulated {
            let (kept, left_out) = credentials::without_real_ones(documents, manifest);
            documents = kept;
            if let Some(secret) = left_out {
                view.say(&format!(
                    "Secret {secret} of the manifest is left out: the datacenter is simulated, and has its own"
                ));
            }
        }
        if self.simulated
            && let Some(plan) = Plan::read(manifest, &self.plane).await?
        {
            let token = self.access.credential("token");
            nothing_missing(&plan.findings(&proxmox, token, &[]).await?)?;
        }
        let (namespace, name) = manifest.cluster_key()?;
        let before = match self.simulated {
            true => Some(Contents::read(&proxmox).await?),
            false => None,
        };
        let mut run = Run {
            arguments,
            manifest,
            plane: &self.plane,
            credentials,
            proxmox: &proxmox,
            before,
            lab: self.lab.as_ref(),
            directory,
            view,
            tree: Tree::watch(self.plane.client.clone(), &namespace, &name),
            namespace,
            name,
        };
        run.all(&documents).await
    }
}

/// Says everything that is missing, if something is.
fn nothing_missing(findings: &[String]) -> Result<(), Error> {
    if findings.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the datacenter lacks what the manifest needs; nothing was made:\n  {}",
        findings.join("\n  ")
    )
    .into())
}

/// Virtual machines as a list for people.
fn listed(belongings: &[Belonging]) -> String {
    let line = |belonging: &Belonging| {
        let state = if belonging.running { "running" } else { "off" };
        let mut line = format!(
            "virtual machine {} {} on {} ({state})",
            belonging.vmid, belonging.name, belonging.node
        );
        for image in &belonging.images {
            line.push_str(", image ");
            line.push_str(image);
        }
        line
    };
    let lines: Vec<String> = belongings.iter().map(line).collect();
    lines.join("\n  ")
}

/// Ends with Ctrl-C.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
