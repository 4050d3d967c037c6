//! The embedded server beside the real kube-apiserver: one script, run by one kubectl against
//! both, and one list of requests sent by `kube::Client` to both. What they answer, with what
//! must differ masked, is equal, or is listed in `docs/differences.md`.
//!
//! The real server is started from `KUBEBUILDER_ASSETS`, which also holds kubectl; without it the
//! tests say so and end. `DIFFERENTIAL_SEED` repeats a run.

mod clients;
mod definition;
mod embedded;
mod mask;
mod real;
mod requests;
mod script;
mod transcript;

use std::path::PathBuf;

use definition::Definition;
use transcript::Transcript;

/// The directory of the real binaries, or a line that says what is missing.
fn assets() -> Option<PathBuf> {
    let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from) else {
        println!(
            "skipped: KUBEBUILDER_ASSETS is not set; it names the directory of kube-apiserver, etcd, kube-controller-manager and kubectl"
        );
        return None;
    };
    for name in [
        "kube-apiserver",
        "etcd",
        "kube-controller-manager",
        "kubectl",
    ] {
        assert!(
            assets.join(name).exists(),
            "KUBEBUILDER_ASSETS has no {name}"
        );
    }
    Some(assets)
}

fn seed() -> u64 {
    let seed = match std::env::var("DIFFERENTIAL_SEED") {
        Ok(text) => text.parse().expect("DIFFERENTIAL_SEED is a number"),
        Err(_) => rand::random::<u32>().into(),
    };
    println!("to repeat this run: DIFFERENTIAL_SEED={seed}");
    seed
}

#[test]
fn the_same_kubectl_gets_the_same_answers_from_both_servers() {
    let Some(assets) = assets() else { return };
    let definition = Definition::generate(seed());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let embedded = runtime.block_on(embedded::Embedded::start());
    let real = real::Real::start(&assets);
    let run = |kubeconfig: &std::path::Path| {
        let mut transcript = Transcript::new(&assets.join("kubectl"), kubeconfig);
        script::run(&mut transcript, &definition);
        transcript
    };
    let (ours, theirs) = std::thread::scope(|scope| {
        let ours = scope.spawn(|| run(&embedded.kubeconfig()));
        let theirs = scope.spawn(|| run(&real.kubeconfig()));
        (ours.join().unwrap(), theirs.join().unwrap())
    });
    transcript::compare(&ours, &theirs);
    assert!(ours.len() >= 80, "the script has {} steps", ours.len());
}

#[test]
fn the_same_requests_get_the_same_answers_from_both_servers() {
    let Some(assets) = assets() else { return };
    let definition = Definition::generate(seed());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let real = real::Real::start(&assets);
    runtime.block_on(async {
        let embedded = embedded::in_process();
        let ours = requests::run(embedded, &definition).await;
        let theirs = requests::run(real.client().await, &definition).await;
        transcript::compare(&ours, &theirs);
    });
}

#[test]
fn every_listed_difference_has_its_reason() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/differences.md"))
        .unwrap();
    let listed: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("## "))
        .collect();
    assert!(listed.len() <= 10, "{} differences", listed.len());
    for (step, number) in transcript::KNOWN {
        assert!(
            listed
                .iter()
                .any(|line| line.starts_with(&format!("## {number}. "))),
            "step {step:?} refers to difference {number}, which is not listed"
        );
    }
}
