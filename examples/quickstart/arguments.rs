//! What the command line says.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

/// A first cluster: Talos on Proxmox VE, from a manifest to nodes that are ready, and away again.
///
/// Without arguments everything runs in this process, on a datacenter that is simulated.
#[derive(Clone, Debug, Parser)]
pub(crate) struct Arguments {
    /// Objects to apply, as a user has them; an own example when not given.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Option<PathBuf>,
    /// Where state is kept: kubeconfigs, talosconfig, pve.json, isos/, audit.jsonl.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Keep serving when the cluster is up, until Ctrl-C.
    #[arg(long)]
    pub(crate) serve: bool,
    /// Stop once the cluster is up, and leave it.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Run on this API server instead of an embedded one.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Run only a part, so that others can be other processes (needs --dir).
    #[arg(long, value_enum)]
    pub(crate) only: Option<Part>,
    /// How many times faster than a real one the simulated datacenter works.
    #[arg(long, default_value_t = 20.0)]
    pub(crate) speed: f64,
    /// Seconds after which a step that is not done counts as failed.
    #[arg(long, default_value_t = 300)]
    pub(crate) timeout: u64,
    /// Print lines of JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Port of the management API server; 0 for any that is free.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// URL of a real Proxmox VE, `https://host:8006`.
    #[arg(long, value_name = "URL", requires = "proxmox_token")]
    pub(crate) proxmox_url: Option<String>,
    /// Its API token, `user@realm!name=secret`.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "PROXMOX_TOKEN",
        hide_env_values = true
    )]
    pub(crate) proxmox_token: Option<String>,
    /// SHA-256 of its certificate.
    #[arg(long)]
    pub(crate) fingerprint: Option<String>,
}

/// A part of the whole, as a process of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// The management API server.
    Api,
    /// The simulated datacenter.
    Simulators,
    /// The controllers.
    Controllers,
}

impl Arguments {
    /// How long a step may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}
