//! The simulator, asked by the production client: in process in virtual time, and over HTTPS.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use capi_core::clock::Clock;
use capi_provider_proxmox::client::{
    ApiToken, Client, CloneRequest, Error, ErrorClass, Parameters, Patience, PowerState,
    ResourceKind, TaskState, TlsTrust, TransportError,
};
use capi_provider_proxmox::iso::NoCloud;
use capi_provider_proxmox::simulator::{
    Datacenter, Fault, GuestReport, Latencies, Outcome, ReportedInterface, Simulator, Token,
    VirtualMachine, VirtualMachineHost, VirtualMachineKey,
};
use http::Method;

const TOKEN: &str = "capi@pve!manager";

fn epoch() -> jiff::Timestamp {
    "2026-01-01T00:00:00Z".parse().expect("a time")
}

fn datacenter() -> Datacenter {
    let mut datacenter = Datacenter::example(3, 7);
    datacenter.add_token(TOKEN, "s3cr3t");
    datacenter
}

fn simulator() -> (Simulator, Client) {
    let clock = Clock::following_tokio(epoch());
    let simulator = Simulator::new(datacenter(), clock.clone());
    let client = Client::builder(
        "https://pve1:8006",
        ApiToken::new(TOKEN, "s3cr3t").expect("a token"),
        clock,
    )
    .transport(Arc::new(simulator.clone()))
    .build()
    .expect("a client");
    (simulator, client)
}

fn clone_request(new_id: u64) -> CloneRequest {
    CloneRequest {
        new_id,
        name: format!("vm-{new_id}"),
        full: true,
        ..CloneRequest::default()
    }
}

async fn cloned(client: &Client, new_id: u64) {
    let upid = client
        .clone_vm("pve1", 9000, &clone_request(new_id))
        .await
        .expect("cloned");
    client
        .wait_for_task(&upid, Patience::default())
        .await
        .expect("cloned");
}

async fn done(client: &Client, upid: capi_provider_proxmox::client::Upid) {
    client
        .wait_for_task(&upid, Patience::default())
        .await
        .expect("the task succeeds");
}

#[tokio::test(start_paused = true)]
async fn a_clone_shows_only_its_lock_until_its_task_ends() {
    let (_simulator, client) = simulator();
    let upid = client
        .clone_vm("pve1", 9000, &clone_request(100))
        .await
        .expect("taken");
    let status = client.vm_status("pve1", 100).await.expect("there at once");
    assert_eq!(
        (status.name.as_str(), status.lock.as_deref()),
        ("VM 100", Some("clone"))
    );
    let config = client.vm_config("pve1", 100).await.expect("there at once");
    assert_eq!(
        config.iter().map(|(key, _)| key).collect::<Vec<_>>(),
        ["digest", "lock"]
    );
    let error = client
        .set_vm_config("pve1", 100, Parameters::new().with("cores", 2))
        .await
        .expect_err("locked");
    assert_eq!(
        (error.class(), error.message().as_str()),
        (ErrorClass::Locked, "500 VM is locked (clone)")
    );

    done(&client, upid).await;
    let config = client.vm_config("pve1", 100).await.expect("complete");
    let template = client.vm_config("pve1", 9000).await.expect("there");
    assert_eq!(config.get("name"), Some("vm-100"));
    assert_ne!(config.get("smbios1"), template.get("smbios1"));
    assert_ne!(config.get("net0"), template.get("net0"));
    assert!(
        config
            .get("net0")
            .expect("a device")
            .ends_with(",bridge=vmbr0,firewall=1")
    );
}

#[tokio::test(start_paused = true)]
async fn a_number_is_taken_when_the_clone_is_accepted_and_free_when_its_task_fails() {
    let (simulator, client) = simulator();
    simulator.fault(Fault::once(
        Method::POST,
        "*/clone",
        Outcome::TaskFails("clone failed: got lock timeout".into()),
    ));
    let upid = client
        .clone_vm("pve1", 9000, &clone_request(100))
        .await
        .expect("taken");
    let error = client
        .clone_vm("pve2", 9001, &clone_request(100))
        .await
        .expect_err("taken");
    assert_eq!(error.class(), ErrorClass::Exists);
    assert!(!client.is_free(100).await.expect("asked"));
    let error = client
        .wait_for_task(&upid, Patience::default())
        .await
        .expect_err("planned");
    assert_eq!(error.class(), ErrorClass::Locked, "{error}");
    assert!(client.is_free(100).await.expect("asked"));
    assert_eq!(
        client
            .vm_status("pve1", 100)
            .await
            .expect_err("gone")
            .class(),
        ErrorClass::Gone
    );
}

