//! The conformance suite, on the reference infrastructure and on providers that are wrong.

use std::time::Duration;

use capi_core::{
    clock::Clock,
    testing::{
        conformance::{self, Options, Outside},
        reference::{self, Datacenter, ReferenceIdentity, ReferenceInfrastructure, Settings},
    },
};

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
