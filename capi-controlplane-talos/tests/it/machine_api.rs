//! Our client against the simulated nodes, in virtual time.

use std::{sync::Arc, time::Duration};

use capi_controlplane_talos::{
    client::{
        ApplyMode, ClientError, Credentials, Endpoint, Health, MachineStage, PowerMode, RetryClass,
        Role, Settings, TalosClient,
    },
    simulator::{CallFault, MachineFacts, Seed},
};
use secrecy::{ExposeSecret as _, SecretString};
use tonic::Code;

use crate::fixture::{Keys, Lab, address, uuid};

fn code(result: Result<impl Sized, ClientError>) -> Option<Code> {
    result.err().and_then(|error| error.code())
}

#[tokio::test(start_paused = true)]
async fn a_node_boots_from_its_seed_and_tells_version_hostname_and_services() {
    let lab = Lab::virtual_time();
    lab.control_plane(1);
    let node = lab.client(1).await;
    let version = node.version().await.expect("version");
    assert_eq!(
        (
            version.tag.as_str(),
            version.platform.as_str(),
            version.mode.as_str()
        ),
        ("v1.13.8", "nocloud", "cloud")
    );
    assert!(version.rbac);
    assert_eq!(node.hostname().await.expect("hostname"), "node-1");
    assert_eq!(node.nodename().await.expect("nodename"), "node-1");
    let services = node.services().await.expect("services");
    let etcd = services
        .iter()
        .find(|service| service.id == "etcd")
        .expect("etcd");
    assert_eq!(
        (etcd.state.as_str(), etcd.health),
        ("Preparing", Health::Unknown)
    );
    assert!(
        services
            .iter()
            .filter(|s| s.id != "etcd")
            .all(|service| service.works()),
        "{services:?}"
    );
    let status = node.machine_status().await.expect("status");
    assert_eq!((status.stage, status.ready), (MachineStage::Booting, false));
}