#[tokio::test(start_paused = true)]
async fn a_running_machine_is_not_destroyed_and_a_stopped_one_leaves_nothing() {
    let (simulator, client) = simulator();
    let volumes = simulator.inspect(|datacenter| datacenter.volumes.len());
    cloned(&client, 100).await;
    done(
        &client,
        client.start_vm("pve1", 100).await.expect("started"),
    )
    .await;
    assert_eq!(
        client.vm_status("pve1", 100).await.expect("there").power(),
        PowerState::Running
    );
    let error = client.destroy_vm("pve1", 100).await.expect_err("running");
    assert_eq!(error.message(), "500 VM 100 is running - destroy failed");
    let again = client.start_vm("pve1", 100).await.expect("a task");
    let error = client
        .wait_for_task(&again, Patience::default())
        .await
        .expect_err("running");
    assert!(
        error.to_string().contains("VM 100 already running"),
        "{error}"
    );
    done(&client, client.stop_vm("pve1", 100).await.expect("stopped")).await;
    done(
        &client,
        client.destroy_vm("pve1", 100).await.expect("destroyed"),
    )
    .await;
    assert!(client.is_free(100).await.expect("asked"));
    assert_eq!(
        simulator.inspect(|datacenter| datacenter.volumes.len()),
        volumes
    );
}

