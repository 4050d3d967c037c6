//! Tests of the whole crate from outside, and against programs that others wrote.

#[path = "it/fakepve.rs"]
mod fakepve;
#[path = "it/harness.rs"]
mod harness;
#[path = "it/iso_peers.rs"]
mod iso_peers;
#[path = "it/managed.rs"]
mod managed;
#[path = "it/preflight.rs"]
mod preflight;
#[path = "it/provider.rs"]
mod provider;
#[path = "it/provider_faults.rs"]
mod provider_faults;
#[path = "it/proxmoxer.rs"]
mod proxmoxer;
#[path = "it/records.rs"]
mod records;
#[path = "it/rows.rs"]
mod rows;
#[path = "it/simulator.rs"]
mod simulator;
#[path = "it/takeover.rs"]
mod takeover;

/// The folder with data of others, from `CAPI_UPSTREAM` or beside the workspace.
fn upstream() -> Option<std::path::PathBuf> {
    let named = std::env::var_os("CAPI_UPSTREAM").map(std::path::PathBuf::from);
    let beside = || {
        std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .ancestors()
            .map(|directory| directory.join("../shared/upstream"))
            .find(|directory| directory.is_dir())
    };
    let found = named.filter(|directory| directory.is_dir()).or_else(beside);
    if found.is_none() {
        println!("skipped: no upstream data (CAPI_UPSTREAM, ../shared/upstream)");
    }
    found
}
