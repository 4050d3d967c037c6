//! A first cluster with one command: Talos Linux on Proxmox VE.
//!
//! ```text
//! cargo run --example quickstart
//! cargo run --example quickstart -- --manifest my-cluster.yaml --dir state --serve
//! ```
//!
//! Applies a manifest to an embedded Kubernetes API server; the controllers of this library make
//! the cluster on a datacenter that is simulated (or, with a URL and a token, on a real one),
//! scale it, replace its workers, delete it, and the datacenter is read back.

mod arguments;
mod manifest;
mod parts;
mod steps;
mod view;

use capi_core::clock::Clock;
use capi_examples::lab::LabOptions;
use clap::Parser as _;

use crate::{
    arguments::{Arguments, Part},
    manifest::Manifest,
    parts::{Directory, Error, Plane},
    steps::Run,
    view::View,
};

/// How far in the past a time that runs faster begins.
const HEAD_START: std::time::Duration = std::time::Duration::from_secs(3600);

#[tokio::main]
async fn main() -> std::process::ExitCode {
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
            eprintln!("quickstart: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<(), Error> {
    if !(arguments.speed.is_finite() && arguments.speed > 0.0) {
        return Err("--speed must be more than 0".into());
    }
    if arguments.only.is_some() && arguments.dir.is_none() {
        return Err("--only needs --dir, where the parts find each other".into());
    }
    let manifest = Manifest::read(arguments.manifest.as_deref())?;
    let (directory, temporary) = Directory::open(arguments.dir.as_deref())?;
    // Where everything is ours, all of it lives in a time that runs faster; it begins in the past, so
    // that certificates are good for programs that live in the real one. Else only the datacenter
    // is faster.
    let ours = arguments.kubeconfig.is_none()
        && arguments.proxmox_url.is_none()
        && arguments.only.is_none();
    let system = Clock::system();
    let clock = if ours {
        Clock::scaled(system.now().checked_sub(HEAD_START)?, arguments.speed)
    } else {
        system.clone()
    };
    let options = LabOptions {
        nodes: manifest.nodes(),
        templates: manifest.templates(),
        speed: if ours { 1.0 } else { arguments.speed },
        port: 0,
        secret: "quickstart".to_owned(),
    };
    match arguments.only {
        Some(Part::Api) => {
            let plane = Plane::start(&directory, arguments.port, clock.clone()).await?;
            println!("serving at {}", plane.url().unwrap_or_default());
            interrupted().await;
            return Ok(());
        }
        Some(Part::Simulators) => {
            let (lab, _access) = parts::lab(options, clock.clone()).await?;
            println!("serving at {} ({})", lab.url(), lab.fingerprint());
            tokio::select! {
                () = interrupted() => return Ok(()),
                failed = parts::publish(&lab, &directory) => return failed,
            }
        }
        Some(Part::Controllers) => {
            let kubeconfig = arguments
                .kubeconfig
                .clone()
                .unwrap_or_else(|| directory.file("kubeconfig"));
            let plane = Plane::connect(&kubeconfig).await?;
            let access = match parts::real(arguments)? {
                Some(access) => access,
                None => parts::published(&directory).await?,
            };
            parts::controllers(plane.client, &access, clock, false)?
                .run(interrupted())
                .await?;
            return Ok(());
        }
        None => {}
    }

    let mut view = View::new(system, arguments.json);
    let plane = match &arguments.kubeconfig {
        Some(path) => {
            let plane = Plane::connect(path).await?;
            plane.install().await?;
            plane
        }
        None => Plane::start(&directory, arguments.port, clock.clone()).await?,
    };
    let (lab, access) = match parts::real(arguments)? {
        Some(access) => (None, access),
        None => {
            let (lab, access) = parts::lab(options, clock.clone()).await?;
            (Some(lab), access)
        }
    };
    match &lab {
        Some(lab) => view.say(&format!(
            "the datacenter is SIMULATED, {} times as fast as a real one: {}",
            arguments.speed,
            lab.url()
        )),
        None => view.say("the datacenter is real"),
    }
    view.say(&format!(
        "management API server: {}",
        plane
            .url()
            .unwrap_or_else(|| "that of --kubeconfig".to_owned())
    ));
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let manager = parts::controllers(plane.client.clone(), &access, clock.clone(), ours)?;
    let manager = tokio::spawn(manager.run(async move {
        // Also when the sender is dropped.
        let _ = stopped.await;
    }));
    let publisher = lab.clone().map(|lab| {
        let directory = directory.clone();
        tokio::spawn(async move { parts::publish(&lab, &directory).await })
    });
    let result = {
        let mut run = Run {
            arguments,
            manifest: &manifest,
            plane: &plane,
            access: &access,
            lab: lab.as_ref(),
            directory: &directory,
            view: &mut view,
        };
        tokio::select! {
            result = run.all() => result,
            () = interrupted() => Err("interrupted".into()),
        }
    };
    if let Some(publisher) = publisher {
        publisher.abort();
    }
    // A manager that is gone already has said why in the log.
    let _ = stop.send(());
    if let Err(error) = manager.await? {
        view.say(&format!("the controllers stopped: {error}"));
    }
    drop(temporary);
    result
}

/// Ends with Ctrl-C.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
