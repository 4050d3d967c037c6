//! From creation to a running Node.

use super::*;

#[test]
fn a_finalizer_is_added_unless_the_machine_is_being_deleted() {
    for (deleting, has, expected) in [
        (false, false, Some(vec![finalizers::MACHINE.to_owned()])),
        (false, true, None),
        (true, false, None),
    ] {
        let mut facts = fresh();
        if !has {
            facts.machine.metadata.finalizers.clear();
        }
        if deleting {
            facts = super::deleting(facts);
        }
        let plan = plan_now(&facts);
        assert_eq!(plan.metadata.finalizers, expected, "{deleting} {has}");
    }
}

#[test]
fn a_paused_machine_only_says_so_even_while_it_is_deleted() {
    let both = "True Paused Cluster spec.paused is set to true, Machine has the \
                cluster.x-k8s.io/paused annotation";
    for (cluster, annotation, expected) in [
        (
            true,
            false,
            "True Paused Cluster spec.paused is set to true",
        ),
        (
            false,
            true,
            "True Paused Machine has the cluster.x-k8s.io/paused annotation",
        ),
        (true, true, both),
        (false, false, "False NotPaused"),
    ] {
        let mut facts = deleting(fresh());
        facts.cluster.paused = cluster;
        if annotation {
            let key = crate::api::annotations::PAUSED.to_owned();
            facts
                .machine
                .metadata
                .annotations
                .insert(key, String::new());
        }
        let plan = plan_now(&facts);
        assert_eq!(said(&plan, types::PAUSED), expected);
        let paused = cluster || annotation;
        assert_eq!(plan.actions.is_empty(), paused, "{:?}", plan.actions);
        assert_eq!(plan.status.conditions.len() == 1, paused);
        if paused {
            let again = plan_now(&executed(facts, &plan));
            assert!(again.is_idle());
        }
    }
}

#[test]
fn the_first_status_holds_paused_and_everything_else_at_once() {
    let plan = plan_now(&fresh());
    assert_eq!(said(&plan, types::PAUSED), "False NotPaused");
    assert_eq!(plan.status.phase.as_ref().unwrap().as_str(), "Pending");
    assert_eq!(plan.status.observed_generation, Some(1));
    assert_eq!(plan.status.conditions.len(), 9);
}

#[test]
fn a_machine_that_nobody_owns_or_will_own_belongs_to_its_cluster() {
    let controller = OwnerReference {
        api_version: "x/v1".into(),
        kind: "X".into(),
        name: "x".into(),
        uid: "x".into(),
        controller: Some(true),
        ..OwnerReference::default()
    };
    let cluster = OwnerReference {
        api_version: "cluster.x-k8s.io/v1beta1".into(),
        kind: "Cluster".into(),
        name: "c".into(),
        uid: "old".into(),
        ..OwnerReference::default()
    };
    for (label, owner, adopted) in [
        (None, None, true),
        (Some(labels::SET_NAME), None, false),
        (Some(labels::POOL_NAME), None, false),
        (Some(labels::CONTROL_PLANE_NAME), None, false),
        (None, Some(controller), false),
        (None, Some(cluster), false),
    ] {
        let mut facts = fresh();
        let metadata = &mut facts.machine.metadata;
        metadata.labels.clear();
        metadata
            .labels
            .extend(label.map(|l| (l.to_owned(), "x".to_owned())));
        metadata.owner_references.extend(owner.clone());
        let plan = plan_now(&facts);
        let owners = plan
            .metadata
            .owner_references
            .as_deref()
            .unwrap_or_default();
        assert_eq!(!owners.is_empty(), adopted, "{label:?} {owner:?}");
        if adopted {
            assert_eq!(
                (owners[0].kind.as_str(), owners[0].controller),
                ("Cluster", None)
            );
        }
        // The label of the cluster is always there.
        assert_eq!(
            plan.metadata.labels[labels::CLUSTER_NAME].as_deref(),
            Some("c")
        );
    }
}