#[tokio::test(start_paused = true)]
async fn etcd_is_bootstrapped_once_and_others_join_as_learners_first() {
    let lab = Lab::virtual_time();
    lab.control_plane(1);
    let first = lab.client(1).await;
    assert!(!first.has_etcd_data().await.expect("list"));
    assert_eq!(
        code(first.etcd_members(false).await),
        Some(Code::Unavailable)
    );
    first.bootstrap().await.expect("bootstrap");
    lab.datacenter
        .until(|machines| machines[0].has_etcd_data)
        .await;
    assert_eq!(code(first.bootstrap().await), Some(Code::AlreadyExists));
    assert!(first.has_etcd_data().await.expect("list"));

    lab.control_plane(2);
    lab.datacenter
        .until(|machines| machines[1].has_etcd_data)
        .await;
    let members = first.etcd_members(false).await.expect("members");
    let learner = members
        .iter()
        .find(|member| member.is_learner)
        .expect("a learner");
    assert_eq!(learner.hostname, "", "it has not started yet");
    loop {
        let members = first.etcd_members(false).await.expect("members");
        if members.iter().all(|member| !member.is_learner) {
            let mut names: Vec<_> = members.iter().map(|m| m.hostname.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["node-1", "node-2"]);
            break;
        }
        lab.clock.sleep(Duration::from_millis(10)).await;
    }
    let status = first.etcd_status().await.expect("status");
    assert_eq!(status.leader, Some(status.member_id));
    assert!(first.etcd_alarms().await.expect("alarms").is_empty());
    assert_eq!(lab.datacenter.violations(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_request_to_bootstrap_is_forgotten_by_a_reboot() {
    let lab = Lab::virtual_time();
    lab.control_plane(1);
    let node = lab.client(1).await;
    node.bootstrap().await.expect("bootstrap");
    lab.datacenter.power_off(&uuid(1));
    lab.control_plane(1);
    let node = lab.client(1).await;
    lab.clock.sleep(Duration::from_secs(30)).await;
    assert!(!node.has_etcd_data().await.expect("list"));
    node.bootstrap().await.expect("bootstrap again");
    lab.datacenter
        .until(|machines| machines[0].has_etcd_data)
        .await;
}

#[tokio::test(start_paused = true)]
async fn quorum_is_lost_with_two_of_three_and_comes_back_with_one() {
    let lab = Lab::virtual_time();
    let first = lab.cluster(3).await;
    lab.datacenter.power_off(&uuid(2));
    assert_eq!(
        first.etcd_members(false).await.expect("two of three").len(),
        3
    );
    lab.datacenter.power_off(&uuid(3));
    let error = first.etcd_members(false).await.expect_err("one of three");
    assert_eq!(error.class(), RetryClass::Later, "{error}");
    assert_eq!(
        first
            .etcd_members(true)
            .await
            .expect("what it knows itself")
            .len(),
        3
    );
    let status = first.etcd_status().await.expect("its own status");
    assert_eq!(status.leader, None);
    lab.control_plane(2);
    lab.client(2).await;
    let etcd_runs = async {
        while first.etcd_members(false).await.is_err() {
            lab.clock.sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), etcd_runs)
        .await
        .expect("quorum again");
}

#[tokio::test(start_paused = true)]
async fn a_leave_is_seen_from_another_node_and_done_twice_is_done() {
    let lab = Lab::virtual_time();
    let first = lab.cluster(3).await;
    let third = lab.client(3).await;
    assert_eq!(
        third.etcd_forfeit_leadership().await.expect("forfeit"),
        None,
        "not the leader"
    );
    third.etcd_leave().await.expect("leave");
    third.etcd_leave().await.expect("again");
    let names: Vec<_> = first
        .etcd_members(false)
        .await
        .expect("members")
        .into_iter()
        .map(|m| m.hostname)
        .collect();
    assert_eq!(names.len(), 2);
    assert!(!names.contains(&"node-3".to_owned()));
    let etcd = async {
        loop {
            let services = third.services().await.expect("services");
            if services
                .iter()
                .any(|service| service.id == "etcd" && service.state == "Finished")
            {
                break;
            }
            lab.clock.sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), etcd)
        .await
        .expect("etcd is finished there");
    assert!(!third.has_etcd_data().await.expect("list"));
}

#[tokio::test(start_paused = true)]
async fn a_leader_forfeits_to_another_and_an_only_member_cannot() {
    let lab = Lab::virtual_time();
    let first = lab.cluster(2).await;
    let leader = first
        .etcd_status()
        .await
        .expect("status")
        .leader
        .expect("a leader");
    let members = first.etcd_members(false).await.expect("members");
    let (leads, other) = if members[0].id == leader {
        (&members[0], &members[1])
    } else {
        (&members[1], &members[0])
    };
    let number = if leads.hostname == "node-1" { 1 } else { 2 };
    let node = lab.client(number).await;
    assert_eq!(
        node.etcd_forfeit_leadership().await.expect("forfeit"),
        Some(other.hostname.clone())
    );

    let alone = Lab::virtual_time();
    let only = alone.cluster(1).await;
    assert_eq!(
        code(only.etcd_forfeit_leadership().await),
        Some(Code::FailedPrecondition)
    );
}

#[tokio::test(start_paused = true)]
async fn members_are_removed_by_id_and_never_below_quorum() {
    let lab = Lab::virtual_time();
    let first = lab.cluster(3).await;
    let members = first.etcd_members(false).await.expect("members");
    let of = |name: &str| {
        members
            .iter()
            .find(|m| m.hostname == name)
            .expect("a member")
            .id
    };
    lab.datacenter.destroy(&uuid(3));
    assert_eq!(
        code(first.etcd_remove_member(of("node-2")).await),
        Some(Code::FailedPrecondition)
    );
    first
        .etcd_remove_member(of("node-3"))
        .await
        .expect("the dead one");
    assert_eq!(
        first
            .etcd_remove_member(of("node-3"))
            .await
            .err()
            .map(|e| e.class()),
        Some(RetryClass::NotFound)
    );
    assert_eq!(first.etcd_members(false).await.expect("members").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_worker_gets_its_certificate_from_a_control_plane_node_and_knows_no_etcd() {
    let lab = Lab::virtual_time();
    lab.worker(9);
    lab.clock.sleep(Duration::from_secs(60)).await;
    assert!(
        matches!(
            lab.connect_as(9, Role::Admin).await,
            Err(ClientError::Connect { .. })
        ),
        "no trustd yet"
    );
    lab.control_plane(1);
    let worker = lab.client(9).await;
    for result in [
        worker.bootstrap().await,
        worker.etcd_leave().await,
        worker.etcd_members(false).await.map(drop),
        worker.kubeconfig().await.map(drop),
    ] {
        assert_eq!(
            result.err().map(|error| error.class()),
            Some(RetryClass::Unsupported)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn roles_decide_what_a_client_may_do() {
    let lab = Lab::virtual_time();
    lab.cluster(1).await;
    let reader = lab.connect_as(1, Role::Reader).await.expect("connect");
    reader.version().await.expect("a reader reads");
    reader.etcd_members(false).await.expect("a reader reads");
    let error = reader.bootstrap().await.expect_err("an admin's");
    assert_eq!(
        (error.code(), error.class()),
        (Some(Code::PermissionDenied), RetryClass::Denied)
    );
    assert_eq!(
        code(reader.reboot(PowerMode::Kexec).await),
        Some(Code::PermissionDenied)
    );
    let operator = lab.connect_as(1, Role::Operator).await.expect("connect");
    assert_eq!(
        code(operator.kubeconfig().await),
        Some(Code::PermissionDenied)
    );
    operator.etcd_snapshot().await.expect("an operator's");
    let backup = lab.connect_as(1, Role::EtcdBackup).await.expect("connect");
    backup.etcd_snapshot().await.expect("a backup's");
    assert_eq!(code(backup.version().await), Some(Code::PermissionDenied));
}

#[tokio::test(start_paused = true)]
async fn certificates_of_another_authority_and_expired_ones_are_refused_on_both_sides() {
    let lab = Lab::virtual_time();
    lab.control_plane(1);
    let node = lab.client(1).await;
    let endpoint = || Endpoint::from(address(1));
    let other = Keys::new("other", &lab.clock);
    let foreign = Credentials::issue(&other.os, Role::Admin, &lab.clock).expect("credentials");
    let error = TalosClient::connect(endpoint(), &foreign, &lab.settings())
        .await
        .expect_err("another bundle");
    assert!(matches!(error, ClientError::Tls { .. }), "{error:?}");
    assert_eq!(error.class(), RetryClass::Denied);

    let old = Credentials::issue(&lab.keys.os, Role::Admin, &lab.clock).expect("credentials");
    lab.clock.sleep(Duration::from_secs(366 * 24 * 3600)).await;
    let expired = match TalosClient::connect(endpoint(), &old, &lab.settings()).await {
        Ok(client) => client.version().await.map(drop),
        Err(error) => Err(error),
    };
    assert_eq!(
        expired.err().map(|error| error.class()),
        Some(RetryClass::Denied)
    );
    drop(node);
}

#[tokio::test(start_paused = true)]
async fn a_client_certificate_that_may_also_serve_is_refused() {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use capi_core::pki::{LeafRequest, Subject};
    let lab = Lab::virtual_time();
    lab.control_plane(1);
    lab.client(1).await;
    let mut request = LeafRequest::client(Subject::organization("os:admin"), lab.clock.now());
    request.server = true;
    let issued = lab.keys.os.issue(&request).expect("a certificate");
    let talosconfig = SecretString::from(format!(
        "context: x\ncontexts: {{x: {{ca: {}, crt: {}, key: {}}}}}\n",
        STANDARD.encode(lab.keys.os.certificate().to_pem()),
        STANDARD.encode(issued.certificate.to_pem()),
        STANDARD.encode(issued.key.to_pem().expose_secret()),
    ));
    let credentials = Credentials::from_talosconfig(&talosconfig).expect("a talosconfig");
    let result = match TalosClient::connect(address(1).into(), &credentials, &lab.settings()).await
    {
        Ok(client) => client.version().await.map(drop),
        Err(error) => Err(error),
    };
    let error = result.expect_err("only clientAuth is accepted");
    assert!(matches!(error, ClientError::Tls { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_talosconfig_is_read_and_broken_ones_say_what_is_wrong_without_their_content() {
    let lab = Lab::virtual_time();
    lab.control_plane(1);
    lab.client(1).await;
    let good = lab.keys.talosconfig(&lab.clock);
    let credentials = Credentials::from_talosconfig(&good).expect("a talosconfig");
    let client = TalosClient::connect(address(1).into(), &credentials, &lab.settings())
        .await
        .expect("connect");
    client.version().await.expect("version");
    for (text, says) in [
        ("context: [", "line 1"),
        ("context: a\ncontexts: {}\n", "context"),
        (
            "context: a\ncontexts: {a: {ca: sEcReT, crt: x, key: sEcReT}}\n",
            "ca, crt and key",
        ),
    ] {
        let error = Credentials::from_talosconfig(&SecretString::from(text)).expect_err(text);
        let mut message = error.to_string();
        if let Some(source) = std::error::Error::source(&error) {
            message.push_str(&source.to_string());
        }
        assert!(message.contains(says), "{message}");
        assert!(!message.contains("sEcReT"), "{message}");
    }
    assert_eq!(format!("{credentials:?}"), "Credentials(mutual TLS)");
}

#[tokio::test(start_paused = true)]
async fn a_node_without_configuration_waits_in_maintenance_mode_until_it_gets_one() {
    let lab = Lab::virtual_time();
    for (number, user_data) in [(1, ""), (2, "#cloud-config\nusers: []\n")] {
        lab.datacenter.boot(lab.facts(number, user_data.to_owned()));
        lab.datacenter
            .until(|machines| {
                machines
                    .iter()
                    .any(|m| m.uuid == uuid(number) && m.stage == MachineStage::Maintenance)
            })
            .await;
        let nobody = Credentials::danger_maintenance();
        let insecure = || async {
            loop {
                match TalosClient::connect(address(number).into(), &nobody, &lab.settings()).await {
                    Ok(client) => return client,
                    Err(_) => lab.clock.sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let node = insecure().await;
        assert_eq!(node.version().await.expect("version").tag, "v1.13.8");
        assert_eq!(
            node.machine_status().await.expect("status").stage,
            MachineStage::Maintenance
        );
        assert_eq!(code(node.bootstrap().await), Some(Code::PermissionDenied));
        let garbage = SecretString::from("nothing: useful\n");
        let error = node
            .apply_configuration(&garbage, ApplyMode::Auto, false, None)
            .await
            .expect_err("garbage");
        assert_eq!(
            (error.code(), error.class()),
            (Some(Code::InvalidArgument), RetryClass::Invalid)
        );
        let config = lab.keys.config("controlplane", "flannel");
        node.apply_configuration(&SecretString::from(config), ApplyMode::Auto, false, None)
            .await
            .expect("apply");
        assert_eq!(
            lab.client(number).await.hostname().await.expect("hostname"),
            format!("node-{number}")
        );
        lab.datacenter.destroy(&uuid(number));
    }
}

#[tokio::test(start_paused = true)]
async fn an_invalid_configuration_in_the_seed_stops_the_node_with_a_reason() {
    let lab = Lab::virtual_time();
    lab.datacenter.boot(lab.facts(
        1,
        "version: v1alpha1\nmachine: {type: controlplane}\n".to_owned(),
    ));
    lab.datacenter
        .until(|machines| machines[0].error.is_some())
        .await;
    assert_eq!(
        lab.datacenter
            .machine(&uuid(1))
            .and_then(|m| m.error)
            .map(|error| error.contains("machine.ca")),
        Some(true)
    );
    assert!(matches!(
        lab.connect_as(1, Role::Admin).await,
        Err(ClientError::Connect { .. })
    ));
}

#[tokio::test(start_paused = true)]
async fn configurations_are_applied_staged_or_tried() {
    let lab = Lab::virtual_time();
    let node = lab.cluster(1).await;
    let base = lab.keys.config("controlplane", "flannel");
    let named = |name: &str| {
        SecretString::from(base.replace("auto: stable", &format!("auto: off\nhostname: {name}")))
    };
    for (text, reason) in [("x: [", "line 1"), ("x: y\n", "kind is missing")] {
        let error = node
            .apply_configuration(&SecretString::from(text), ApplyMode::NoReboot, false, None)
            .await
            .expect_err(text);
        assert_eq!(error.code(), Some(Code::InvalidArgument));
        assert!(error.to_string().contains(reason), "{error}");
    }
    let unknown = SecretString::from(format!("surprise: true\n{base}"));
    let error = node
        .apply_configuration(&unknown, ApplyMode::Auto, false, None)
        .await
        .expect_err("unknown key");
    assert!(error.to_string().contains("unknown key"), "{error}");

    node.apply_configuration(&named("staged"), ApplyMode::Staged, false, None)
        .await
        .expect("staged");
    node.reboot(PowerMode::Kexec).await.expect("reboot");
    lab.datacenter
        .until(|machines| machines[0].boots == 2 && !machines[0].hostname.is_empty())
        .await;
    let node = lab.client(1).await;
    assert_eq!(node.hostname().await.expect("hostname"), "staged");
    let boot = node
        .read_file("/proc/sys/kernel/random/boot_id")
        .await
        .expect("boot id");

    node.apply_configuration(
        &named("tried"),
        ApplyMode::Try,
        false,
        Some(Duration::from_secs(5)),
    )
    .await
    .expect("try");
    lab.clock.sleep(Duration::from_secs(10)).await;
    node.reboot(PowerMode::PowerCycle).await.expect("reboot");
    lab.datacenter
        .until(|machines| machines[0].boots == 3 && !machines[0].hostname.is_empty())
        .await;
    let node = lab.client(1).await;
    assert_eq!(
        node.hostname().await.expect("hostname"),
        "staged",
        "the trial was not kept"
    );
    assert_ne!(
        node.read_file("/proc/sys/kernel/random/boot_id")
            .await
            .expect("boot id"),
        boot
    );
}

#[tokio::test(start_paused = true)]
async fn a_kubeconfig_of_the_admin_comes_from_the_node() {
    let lab = Lab::virtual_time();
    let node = lab.cluster(1).await;
    let text = node.kubeconfig().await.expect("kubeconfig");
    let text = text.expose_secret();
    let server = capi_core::pki::Kubeconfig::server_of(text).expect("a kubeconfig");
    assert_eq!(server.as_deref(), Some("https://10.0.0.100:6443"));
    let certificates = capi_core::pki::Kubeconfig::client_certificates(text).expect("certificates");
    assert_eq!(certificates[0].common_name(), Some("admin"));
    assert_eq!(certificates[0].organizations(), ["system:masters"]);
    assert!(certificates[0].is_signed_by(lab.keys.kubernetes.certificate()));
}

#[tokio::test(start_paused = true)]
async fn calls_have_deadlines_and_errors_have_classes() {
    let lab = Lab::virtual_time();
    let node = lab.cluster(1).await;
    let fault = |fault: CallFault| {
        lab.datacenter.set_faults(Some(Arc::new(move |_, method| {
            (method == "Version").then(|| fault.clone())
        })));
    };
    fault(CallFault::Hangs);
    let before = tokio::time::Instant::now();
    let error = node.version().await.expect_err("no answer");
    assert!(
        matches!(
            error,
            ClientError::Deadline {
                method: "Version",
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(before.elapsed().as_secs(), 10);
    fault(CallFault::AnswerLost);
    assert_eq!(
        node.version().await.err().map(|e| e.class()),
        Some(RetryClass::Later)
    );
    fault(CallFault::Delayed(Duration::from_secs(5)));
    node.version().await.expect("late, but in time");
    for (code, class) in [
        (Code::Unavailable, RetryClass::Later),
        (Code::FailedPrecondition, RetryClass::Later),
        (Code::Unimplemented, RetryClass::Unsupported),
        (Code::Unauthenticated, RetryClass::Denied),
        (Code::NotFound, RetryClass::NotFound),
        (Code::AlreadyExists, RetryClass::AlreadyDone),
        (Code::InvalidArgument, RetryClass::Invalid),
    ] {
        fault(CallFault::Fails(code));
        assert_eq!(
            node.version().await.err().map(|e| e.class()),
            Some(class),
            "{code:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_off_does_not_answer_and_one_that_boots_refuses() {
    let lab = Lab::virtual_time();
    let error = lab
        .connect_as(1, Role::Admin)
        .await
        .expect_err("nobody there");
    assert!(
        matches!(&error, ClientError::Connect { source, .. } if source.kind() == std::io::ErrorKind::TimedOut),
        "{error:?}"
    );
    let node = lab.cluster(1).await;
    assert_eq!(lab.datacenter.addresses(&uuid(1)), [address(1)]);
    lab.datacenter.power_off(&uuid(1));
    assert!(lab.datacenter.addresses(&uuid(1)).is_empty());
    assert_eq!(
        node.version().await.err().map(|e| e.class()),
        Some(RetryClass::Later)
    );
    lab.control_plane(1);
    node_answers_again(&lab, &node).await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_to_a_machine_without_power_is_silent_and_given_up_after_a_deadline() {
    let lab = Lab::virtual_time();
    let node = lab.cluster(1).await;
    lab.datacenter.power_off(&uuid(1));
    let error = node.version().await.expect_err("no power");
    assert!(matches!(error, ClientError::Deadline { .. }), "{error:?}");
    let error = node.version().await.expect_err("no power");
    assert!(
        matches!(error, ClientError::Connect { .. }),
        "a new connection was tried: {error:?}"
    );
    lab.control_plane(1);
    node_answers_again(&lab, &node).await;

    node.reboot(PowerMode::Kexec).await.expect("reboot");
    lab.datacenter
        .until(|machines| machines[0].boots == 3)
        .await;
    let error = node.version().await.expect_err("it boots");
    assert!(
        matches!(error, ClientError::Connect { .. }),
        "a reboot closes: {error:?}"
    );
}

/// A client connects again by itself.
async fn node_answers_again(lab: &Lab, node: &TalosClient) {
    let again = async {
        while node.version().await.is_err() {
            lab.clock.sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), again)
        .await
        .expect("the node answers again");
}

#[tokio::test(start_paused = true)]
async fn talos_is_upgraded_in_the_new_way_and_in_the_old() {
    let lab = Lab::virtual_time();
    let node = lab.cluster(1).await;
    let image = "factory.talos.dev/nocloud-installer/376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d632b4ba:v1.13.9";
    let error = node.upgrade(image).await.expect_err("not pulled");
    assert!(
        matches!(error, ClientError::Exit { exit_code: 4, .. }),
        "OK from gRPC is not success: {error:?}"
    );
    node.pull_system_image(image).await.expect("pull");
    node.upgrade(image).await.expect("upgrade");
    assert_eq!(
        node.version().await.expect("version").tag,
        "v1.13.8",
        "not before the reboot"
    );
    node.reboot(PowerMode::Kexec).await.expect("reboot");
    lab.datacenter
        .until(|machines| machines[0].boots == 2)
        .await;
    assert_eq!(
        lab.client(1).await.version().await.expect("version").tag,
        "v1.13.9"
    );

    let options = capi_controlplane_talos::simulator::Options::default().talos_version("v1.12.4");
    let old = Lab::with(lab.clock.clone(), options);
    let node = old.cluster(1).await;
    assert_eq!(
        node.pull_system_image(image).await.err().map(|e| e.class()),
        Some(RetryClass::Unsupported)
    );
    node.upgrade_legacy("ghcr.io/siderolabs/installer:v1.13.8")
        .await
        .expect("upgrade");
    old.datacenter
        .until(|machines| machines[0].boots == 2)
        .await;
    assert_eq!(
        old.client(1).await.version().await.expect("version").tag,
        "v1.13.8"
    );
}

#[tokio::test(start_paused = true)]
async fn a_graceful_reset_leaves_etcd_and_wipes_the_disk() {
    use capi_controlplane_talos::client::ResetMode;
    let lab = Lab::virtual_time();
    let first = lab.cluster(3).await;
    let third = lab.client(3).await;
    third
        .reset(ResetMode::All, true, false)
        .await
        .expect("reset");
    lab.datacenter.until(|machines| !machines[2].on).await;
    assert_eq!(first.etcd_members(false).await.expect("members").len(), 2);
    assert!(
        !lab.datacenter
            .machine(&uuid(3))
            .expect("it is still there")
            .has_etcd_data
    );
    first.shutdown(false).await.expect("shutdown");
    lab.datacenter.until(|machines| !machines[0].on).await;
}

#[tokio::test(start_paused = true)]
async fn a_machine_without_a_drive_waits_in_maintenance_with_the_address_of_dhcp() {
    let lab = Lab::virtual_time();
    lab.datacenter.boot(
        MachineFacts::new(uuid(7), "bare")
            .seed(Seed::None)
            .addresses([address(7)]),
    );
    lab.datacenter
        .until(|machines| machines[0].stage == MachineStage::Maintenance)
        .await;
    assert_eq!(lab.datacenter.addresses(&uuid(7)), [address(7)]);
}

#[tokio::test(start_paused = true)]
async fn settings_bound_every_wait() {
    let lab = Lab::virtual_time();
    let settings: Settings = lab
        .settings()
        .connect_deadline(Duration::from_secs(1))
        .deadline(Duration::from_secs(2));
    let credentials =
        Credentials::issue(&lab.keys.os, Role::Admin, &lab.clock).expect("credentials");
    let error = TalosClient::connect(address(1).into(), &credentials, &settings)
        .await
        .expect_err("nobody");
    assert!(
        matches!(
            error,
            ClientError::Deadline {
                method: "connect",
                ..
            }
        ),
        "{error:?}"
    );
}
