//! What holds for whatever facts there are.

use proptest::prelude::*;

use super::*;

/// Facts made of independent choices.
fn facts() -> impl Strategy<Value = ClusterFacts> {
    let flags = proptest::collection::vec(any::<bool>(), 20);
    (flags, 0..4_u8, 0..4_u8).prop_map(|(flags, infra_is, control_plane_is)| {
        let flag = |i: usize| flags[i];
        let mut facts = if flag(0) { running() } else { fresh() };
        if flag(1) {
            facts = deleting(facts);
        }
        facts.cluster.spec.paused = Some(flag(2) && flag(3));
        if flag(3) {
            facts.cluster.metadata.finalizers.clear();
        }
        if flag(4) {
            facts.connection = Connection::default();
        }
        infra(&mut facts).provisioned = Field::Present(flag(5));
        infra(&mut facts).object.metadata.deletion_timestamp = flag(6).then(|| time(1));
        if flag(7) {
            infra(&mut facts).object.metadata.owner_references.clear();
        }
        control_plane(&mut facts).initialized = Field::Present(flag(8));
        control_plane(&mut facts).control_plane_endpoint = if flag(9) {
            Field::Present(endpoint("cp"))
        } else {
            Field::Absent
        };
        control_plane(&mut facts).replicas = flag(10).then_some(3).into();
        if flag(11) {
            let mut own = machine("w", vec![]);
            own.metadata.owner_references = vec![owner(false)];
            descendants(&mut facts).machines = vec![own, machine("cp", vec![])];
        }
        if flag(12) {
            descendants(&mut facts).machine_deployments = vec![set("md", 2, true)];
        }
        match infra_is {
            0 => facts.infra_cluster = Lookup::NotFound,
            1 => facts.infra_cluster = Lookup::Failed("boom".into()),
            _ => {}
        }
        match control_plane_is {
            0 => facts.control_plane = Lookup::NotFound,
            1 => facts.control_plane = Lookup::Failed("boom".into()),
            _ => {}
        }
        if flag(13) && flag(14) {
            facts.descendants = None;
        }
        facts
    })
}

/// Carries out deletions and adoptions, as the API server and the other controllers would.
fn carried_out(mut facts: ClusterFacts, plan: &ClusterPlan) -> ClusterFacts {
    for action in &plan.actions {
        match action {
            Action::Delete { object } => {
                let family = facts.descendants.iter_mut();
                for family in family {
                    family.machines.retain(|m| m.metadata.name != object.name);
                    family
                        .machine_deployments
                        .retain(|d| d.metadata.name != object.name);
                }
                match object.kind.as_str() {
                    "Infra" => facts.infra_cluster = Lookup::NotFound,
                    "ControlPlane" => facts.control_plane = Lookup::NotFound,
                    _ => {}
                }
            }
            Action::Patch { .. } => {
                infra(&mut facts).object.metadata.owner_references = vec![owner(false)];
            }
            _ => {}
        }
    }
    executed(facts, plan)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn plans_settle_latches_stay_and_the_order_of_deletion_holds(facts in facts()) {
        let mut facts = facts;
        for step in 0.. {
            prop_assert!(step < 8, "no plan is idle: {:#?}", plan_now(&facts));
            let plan = plan_now(&facts);
            prop_assert_eq!(&plan, &plan_now(&facts), "the same facts give the same plan");
            let workers = facts.descendants.iter().any(|family| {
                !family.machine_deployments.is_empty()
                    || family.machines.iter().any(|m| !m.is_control_plane())
            });
            let gone = deletes(&plan);
            if gone.contains(&"ControlPlane x".to_owned()) {
                prop_assert!(!workers);
            }
            if gone.contains(&"Infra x".to_owned()) {
                prop_assert!(!workers && facts.control_plane.is_not_found());
            }
            prop_assert!(facts.cluster.metadata.is_deleting() || gone.is_empty());
            let lets_go = plan.metadata.lets_go(&facts.cluster.metadata);
            if lets_go {
                prop_assert!(facts.infra_cluster.is_not_found());
                prop_assert!(facts.control_plane.is_not_found() && !workers);
                break;
            }
            if plan.is_idle() {
                break;
            }
            let before = facts.cluster.status.initialization.clone();
            facts = carried_out(facts, &plan);
            let after = &facts.cluster.status.initialization;
            for (had, has) in [
                (before.infrastructure_provisioned, after.infrastructure_provisioned),
                (before.control_plane_initialized, after.control_plane_initialized),
            ] {
                prop_assert!(had != Some(true) || has == Some(true), "a latch went back");
            }
        }
    }
}