#[test]
fn a_missing_object_is_looked_for_again_tolerated_in_deletion_and_an_error_when_unreadable() {
    let missing = |facts: &mut MachineFacts, config: bool, lookup: Option<&str>| {
        let error = || lookup.unwrap_or_default().to_owned();
        if config {
            facts.bootstrap_config = lookup.map_or(Lookup::NotFound, |_| Lookup::Failed(error()));
        } else {
            facts.infra_machine = lookup.map_or(Lookup::NotFound, |_| Lookup::Failed(error()));
        }
    };
    for config in [true, false] {
        let mut facts = fresh();
        missing(&mut facts, config, None);
        let plan = plan_now(&facts);
        assert_eq!(plan.again, Some(at(NOW + 30)));
        assert_eq!(plan.errors, Vec::<String>::new());
        assert!(
            plan.blocked_on
                .iter()
                .any(|b| b.message == "it does not exist")
        );

        let mut facts = deleting(fresh());
        facts.deletion.control_plane_machines = 0;
        missing(&mut facts, config, None);
        assert_eq!(plan_now(&facts).errors, Vec::<String>::new());

        let mut facts = fresh();
        missing(&mut facts, config, Some("CRD hosts.example.org is missing"));
        let plan = plan_now(&facts);
        assert_eq!(plan.errors, ["CRD hosts.example.org is missing"]);
        assert_eq!(plan.status.observed_generation, None);
        let type_ = if config {
            types::BOOTSTRAP_CONFIG_READY
        } else {
            types::INFRASTRUCTURE_READY
        };
        assert_eq!(
            said(&plan, type_),
            "Unknown InternalError Please check controller logs for errors"
        );
    }
}

#[test]
fn the_data_secret_is_copied_once_it_exists_and_then_never_changed() {
    // (created, name, secret that the Machine has) -> (spec change, latched, errors)
    let table = [
        (None, None, None, None, None, 0),
        (Some(false), None, None, None, None, 0),
        (Some(true), Some("s"), None, Some("s"), Some(true), 0),
        (Some(true), Some(""), None, None, None, 1),
        (Some(true), None, None, None, None, 1),
        (Some(false), None, Some("user"), None, Some(true), 0),
        (Some(true), Some("s"), Some("user"), None, Some(true), 0),
    ];
    for (created, name, has, change, latched, errors) in table {
        let mut facts = fresh();
        config(&mut facts).data_secret_created = created.into();
        config(&mut facts).data_secret_name = name.map(str::to_owned).into();
        facts.machine.spec.bootstrap.data_secret_name = has.map(str::to_owned);
        let plan = plan_now(&facts);
        let row = format!("{created:?} {name:?} {has:?}");
        assert_eq!(plan.spec.data_secret_name.as_deref(), change, "{row}");
        let initialization = &plan.status.initialization;
        assert_eq!(
            initialization.bootstrap_data_secret_created, latched,
            "{row}"
        );
        assert_eq!(plan.errors.len(), errors, "{row}");
        // The status answers to the generation that the change of the spec makes.
        let generation = 1 + i64::from(change.is_some());
        assert_eq!(
            plan.status.observed_generation,
            (errors == 0).then_some(generation),
            "{row}"
        );
        if change.is_some() {
            assert_eq!(plan.status.phase.as_ref().unwrap().as_str(), "Provisioning");
        }
    }
}

#[test]
fn a_paused_or_deleting_config_is_read_as_far_as_it_goes() {
    let mut facts = fresh();
    config(&mut facts).data_secret_created = Field::Present(true);
    config(&mut facts).data_secret_name = Field::Present("s".into());
    let paused = crate::api::annotations::PAUSED.to_owned();
    let metadata = &mut config(&mut facts).object.metadata;
    metadata.annotations.insert(paused, String::new());
    assert!(plan_now(&facts).spec.data_secret_name.is_some());
    config(&mut facts).object.metadata.deletion_timestamp = Some(time(1));
    assert_eq!(plan_now(&facts).spec.data_secret_name, None);
}

#[test]
fn external_objects_pass_from_their_maker_to_the_machine() {
    let owner = |api_version: &str, kind: &str| OwnerReference {
        api_version: api_version.into(),
        kind: kind.into(),
        name: "maker".into(),
        uid: "maker".into(),
        ..OwnerReference::default()
    };
    let set = owner("cluster.x-k8s.io/v1beta1", "MachineSet");
    let control_plane = owner("example.org/v1", "ControlPlane");
    let other = owner("example.org/v1", "Other");
    for (owners, is_control_plane, kept) in [
        (vec![set.clone()], false, vec![]),
        (vec![set, other.clone()], false, vec!["Other"]),
        (vec![control_plane.clone()], true, vec![]),
        (vec![control_plane], false, vec!["ControlPlane"]),
    ] {
        let mut facts = fresh();
        if is_control_plane {
            let labels = &mut facts.machine.metadata.labels;
            labels.insert(labels::CONTROL_PLANE.to_owned(), String::new());
        }
        infra(&mut facts).object.metadata.owner_references = owners;
        infra(&mut facts).object.metadata.labels.clear();
        let plan = plan_now(&facts);
        let [Action::Patch { object, patch }] = plan.actions.as_slice() else {
            panic!("{:?}", plan.actions);
        };
        assert_eq!(
            (object.kind.as_str(), object.uid.as_str()),
            ("Host", "Host-uid")
        );
        assert_eq!(patch["metadata"]["resourceVersion"], "5");
        assert_eq!(patch["metadata"]["labels"][labels::CLUSTER_NAME], "c");
        let kinds: Vec<&str> = patch["metadata"]["ownerReferences"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["kind"].as_str().unwrap())
            .collect();
        let mut expected = kept;
        expected.push("Machine");
        assert_eq!(kinds, expected);
        assert!(plan_now(&executed(facts, &plan)).actions.is_empty());
    }
    let mut facts = fresh();
    infra(&mut facts).object.metadata.owner_references = vec![OwnerReference {
        controller: Some(true),
        ..other
    }];
    let plan = plan_now(&facts);
    assert!(
        plan.errors[0].contains("already controlled by Other maker"),
        "{:?}",
        plan.errors
    );
}

