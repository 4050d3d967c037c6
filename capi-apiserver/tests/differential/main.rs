//! The same kubectl, the same script, the embedded server and the real kube-apiserver: masked
//! transcripts are equal, or a difference is listed with its reason in `known.rs`.
//!
//! Needs `KUBEBUILDER_ASSETS` (kube-apiserver, etcd, kubectl) and, for what controllers do, a
//! kube-controller-manager beside them. The custom resource is made at random: `CAPI_SEED`
//! replays a run.

#![allow(clippy::disallowed_methods, reason = "other processes keep real time")]

mod definition;
mod known;
mod mask;
mod planes;
mod script;
mod step;

use std::path::PathBuf;

use planes::{Embedded, Plane, Real};
use step::Runner;

fn seed() -> u64 {
    match std::env::var("CAPI_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
    {
        Some(seed) => seed,
        None => rand::random(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kubectl_cannot_tell_the_embedded_server_from_the_real_one() {
    let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) else {
        println!("skipped: KUBEBUILDER_ASSETS is not set");
        return;
    };
    let seed = seed();
    println!("replay: CAPI_SEED={seed}");
    let directory = tempfile::tempdir().expect("a directory");
    let embedded = Embedded::start(&directory.path().join("embedded")).await;
    let real = Real::start(&directory.path().join("real"), &assets).await;
    let shape = definition::Shape::random(seed);
    let steps = script::steps(&shape);
    assert!(steps.len() >= 80, "{} steps", steps.len());
    let kubectl = assets.join("kubectl");
    let run = |plane: &dyn Plane| {
        let mut runner = Runner::new(
            kubectl.clone(),
            plane.kubeconfig(),
            plane.directory(),
            &shape,
        );
        steps
            .iter()
            .map(|step| runner.run(step))
            .collect::<Vec<_>>()
    };
    let (ours, theirs) = std::thread::scope(|scope| {
        let ours = scope.spawn(|| run(&embedded));
        let theirs = scope.spawn(|| run(&real));
        (ours.join().expect("ours"), theirs.join().expect("theirs"))
    });
    let mut differences = Vec::new();
    for ((step, ours), theirs) in steps.iter().zip(&ours).zip(&theirs) {
        if ours != theirs {
            differences.push((step.name, ours, theirs));
        }
    }
    let mut unexpected = 0;
    for (name, ours, theirs) in &differences {
        if known::DIFFERENCES.iter().any(|(known, _)| known == name) {
            continue;
        }
        unexpected += 1;
        println!("==== {name}\n---- embedded\n{ours}\n---- real\n{theirs}");
    }
    println!(
        "{} steps, {} equal, {} known differences",
        steps.len(),
        steps.len() - differences.len(),
        differences.len() - unexpected
    );
    assert!(known::DIFFERENCES.len() <= 10);
    assert_eq!(unexpected, 0, "steps differ; replay with CAPI_SEED={seed}");
}