#[tokio::test(start_paused = true)]
async fn parameters_that_are_not_known_or_out_of_range_are_refused_by_name() {
    let (_simulator, client) = simulator();
    cloned(&client, 100).await;
    let rows = [
        (
            Parameters::new().with("corse", 2),
            "corse",
            "property is not defined in schema and the schema does not allow additional properties",
        ),
        (
            Parameters::new().with("cores", 0),
            "cores",
            "value must have a minimum value of 1",
        ),
        (
            Parameters::new().with("memory", "x"),
            "memory",
            "type check ('integer') failed - got 'x'",
        ),
        (
            Parameters::new().with("boot", ";ide0"),
            "boot",
            "invalid format - format error",
        ),
        (
            Parameters::new().with("net0", "virtio,bridge=vmbr0,queues=65"),
            "net0",
            "value must have a maximum value of 64",
        ),
        (
            Parameters::new().with("tags", "-x"),
            "tags",
            "invalid characters in tag '-x'",
        ),
    ];
    for (parameters, name, text) in rows {
        let error = client
            .set_vm_config("pve1", 100, parameters)
            .await
            .expect_err(name);
        let Error::Api { answer, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(
            (answer.status, answer.message.as_str()),
            (400, "Parameter verification failed.")
        );
        assert!(answer.parameters[name].contains(text), "{name}: {error}");
    }
    let error = client
        .clone_vm("pve1", 9000, &clone_request(99))
        .await
        .expect_err("too low");
    assert!(
        error.to_string().contains("newid: invalid format"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_changed_since_is_not_overwritten() {
    let (_simulator, client) = simulator();
    cloned(&client, 100).await;
    let digest = client
        .vm_config("pve1", 100)
        .await
        .expect("there")
        .digest()
        .expect("a digest")
        .to_owned();
    let change = |cores: u8| {
        Parameters::new()
            .with("cores", cores)
            .with("digest", &digest)
    };
    client
        .set_vm_config("pve1", 100, change(2))
        .await
        .expect("changed");
    let error = client
        .set_vm_config("pve1", 100, change(3))
        .await
        .expect_err("changed since");
    assert_eq!(error.class(), ErrorClass::Conflict);
}

#[tokio::test(start_paused = true)]
async fn what_is_missing_is_named_in_proxmox_words() {
    let (simulator, client) = simulator();
    let error = client
        .clone_vm("pve1", 9009, &clone_request(100))
        .await
        .expect_err("no template");
    assert_eq!(
        error.message(),
        "500 Configuration file 'nodes/pve1/qemu-server/9009.conf' does not exist"
    );
    cloned(&client, 100).await;
    client
        .set_vm_config(
            "pve1",
            100,
            Parameters::new().with("net0", "virtio,bridge=vmbr9"),
        )
        .await
        .expect("not checked here");
    let upid = client.start_vm("pve1", 100).await.expect("a task");
    let error = client
        .wait_for_task(&upid, Patience::default())
        .await
        .expect_err("no bridge");
    assert_eq!(
        error.to_string(),
        "task qmstart: bridge 'vmbr9' does not exist"
    );
    let error = client.vm_status("pve9", 100).await.expect_err("no node");
    assert_eq!(error.class(), ErrorClass::NodeDown);
    simulator.change(|datacenter| datacenter.nodes.get_mut("pve1").expect("a node").online = false);
    let error = client.vm_status("pve1", 100).await.expect_err("off");
    assert_eq!(
        (error.class(), error.message().as_str()),
        (ErrorClass::NodeDown, "595 No route to host")
    );
    let error = client
        .call::<serde_json::Value>(Method::GET, "/x", Parameters::new())
        .await
        .expect_err("no such method");
    assert_eq!(error.message(), "501 Method 'GET /x' not implemented");
    simulator.change(|datacenter| datacenter.quorate = false);
    let error = client
        .clone_vm("pve2", 9001, &clone_request(101))
        .await
        .expect_err("no quorum");
    assert_eq!(error.class(), ErrorClass::Quorum);
}

#[tokio::test(start_paused = true)]
async fn local_disks_are_not_cloned_to_another_node_and_full_storages_take_nothing() {
    let (simulator, client) = simulator();
    let elsewhere = CloneRequest {
        target: Some("pve2".into()),
        ..clone_request(100)
    };
    let error = client
        .clone_vm("pve1", 9000, &elsewhere)
        .await
        .expect_err("local");
    assert_eq!(
        error.message(),
        "500 can't clone VM to node 'pve2' (VM uses local storage)"
    );
    simulator.change(|datacenter| {
        datacenter
            .storages
            .get_mut("local-lvm")
            .expect("a storage")
            .total = 1;
    });
    let error = client
        .clone_vm("pve1", 9000, &clone_request(100))
        .await
        .expect_err("full");
    assert_eq!(error.class(), ErrorClass::Capacity);
}

#[tokio::test(start_paused = true)]
async fn a_token_sees_and_does_what_it_may() {
    let (simulator, client) = simulator();
    simulator.change(|datacenter| {
        let held = |privileges: &[&str]| {
            privileges
                .iter()
                .map(|privilege| (*privilege).to_owned())
                .collect()
        };
        let privileges = [
            ("/vms".to_owned(), held(&["VM.Audit", "VM.Clone"])),
            ("/vms/9001".to_owned(), held(&[])),
        ]
        .into();
        datacenter.tokens.insert(
            TOKEN.into(),
            Token {
                secret: "s3cr3t".into(),
                privileges: Some(privileges),
            },
        );
    });
    let seen: Vec<_> = client
        .resources(ResourceKind::Guests)
        .await
        .expect("allowed")
        .iter()
        .filter_map(|row| row.vmid)
        .collect();
    assert_eq!(seen, [9000, 9002]);
    let error = client
        .clone_vm("pve1", 9000, &clone_request(100))
        .await
        .expect_err("not allowed");
    assert_eq!(
        (error.class(), error.message().as_str()),
        (
            ErrorClass::Permission,
            "403 Permission check failed (/vms/100, VM.Allocate)"
        )
    );
    let permissions = client.permissions().await.expect("always");
    assert!(
        permissions.allow("/vms/9000", "VM.Clone") && !permissions.allow("/vms/9001", "VM.Clone")
    );
}

#[tokio::test(start_paused = true)]
async fn images_are_uploaded_and_handed_to_the_host_when_the_machine_starts() {
    #[derive(Default)]
    struct Host {
        started: Mutex<Vec<VirtualMachine>>,
        stopped: Mutex<Vec<VirtualMachineKey>>,
    }
    impl VirtualMachineHost for Host {
        fn on_start(&self, machine: VirtualMachine) {
            self.started.lock().expect("not poisoned").push(machine);
        }
        fn on_stop(&self, machine: VirtualMachineKey) {
            self.stopped.lock().expect("not poisoned").push(machine);
        }
    }

    let (simulator, client) = simulator();
    let host = Arc::new(Host::default());
    simulator.attach_host(host.clone());
    cloned(&client, 100).await;
    let volume = NoCloud {
        user_data: b"version: v1alpha1\n".to_vec(),
        meta_data: "instance-id: x\n".into(),
        ..NoCloud::default()
    };
    let image = volume.image().expect("an image");
    done(
        &client,
        client
            .upload_iso("pve1", "local", "a.iso", &image)
            .await
            .expect("uploaded"),
    )
    .await;
    let error = client
        .upload_iso("pve1", "local-lvm", "a.iso", &image)
        .await
        .expect_err("block storage");
    assert_eq!(
        error.message(),
        "500 can't upload to storage type 'lvmthin'"
    );
    let volumes = client
        .volumes("pve1", "local", Some("iso"))
        .await
        .expect("listed");
    assert_eq!(
        (volumes[0].volid.as_str(), volumes[0].size),
        ("local:iso/a.iso", Some(image.len() as u64))
    );
    let drive = Parameters::new()
        .with("ide0", "local:iso/a.iso,media=cdrom")
        .with("smbios1", "uuid=0B7E0000-0000-4000-8000-000000000001");
    client
        .set_vm_config("pve1", 100, drive)
        .await
        .expect("attached");

    // Nobody asks: the machine starts all the same.
    client.start_vm("pve1", 100).await.expect("a task");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let machine = host
        .started
        .lock()
        .expect("not poisoned")
        .pop()
        .expect("told");
    assert_eq!(
        (
            machine.key.vmid,
            machine.node.as_str(),
            machine.name.as_str()
        ),
        (100, "pve1", "vm-100")
    );
    assert_eq!(
        machine.no_cloud().expect("readable").expect("there"),
        volume
    );

    let interfaces = || client.agent_interfaces("pve1", 100);
    assert_eq!(
        interfaces().await.expect_err("booting").class(),
        ErrorClass::Agent
    );
    tokio::time::sleep(Duration::from_secs(5)).await;
    let address = "10.0.0.7".parse().expect("an address");
    let interface = ReportedInterface {
        name: "eth0".into(),
        hardware_address: machine.network_devices[0].hardware_address.clone(),
        addresses: vec![(address, 24)],
    };
    simulator.report(
        &machine.key,
        GuestReport {
            hostname: "h".into(),
            interfaces: vec![interface],
        },
    );
    let seen = interfaces().await.expect("up");
    assert_eq!(
        seen.last().expect("one").ip_addresses[0].address,
        "10.0.0.7"
    );

    client.stop_vm("pve1", 100).await.expect("a task");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(*host.stopped.lock().expect("not poisoned"), [machine.key]);
}

#[tokio::test(start_paused = true)]
async fn faults_hit_as_planned() {
    let (simulator, client) = simulator();
    let fault = |path: &str, outcome| simulator.fault(Fault::once(Method::POST, path, outcome));
    fault("*/clone", Outcome::DropBefore);
    assert_eq!(
        client
            .clone_vm("pve1", 9000, &clone_request(100))
            .await
            .expect_err("lost")
            .class(),
        ErrorClass::Unknown
    );
    assert!(client.is_free(100).await.expect("asked"));
    fault("*/clone", Outcome::DropAfter);
    assert_eq!(
        client
            .clone_vm("pve1", 9000, &clone_request(100))
            .await
            .expect_err("lost")
            .class(),
        ErrorClass::Unknown
    );
    assert!(!client.is_free(100).await.expect("asked"));
    let running = client.active_tasks("pve1", 9000).await.expect("listed");
    assert_eq!(running[0].upid.kind(), "qmclone");
    done(&client, running[0].upid.clone()).await;

    fault("*/start", Outcome::TaskWarns(2));
    let upid = client.start_vm("pve1", 100).await.expect("a task");
    assert_eq!(
        client
            .wait_for_task(&upid, Patience::default())
            .await
            .expect("warnings are success"),
        2
    );
    fault("*/stop", Outcome::TaskHangs);
    let upid = client.stop_vm("pve1", 100).await.expect("a task");
    let patience = Patience {
        deadline: Duration::from_secs(60),
        ..Patience::default()
    };
    assert!(matches!(
        client.wait_for_task(&upid, patience).await,
        Err(Error::TaskPending { .. })
    ));
    fault("*/stop", Outcome::TaskVanishes);
    let upid = client.stop_vm("pve1", 100).await.expect("a task");
    assert!(
        client
            .task_state(&upid)
            .await
            .expect_err("not listed")
            .to_string()
            .contains("no such task")
    );
    simulator.fault(Fault::always(Method::GET, "/version", Outcome::HtmlPage));
    assert_eq!(
        client.version().await.expect_err("a balancer").message(),
        "502 Bad Gateway"
    );
    simulator.clear_faults();
    simulator.fault(Fault::once(Method::GET, "/version", Outcome::Truncated));
    assert!(matches!(client.version().await, Err(Error::Decode { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_dumped_datacenter_goes_on_where_it_was() {
    let (simulator, client) = simulator();
    let upid = client
        .clone_vm("pve1", 9000, &clone_request(100))
        .await
        .expect("taken");
    let dump = simulator.dump().expect("dumped");
    drop(simulator);
    let clock =
        Clock::following_tokio(epoch().checked_add(Duration::from_secs(60)).expect("later"));
    let loaded = Simulator::new(serde_json::from_str(&dump).expect("loaded"), clock.clone());
    assert_eq!(
        loaded.inspect(|datacenter| datacenter.guests[&100].lock.clone()),
        None
    );
    let client = Client::builder(
        "https://pve1:8006",
        ApiToken::new(TOKEN, "s3cr3t").expect("a token"),
        clock,
    )
    .transport(Arc::new(loaded))
    .build()
    .expect("a client");
    assert_eq!(
        client.task_state(&upid).await.expect("known"),
        TaskState::Succeeded { warnings: 0 }
    );
}

#[tokio::test]
async fn over_https_the_production_client_reads_texts_and_checks_the_certificate() {
    let clock = Clock::system();
    let mut data = datacenter();
    data.latencies = Latencies::INSTANT;
    let simulator = Simulator::new(data, clock.clone());
    let server = simulator.serve(0).await.expect("served");
    let client = |trust: TlsTrust, secret: &str| {
        Client::builder(
            server.url(),
            ApiToken::new(TOKEN, secret).expect("a token"),
            clock.clone(),
        )
        .trust(trust)
        .build()
        .expect("a client")
    };
    let pinned = client(TlsTrust::Fingerprints(vec![server.fingerprint()]), "s3cr3t");
    let error = pinned.vm_status("pve1", 104).await.expect_err("not there");
    assert_eq!(
        error.message(),
        "500 Configuration file 'nodes/pve1/qemu-server/104.conf' does not exist"
    );
    let image = vec![7; 3_000_000];
    done(
        &pinned,
        pinned
            .upload_iso("pve1", "local", "big.iso", &image)
            .await
            .expect("uploaded"),
    )
    .await;
    assert_eq!(
        pinned.volumes("pve1", "local", None).await.expect("listed")[0].size,
        Some(3_000_000)
    );
    for trust in [
        TlsTrust::Authorities(server.certificate_pem().into()),
        TlsTrust::danger_accept_any(),
    ] {
        assert_eq!(
            client(trust, "s3cr3t")
                .version()
                .await
                .expect("trusted")
                .release,
            "9.1"
        );
    }
    let error = client(TlsTrust::danger_accept_any(), "wrong")
        .version()
        .await
        .expect_err("a wrong secret");
    assert_eq!(
        (error.class(), error.message().as_str()),
        (ErrorClass::Authentication, "401 invalid token value!")
    );

    let other = Simulator::new(datacenter(), clock.clone())
        .serve(0)
        .await
        .expect("served");
    let wrong = [
        TlsTrust::Fingerprints(vec![other.fingerprint()]),
        TlsTrust::Authorities(other.certificate_pem().into()),
    ];
    for trust in wrong {
        let error = client(trust, "s3cr3t")
            .version()
            .await
            .expect_err("another certificate");
        assert_eq!(error.class(), ErrorClass::Untrusted, "{error}");
        assert!(!error.to_string().contains("s3cr3t"));
    }
    let error = client(TlsTrust::Fingerprints(vec![other.fingerprint()]), "s3cr3t")
        .version()
        .await
        .expect_err("another certificate");
    assert!(
        error
            .to_string()
            .contains(&server.fingerprint().to_string()),
        "it says which one it saw: {error}"
    );

    let url = server.url();
    drop(server);
    let gone = Client::builder(url, ApiToken::new(TOKEN, "s3cr3t").expect("a token"), clock)
        .trust(TlsTrust::danger_accept_any())
        .build()
        .expect("a client");
    let error = gone
        .start_vm("pve1", 104)
        .await
        .expect_err("nobody listens");
    assert!(
        matches!(
            &error,
            Error::Transport {
                source: TransportError::Connect { .. } | TransportError::Broken(_),
                ..
            }
        ),
        "{error}"
    );
}