#[test]
fn infrastructure_counts_once_it_is_provisioned_and_has_an_identity() {
    // (provisioned, provider id, latched before) -> (latched, spec.providerID)
    let table = [
        (None, None, false, None, None),
        (Some(false), Some("test://m"), false, None, None),
        (Some(true), None, false, None, None),
        (Some(true), Some(""), false, None, None),
        (
            Some(true),
            Some("test://m"),
            false,
            Some(true),
            Some("test://m"),
        ),
        (
            Some(false),
            Some("test://m"),
            true,
            Some(true),
            Some("test://m"),
        ),
    ];
    for (provisioned, id, latched, expected, change) in table {
        let mut facts = fresh();
        infra(&mut facts).provisioned = provisioned.into();
        infra(&mut facts).provider_id = id.map(str::to_owned).into();
        facts
            .machine
            .status
            .initialization
            .infrastructure_provisioned = latched.then_some(true);
        let plan = plan_now(&facts);
        let row = format!("{provisioned:?} {id:?} {latched}");
        let initialization = &plan.status.initialization;
        assert_eq!(initialization.infrastructure_provisioned, expected, "{row}");
        assert_eq!(plan.spec.provider_id.as_deref(), change, "{row}");
        let phase = plan.status.phase.as_ref().unwrap().as_str().to_owned();
        assert_eq!(phase == "Provisioned", change.is_some(), "{row} {phase}");
    }
}

#[test]
fn what_the_infrastructure_reports_is_copied_on_every_pass() {
    use crate::api::MachineAddress;
    let address = |text: &str| MachineAddress {
        type_: "InternalIP".into(),
        address: text.into(),
    };
    let mut facts = running();
    infra(&mut facts).addresses = Field::Present(vec![address("10.0.0.1")]);
    infra(&mut facts).failure_domain = Field::Present("zone-1".into());
    infra(&mut facts).deprecated_failure_domain = Field::Present("zone-0".into());
    let facts = settle(facts);
    assert_eq!(facts.machine.status.addresses, [address("10.0.0.1")]);
    assert_eq!(
        facts.machine.status.failure_domain.as_deref(),
        Some("zone-1")
    );
    assert_eq!(facts.machine.spec.failure_domain.as_deref(), Some("zone-0"));

    let mut changed = facts.clone();
    infra(&mut changed).addresses = Field::Absent;
    infra(&mut changed).provider_id = Field::Present("test://other".into());
    changed.node = NodeLookup::NotLooked;
    let plan = plan_now(&changed);
    assert_eq!(
        plan.status.addresses,
        [address("10.0.0.1")],
        "absent keeps the old ones"
    );
    assert_eq!(plan.spec.provider_id.as_deref(), Some("test://other"));

    let mut deleting = facts;
    infra(&mut deleting).object.metadata.deletion_timestamp = Some(time(1));
    infra(&mut deleting).addresses = Field::Present(vec![address("10.9.9.9")]);
    assert_eq!(plan_now(&deleting).status.addresses, [address("10.0.0.1")]);
}

#[test]
fn infrastructure_that_vanished_after_it_was_provisioned_is_a_failure() {
    let mut facts = running();
    facts.infra_machine = Lookup::NotFound;
    let plan = plan_now(&facts);
    assert_eq!(plan.errors, ["could not find Host ns/m for Machine ns/m"]);
    let deprecated = &plan.status.deprecated.v1beta1;
    assert_eq!(
        deprecated.failure_reason.as_deref(),
        Some("InvalidConfiguration")
    );
    assert_eq!(
        said(&plan, types::INFRASTRUCTURE_READY),
        "False ObjectDeleted Host has been deleted while the Machine still exists"
    );
}

