//! A datacenter that is another process, entered by URL, token and fingerprint as a real one is.

use std::path::Path;

use serde_json::Value;

use capi_core::clock::Clock;
use capi_examples::lab::{Lab, LabOptions, TOKEN};

use crate::harness::{Ended, Running, quickstart, start};

/// A simulated datacenter in a process of its own.
struct Datacenter {
    directory: tempfile::TempDir,
    _simulators: Running,
    url: String,
    token: String,
    fingerprint: String,
}

impl Datacenter {
    fn open() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = directory.path().join("simulators");
        let mut command = quickstart(["--only", "simulators", "--dir"]);
        command.arg(&state);
        let mut simulators = start(command);
        simulators.until("serving at ");
        let path = state.join("nodes.json");
        while !path.exists() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let told: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let of = |wanted: &str| {
            let pairs = told["credentials"].as_array().unwrap();
            let pair = pairs.iter().find(|pair| pair[0] == wanted).unwrap();
            pair[1].as_str().unwrap().to_owned()
        };
        Self {
            url: of("url"),
            token: format!("{}={}", of("token"), of("secret")),
            fingerprint: of("fingerprint"),
            directory,
            _simulators: simulators,
        }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, more: &[&str]) -> std::process::Command {
        let manifest = self.path().join("mine.yaml");
        std::fs::write(&manifest, include_str!("../../quickstart/cluster.yaml")).unwrap();
        let mut command = quickstart(["--proxmox-url", &self.url, "--dir"]);
        command.arg(self.path().join("state")).arg("--manifest");
        command.arg(manifest).arg("--routes");
        command.arg(self.path().join("simulators/nodes.json"));
        command.args(more);
        command
    }

    fn run(&self, more: &[&str]) -> Ended {
        start(self.known(more)).end()
    }

    fn known(&self, more: &[&str]) -> std::process::Command {
        let mut command = self.command(more);
        command.args(["--proxmox-token", &self.token]);
        command.args(["--fingerprint", &self.fingerprint]);
        command
    }
}

#[test]
fn a_datacenter_that_does_not_let_us_in_is_said_by_option() {
    let datacenter = Datacenter::open();
    let other = "00:".repeat(31) + "00";
    let wrong = format!("{}x", datacenter.token);
    for (arguments, expected) in [
        (
            [
                "--proxmox-token",
                &*datacenter.token,
                "--fingerprint",
                &*other,
            ],
            ["--fingerprint", "is not trusted"],
        ),
        (
            [
                "--proxmox-token",
                &*wrong,
                "--fingerprint",
                &*datacenter.fingerprint,
            ],
            ["--proxmox-token", "401"],
        ),
    ] {
        let ended = start(datacenter.command(&arguments)).end();
        assert!(!ended.status.success(), "{}", ended.output);
        for text in expected {
            assert!(ended.errors.contains(text), "{text}: {}", ended.errors);
        }
        assert!(!ended.errors.contains(&*wrong), "the token is in a message");
    }
    let mut nobody = quickstart(["--proxmox-url", "https://127.0.0.1:1", "--dir"]);
    nobody.arg(datacenter.path().join("nobody"));
    nobody
        .arg("--manifest")
        .arg(datacenter.path().join("mine.yaml"));
    nobody.args(["--proxmox-token", &datacenter.token]);
    nobody.args(["--fingerprint", &datacenter.fingerprint]);
    let ended = start(nobody).end();
    assert!(!ended.status.success());
    let expected = "--proxmox-url https://127.0.0.1:1: ";
    assert!(ended.errors.contains(expected), "{}", ended.errors);
}

/// What an administrator gave the token, but for what makes the machines' virtual network and memory.
fn privileges() -> std::collections::BTreeSet<String> {
    [
        "Datastore.Allocate",
        "Datastore.AllocateSpace",
        "Datastore.AllocateTemplate",
        "Datastore.Audit",
        "Sys.Audit",
        "VM.Allocate",
        "VM.Audit",
        "VM.Clone",
        "VM.Config.CDROM",
        "VM.Config.CPU",
        "VM.Config.Cloudinit",
        "VM.Config.Disk",
        "VM.Config.HWType",
        "VM.Config.Network",
        "VM.Config.Options",
        "VM.GuestAgent.Audit",
        "VM.PowerMgmt",
    ]
    .map(str::to_owned)
    .into()
}

