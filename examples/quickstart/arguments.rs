//! What the command line says.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

/// What to begin with.
const EXAMPLES: &str = "\
Examples:
  quickstart                          all of it, simulated, and nothing is left
  quickstart --dir state --serve      stays when the cluster is up; says how to use kubectl and talosctl on it
  quickstart --print-manifest         the manifest, to change it and give it with --manifest
  quickstart --manifest mine.yaml --dir state --proxmox-url https://pve1:8006 \\
      --proxmox-token 'capi@pve!quickstart=SECRET' --fingerprint SHA256
                                      what a real datacenter lacks, and what would be made in it";

/// A first cluster: Talos on Proxmox VE, from a manifest to nodes that are ready, and away again.
///
/// Without arguments everything runs in this process, on a datacenter that is simulated: the cluster
/// comes up, its workers are scaled and replaced, it is deleted, and the datacenter is read back.
///
/// With --proxmox-url the datacenter is a real one. Then nothing is made before what is missing and
/// what will be made were printed, and not without --yes; a second run with the same --dir goes on
/// with what is there; --cleanup lists (with --yes removes) what this command made for the cluster.
#[derive(Clone, Debug, Parser)]
#[command(name = "quickstart", after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Objects to apply, as a user has them; again for more files. An own example when not given.
    #[arg(long, value_name = "FILE")]
    pub(crate) manifest: Vec<PathBuf>,
    /// Print the own example, to begin with.
    #[arg(long)]
    pub(crate) print_manifest: bool,
    /// Where state is kept: kubeconfigs, talosconfig, secrets, pve.json, isos/, audit.jsonl.
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Stay when the cluster is up, until Ctrl-C: for looking around (with --dir, where the kubeconfigs are).
    #[arg(long)]
    pub(crate) serve: bool,
    /// End once the cluster is up, without scaling, replacing and deleting; what is simulated ends, too.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Run on this API server instead of an embedded one; the kinds that it lacks are installed there.
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Run only a part, so that others can be other processes (needs --dir).
    #[arg(long, value_enum)]
    pub(crate) only: Option<Part>,
    /// How many times faster than a real one the simulated datacenter works.
    #[arg(long, default_value_t = 20.0)]
    pub(crate) speed: f64,
    /// Seconds after which a step that is not done counts as failed, with what blocks it.
    #[arg(long, default_value_t = 300)]
    pub(crate) timeout: u64,
    /// Print lines of JSON instead of text.
    #[arg(long)]
    pub(crate) json: bool,
    /// Port of the management API server; 0 for any that is free.
    #[arg(long, default_value_t = 0)]
    pub(crate) port: u16,
    /// URL of a real Proxmox VE, `https://host:8006`.
    #[arg(
        long,
        value_name = "URL",
        requires = "proxmox_token",
        help_heading = "A real datacenter"
    )]
    pub(crate) proxmox_url: Option<String>,
    /// Its API token, `user@realm!name=secret`.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "PROXMOX_TOKEN",
        hide_env_values = true,
        help_heading = "A real datacenter"
    )]
    pub(crate) proxmox_token: Option<String>,
    /// SHA-256 of its certificate.
    #[arg(long, value_name = "SHA256", help_heading = "A real datacenter")]
    pub(crate) fingerprint: Option<String>,
    /// The authority that signed its certificate, in PEM.
    #[arg(long, value_name = "FILE", help_heading = "A real datacenter")]
    pub(crate) proxmox_ca: Option<PathBuf>,
    /// Make what was planned, or remove what was listed.
    #[arg(long, help_heading = "A real datacenter")]
    pub(crate) yes: bool,
    /// List what this command made for the manifest's cluster; with --yes, remove it.
    #[arg(long, requires = "proxmox_url", help_heading = "A real datacenter")]
    pub(crate) cleanup: bool,
    /// Reach nodes as this file says (as `nodes.json` of a simulated datacenter) instead of directly.
    #[arg(
        long,
        value_name = "FILE",
        requires = "proxmox_url",
        help_heading = "A real datacenter"
    )]
    pub(crate) routes: Option<PathBuf>,
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
    /// The steps: apply, scale, replace, delete, read back.
    Steps,
}

impl Arguments {
    /// How long a step may take.
    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    /// What cannot be meant.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(self.speed.is_finite() && self.speed > 0.0) {
            return Err("--speed must be more than 0".to_owned());
        }
        if self.only.is_some() && self.dir.is_none() {
            return Err("--only needs --dir, where the parts find each other".to_owned());
        }
        if self.proxmox_url.is_some() {
            if self.dir.is_none() {
                return Err(
                    "--proxmox-url needs --dir, where what was made is remembered".to_owned(),
                );
            }
            if self.manifest.is_empty() {
                return Err(
                    "--proxmox-url needs --manifest: the addresses of the own example are not \
                     those of your network; begin with --print-manifest"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}