#[test]
fn the_node_is_waited_for_then_recorded_once_and_an_error_when_it_vanishes() {
    let mut facts = running();
    facts.machine.status.node_ref = None;
    facts.node = NodeLookup::NotFound;
    let plan = plan_now(&facts);
    assert_eq!(plan.errors, Vec::<String>::new());
    assert_eq!(
        said(&plan, types::NODE_READY),
        "Unknown InspectionFailed Waiting for a Node with spec.providerID test://m to exist"
    );

    facts.node = NodeLookup::Found(node());
    let plan = plan_now(&facts);
    assert_eq!(reasons(&plan), ["SuccessfulSetNodeRef"]);
    assert_eq!(plan.status.node_ref.as_ref().unwrap().name, "node");
    assert_eq!(plan.status.phase.as_ref().unwrap().as_str(), "Running");
    let facts = executed(facts, &plan);
    assert_eq!(reasons(&plan_now(&facts)), Vec::<&str>::new());

    let mut gone = facts.clone();
    gone.node = NodeLookup::NotFound;
    let plan = plan_now(&gone);
    assert_eq!(plan.errors, ["no matching Node for Machine \"m\""]);
    assert_eq!(
        said(&plan, types::NODE_HEALTHY),
        "False NodeDeleted Node node has been deleted while the Machine still exists"
    );

    let mut two = facts;
    two.node = crate::plan::node::match_node([&node(), &node()], "test://m");
    let plan = plan_now(&two);
    assert_eq!(reasons(&plan), ["Failed to retrieve Node by ProviderID"]);
    assert!(plan.errors[0].contains("more than one Node"));
}

#[test]
fn the_identity_to_look_for_is_the_one_that_the_plan_will_write() {
    let mut facts = fresh();
    let id =
        |facts: &MachineFacts| provider_id(&facts.machine, &facts.infra_machine).map(str::to_owned);
    infra(&mut facts).provider_id = Field::Present("test://m".into());
    assert_eq!(id(&facts), None, "not provisioned yet");
    assert_eq!(id(&deleting(facts.clone())).as_deref(), Some("test://m"));
    infra(&mut facts).provisioned = Field::Present(true);
    assert_eq!(id(&facts).as_deref(), Some("test://m"));
    assert_eq!(plan_now(&facts).spec.provider_id, id(&facts));
    facts.machine.spec.provider_id = Some("test://before".into());
    assert_eq!(id(&facts).as_deref(), Some("test://m"));
    facts.infra_machine = Lookup::NotFound;
    assert_eq!(id(&facts).as_deref(), Some("test://before"));
}

#[test]
fn certificates_expire_when_the_machine_says_so_else_when_its_config_says_so() {
    let key = crate::api::annotations::CERTIFICATES_EXPIRY;
    let (a, b) = ("2030-01-01T00:00:00Z", "2031-01-01T00:00:00Z");
    for (control_plane, machine, config_says, expected, errors) in [
        (true, Some(a), Some(b), Some(a), 0),
        (true, None, Some(b), Some(b), 0),
        (true, None, None, None, 0),
        (true, Some("soon"), Some(b), None, 1),
        (false, Some(a), Some(b), None, 0),
    ] {
        let mut facts = running();
        if control_plane {
            let labels = &mut facts.machine.metadata.labels;
            labels.insert(labels::CONTROL_PLANE.to_owned(), String::new());
        }
        let set = |metadata: &mut Metadata, value: Option<&str>| {
            let annotation = value.map(|v| (key.to_owned(), v.to_owned()));
            metadata.annotations.extend(annotation);
        };
        set(&mut facts.machine.metadata, machine);
        set(&mut config(&mut facts).object.metadata, config_says);
        let plan = plan_now(&facts);
        let date = plan.status.certificates_expiry_date.map(|d| d.to_string());
        assert_eq!(date.as_deref(), expected);
        assert_eq!(plan.errors.len(), errors);
    }
}

#[test]
fn failures_that_external_objects_report_are_passed_on() {
    let mut facts = fresh();
    infra(&mut facts).object.failure_reason = Field::Present("CreateError".into());
    infra(&mut facts).object.failure_message = Field::Present("no room".into());
    let deprecated = plan_now(&facts).status.deprecated.v1beta1;
    assert_eq!(deprecated.failure_reason.as_deref(), Some("CreateError"));
    assert_eq!(
        deprecated.failure_message.as_deref(),
        Some(
            "Failure detected from referenced resource example.org/v1, Kind=Host with name \
             \"m\": no room"
        )
    );
}

#[test]
fn a_settled_machine_needs_nothing_and_a_recorded_plan_replays_elsewhere() {
    let facts = running();
    let plan = plan_now(&facts);
    assert!(plan.is_idle());
    assert!(plan.blocked_on.is_empty() && plan.events.is_empty() && plan.errors.is_empty());
    let text = serde_json::to_string(&facts).unwrap();
    let replayed: MachineFacts = serde_json::from_str(&text).unwrap();
    assert_eq!(replayed, facts);
    let again: MachinePlan = serde_json::from_str(&serde_json::to_string(&plan).unwrap()).unwrap();
    assert_eq!(again, plan_now(&replayed));
}
