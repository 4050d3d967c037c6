//! The conformance suite, on the reference infrastructure and on providers that are wrong.

use std::time::Duration;

use capi_core::{
    api::{GlobalInClusterIPPool, InClusterIPPool},
    clock::Clock,
    in_cluster_ipam::InClusterIpam,
    testing::{
        conformance::{self, BootstrapOptions, IpamOptions, Options, Outside},
        reference::{
            self, Datacenter, MachineRecord, ReferenceBootstrap, ReferenceIdentity,
            ReferenceInfrastructure, Settings,
        },
    },
};
use serde_json::json;

struct ReferenceOutside(Datacenter);

impl Outside for ReferenceOutside {
    type Provider = ReferenceInfrastructure;

    fn provider(&self) -> ReferenceInfrastructure {
        ReferenceInfrastructure::new(self.0.clone())
    }

    fn machines(&self) -> Vec<ReferenceIdentity> {
        self.0
            .machines()
            .into_iter()
            .map(|record| ReferenceIdentity {
                number: record.number,
                mark: record.mark,
            })
            .collect()
    }

    fn vanish(&self, machine: &ReferenceIdentity) {
        self.0.lose(machine.number).expect("it is in memory");
    }

    fn usurp(&self, machine: &ReferenceIdentity) -> bool {
        let stranger = MachineRecord {
            number: machine.number,
            mark: "a-stranger".to_owned(),
            name: "stranger".to_owned(),
            cluster: "default/other".to_owned(),
            control_plane: false,
            version: String::new(),
            created: jiff::Timestamp::UNIX_EPOCH,
        };
        self.0.place(stranger).expect("it is in memory")
    }
}

fn slow(clock: Clock) -> ReferenceOutside {
    let settings = Settings {
        start: Duration::from_secs(20),
        call: Duration::from_millis(100),
        ..Settings::default()
    };
    ReferenceOutside(Datacenter::new(clock, settings))
}

fn options() -> Options {
    Options::new(reference::crds()).bootstrap_data(r#"{"cluster":"default/conformance"}"#)
}

#[tokio::test(start_paused = true)]
async fn the_reference_infrastructure_conforms() {
    conformance::infrastructure(slow, options())
        .await
        .assert_conforms();
}

#[tokio::test(start_paused = true)]
async fn the_reference_bootstrap_conforms() {
    let options = BootstrapOptions {
        control_plane: Some(json!({})),
        worker: json!({ "greeting": "hello" }),
        invalid: None,
        secrets: Vec::new(),
    };
    conformance::bootstrap(|| ReferenceBootstrap, options)
        .await
        .assert_conforms();
}

#[tokio::test(start_paused = true)]
async fn the_in_cluster_ipam_conforms() {
    let options = || IpamOptions {
        pool: json!({ "addresses": ["10.0.0.10-10.0.0.13"], "prefix": 24, "gateway": "10.0.0.1" }),
        size: 4,
        invalid_pool: Some(json!({ "addresses": ["nonsense"], "prefix": 24 })),
    };
    conformance::ipam(InClusterIpam::<InClusterIPPool>::default, options())
        .await
        .assert_conforms();
    conformance::ipam(InClusterIpam::<GlobalInClusterIPPool>::default, options())
        .await
        .assert_conforms();
}
