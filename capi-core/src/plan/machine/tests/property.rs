//! What holds for whatever facts there are.

use proptest::prelude::*;

use super::*;
use crate::{
    api::annotations,
    plan::{
        drain::{DrainFacts, Eviction},
        volumes::VolumeFacts,
    },
};

/// Facts made of independent choices.
fn facts() -> impl Strategy<Value = MachineFacts> {
    let flags = proptest::collection::vec(any::<bool>(), 24);
    (flags, 0..5_u8, 0..4_u8, 0..4_u8).prop_map(|(flags, node_is, infra_is, config_is)| {
        let flag = |i: usize| flags[i];
        let mut facts = if flag(0) { running() } else { fresh() };
        if let Some(deletion) = flag(1).then(|| time(NOW - 2000)) {
            facts.machine.metadata.deletion_timestamp = Some(deletion);
        }
        let metadata = &mut facts.machine.metadata;
        for (i, key) in [
            (2, annotations::PRE_DRAIN_HOOK_PREFIX),
            (3, annotations::PRE_TERMINATE_HOOK_PREFIX),
            (4, annotations::EXCLUDE_NODE_DRAINING),
            (5, annotations::UPDATE_IN_PROGRESS),
        ] {
            if flag(i) {
                metadata
                    .annotations
                    .insert(format!("{key}/x"), String::new());
            }
        }
        if flag(6) {
            metadata
                .labels
                .insert(labels::CONTROL_PLANE.to_owned(), String::new());
        }
        if flag(7) {
            metadata.labels.remove(labels::SET_NAME);
            metadata.finalizers.clear();
        }
        facts.cluster.paused = flag(8) && flag(9) && flag(10);
        facts.cluster.deleting = flag(9);
        if flag(10) {
            facts.cluster.control_plane_initialized = None;
        }
        if flag(11) {
            facts.connection = Connection::default();
        }
        facts.machine.spec.min_ready_seconds = flag(12).then_some(30);
        facts.machine.spec.deletion.node_drain_timeout_seconds = flag(13).then_some(1);
        {
            let infra = infra(&mut facts);
            infra.provisioned = Field::Present(flag(14));
            infra.provider_id = flag(15).then(|| "test://m".to_owned()).into();
            infra.object.metadata.deletion_timestamp = flag(16).then(|| time(1));
            if flag(17) {
                infra.object.metadata.owner_references.clear();
            }
        }
        {
            let config = config(&mut facts);
            config.data_secret_created = Field::Present(flag(18));
            config.data_secret_name = flag(19).then(|| "s".to_owned()).into();
            config.object.metadata.deletion_timestamp = flag(20).then(|| time(1));
        }
        match infra_is {
            0 => facts.infra_machine = Lookup::NotFound,
            1 => facts.infra_machine = Lookup::Failed("boom".into()),
            _ => {}
        }
        match config_is {
            0 => facts.bootstrap_config = Lookup::NotFound,
            1 => facts.bootstrap_config = Lookup::Failed("boom".into()),
            _ => {}
        }
        facts.node = match node_is {
            0 => NodeLookup::NotFound,
            1 => NodeLookup::NotConnected,
            2 => NodeLookup::Failed("boom".into()),
            _ => NodeLookup::Found(node()),
        };
        facts.deletion.control_plane_machines = u32::from(flag(21));
        facts.deletion.node = facts.node.clone();
        facts.deletion.pods = Some(Ok(DrainFacts {
            pods: flag(22)
                .then(crate::plan::drain::Pod::default)
                .into_iter()
                .collect(),
            namespaces: [(String::new(), Default::default())].into(),
            evictions: Some([("/".to_owned(), Eviction::Accepted)].into()),
            ..DrainFacts::default()
        }));
        facts.deletion.volumes = Some(Ok(VolumeFacts::default()));
        facts.deletion.node_deletion = Some(if flag(23) {
            Ok(())
        } else {
            Err("boom".to_owned())
        });
        facts
    })
}

/// The Node that a drain looks at is the same as the one that was matched.
fn with_one_node(mut facts: MachineFacts) -> MachineFacts {
    if let (NodeLookup::Found(_), NodeLookup::Found(node)) = (&facts.deletion.node, &facts.node) {
        facts.deletion.node = NodeLookup::Found(node.clone());
    }
    facts
}

fn latches(facts: &MachineFacts) -> [bool; 3] {
    let status = &facts.machine.status;
    [
        status.initialization.infrastructure_provisioned == Some(true),
        status.initialization.bootstrap_data_secret_created == Some(true),
        status.node_ref.is_some(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn plans_settle_latches_stay_and_nothing_goes_before_its_turn(facts in facts()) {
        let mut facts = facts;
        for step in 0.. {
            prop_assert!(step < 8, "no plan is idle: {:#?}", plan_now(&facts));
            let plan = plan_now(&facts);
            prop_assert_eq!(&plan, &plan_now(&facts), "the same facts give the same plan");
            if facts.cluster.paused {
                prop_assert!(plan.actions.is_empty() && plan.spec.is_empty());
            }
            if deletes(&plan).contains(&"Config") {
                prop_assert!(facts.infra_machine.is_not_found());
            }
            let lets_go = plan.metadata.lets_go(&facts.machine.metadata);
            if lets_go {
                prop_assert!(facts.machine.metadata.is_deleting());
                prop_assert!(facts.infra_machine.is_not_found());
                prop_assert!(facts.bootstrap_config.is_not_found());
            }
            if !facts.machine.metadata.is_deleting() {
                prop_assert!(deletes(&plan).is_empty());
            }
            if plan.is_idle() {
                break;
            }
            let before = latches(&facts);
            facts = with_one_node(executed(facts, &plan));
            for (had, has) in before.into_iter().zip(latches(&facts)) {
                prop_assert!(!had || has, "a latch went back");
            }
            if lets_go {
                break;
            }
        }
    }
}