#[test]
fn a_privilege_that_is_missing_is_said_with_its_place_and_how_to_grant_it() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let options = LabOptions {
        nodes: ["pve1", "pve2", "pve3"].map(str::to_owned).to_vec(),
        templates: vec![9000],
        speed: 20.0,
        port: 0,
        secret: "5ecr3t-0f-the-t0ken".to_owned(),
    };
    let lab = runtime
        .block_on(Lab::open(options, Clock::system()))
        .unwrap();
    lab.proxmox.change(|datacenter| {
        let token = datacenter.tokens.get_mut(TOKEN).unwrap();
        token.privileges = Some([("/".to_owned(), privileges())].into());
    });
    let directory = tempfile::tempdir().unwrap();
    let token = format!("{TOKEN}=5ecr3t-0f-the-t0ken");
    let url = lab.url();
    let fingerprint = lab.fingerprint();
    let mut command = quickstart([
        "--yes",
        "--proxmox-url",
        &*url,
        "--proxmox-token",
        &*token,
        "--fingerprint",
        &*fingerprint,
        "--dir",
    ]);
    command.arg(directory.path().join("state"));
    let manifest = directory.path().join("mine.yaml");
    std::fs::write(&manifest, include_str!("../../quickstart/cluster.yaml")).unwrap();
    command.arg("--manifest").arg(manifest);
    let ended = start(command).end();
    assert!(!ended.status.success(), "{}", ended.output);
    for text in [
        "nothing was made",
        "the API token lacks the privilege VM.Config.Memory on /vms",
        "the API token lacks the privilege SDN.Use on /sdn/zones/localnetwork/vmbr0",
        "to grant: pveum role add capi-vms --privs 'VM.Config.Memory'",
        "to grant: pveum acl modify /vms --roles capi-vms --users 'capi@pve' --tokens 'capi@pve!manager'",
    ] {
        assert!(ended.errors.contains(text), "{text}: {}", ended.errors);
    }
    assert!(!ended.errors.contains("5ecr3t"), "{}", ended.errors);
    let made = lab.proxmox.log();
    let made = made.iter().filter(|call| call.method != http::Method::GET);
    assert_eq!(made.count(), 0, "nothing was changed");
}

#[test]
fn a_run_is_planned_interrupted_and_cleaned_up() {
    let datacenter = Datacenter::open();
    let plan = datacenter.run(&[]).well().output;
    for text in [
        "the datacenter is REAL",
        "to make: 3 virtual machines first-control-plane-*: clones of template 9000",
        "to make: 3 virtual machines first-workers-*",
        "10.10.10.2:6443",
        "nothing was made; --yes makes it",
    ] {
        assert!(plan.contains(text), "{text}: {plan}");
    }
    let nothing = datacenter.run(&["--cleanup"]).well().output;
    assert!(nothing.contains("nothing bears the marker"), "{nothing}");

    let mut running = start(datacenter.known(&["--yes"]));
    running.until("ProxmoxMachine/first-control-plane-");
    running.until("WaitingForVMPowerUp");
    running.signal("INT");
    let ended = running.end();
    assert!(!ended.status.success());
    for text in [
        "what remains in the datacenter:",
        "first-control-plane-",
        "--cleanup --yes removes it",
    ] {
        assert!(ended.output.contains(text), "{text}: {}", ended.output);
    }

    // The second run knows what is there, by its own state and by the marker.
    let again = datacenter.run(&[]).well().output;
    for text in [
        "objects of an earlier run are taken up again",
        "there: virtual machine 101 first-",
    ] {
        assert!(again.contains(text), "{text}: {again}");
    }

    let up = datacenter.run(&["--yes", "--keep"]).well().output;
    assert!(up.contains("the cluster is up"), "{up}");
    assert!(up.contains("virtual machine 106"), "six machines: {up}");
    assert!(
        !up.contains("virtual machine 107"),
        "and not one more: {up}"
    );

    let cleaned = datacenter.run(&["--cleanup", "--yes"]).well().output;
    assert!(cleaned.contains("removed 101"), "{cleaned}");
    assert!(
        cleaned.contains("nothing of the cluster is left"),
        "{cleaned}"
    );
    let fresh = datacenter.run(&[]).well().output;
    assert!(fresh.contains("to make: 3 virtual machines first-control-plane-*"));
    assert!(!fresh.contains("there: virtual machine"), "{fresh}");
    let held = std::fs::read(datacenter.path().join("simulators/pve.json")).unwrap();
    let held: Value = serde_json::from_slice(&held).unwrap();
    assert!(
        held["guests"]["100"].is_object(),
        "the foreign one is there"
    );
}
