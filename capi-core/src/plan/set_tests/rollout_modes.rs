//! Replacement by hand, and paused deployments.

use super::{
    rollout::{change_version, specs, world},
    world::World,
};
use crate::api::{RolloutStrategyType, annotations};

#[test]
fn on_delete_replaces_what_somebody_deletes_and_nothing_else() {
    let mut world = world(3, 1, 0);
    world
        .deployment
        .spec
        .rollout
        .strategy
        .as_mut()
        .unwrap()
        .type_ = RolloutStrategyType::OnDelete;
    change_version(&mut world, "v1.36.0");
    world.settle();
    assert_eq!(specs(&world), [3, 0]);
    let disabled = |world: &World| -> Vec<String> {
        world
            .by_age()
            .iter()
            .map(|set| set.metadata.annotations[annotations::DISABLE_MACHINE_CREATE].clone())
            .collect()
    };
    assert_eq!(disabled(&world), ["true", "false"]);
    let victim = world.machines.keys().next().unwrap().clone();
    world
        .machines
        .get_mut(&victim)
        .unwrap()
        .metadata
        .deletion_timestamp = Some(world.now.into());
    world.settle();
    assert_eq!(specs(&world), [2, 1]);
    // Scaling the deployment down takes old machines.
    world.deployment.spec.replicas = Some(2);
    world.deployment.metadata.generation += 1;
    world.settle();
    assert_eq!(specs(&world), [1, 1]);
    // A machine that was deleted meanwhile is counted once.
    let old = world.by_age()[0].metadata.name.clone();
    let victim = world
        .machines
        .values()
        .find(|machine| super::world::owner(machine) == old)
        .unwrap()
        .metadata
        .name
        .clone();
    world.machines.remove(&victim);
    world.deployment.spec.replicas = Some(1);
    world.deployment.metadata.generation += 1;
    world.settle();
    assert_eq!(world.machines.len(), 1);
    world
        .deployment
        .spec
        .rollout
        .strategy
        .as_mut()
        .unwrap()
        .type_ = RolloutStrategyType::RollingUpdate;
    world.deployment.spec.replicas = Some(2);
    world.deployment.metadata.generation += 1;
    world.settle();
    assert_eq!(specs(&world), [2]);
    assert_eq!(disabled(&world), ["false"]);
}

#[test]
fn a_paused_deployment_makes_no_set_follows_labels_and_scales_in_proportion() {
    let mut world = world(10, 2, 0);
    change_version(&mut world, "v1.36.0");
    world.run_deployment();
    world.settle_sets();
    world.run_deployment();
    let before = specs(&world);
    assert_eq!(before, [10, 2]);
    world.deployment.spec.paused = Some(true);
    world.deployment.spec.replicas = Some(20);
    world
        .deployment
        .spec
        .template
        .metadata
        .labels
        .insert("team".into(), "a".into());
    change_version(&mut world, "v1.37.0");
    world.run_deployment();
    assert_eq!(world.sets.len(), 2);
    let after = specs(&world);
    assert_eq!(after.iter().sum::<i32>(), 22, "{after:?}");
    assert!(after[0] > 10 && after[1] > 2, "{after:?}");
    for set in world.sets.values() {
        assert_eq!(set.metadata.labels["team"], "a");
    }
}

#[test]
fn a_paused_deployment_with_one_active_set_gives_it_everything() {
    let mut world = world(3, 1, 0);
    world.deployment.spec.paused = Some(true);
    world.deployment.spec.replicas = Some(5);
    change_version(&mut world, "v1.36.0");
    world.settle();
    assert_eq!(specs(&world), [5]);
}
