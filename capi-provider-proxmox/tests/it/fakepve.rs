//! The provider against fakepve, a fake that others wrote, in a process of its own. Nothing boots there.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use capi_core::clock::Clock;
use capi_core::provider::{Progress, Waker};
use capi_provider_proxmox::api::{Checks, ProxmoxMachineSpec};
use capi_provider_proxmox::client::{ApiToken, Client, ErrorClass, ResourceKind, TlsTrust};

use crate::harness::{SECRET, TOKEN, World, machine_spec};

/// Ends when its standard input does, that is with the test.
const SERVE: &str = r"
import asyncio, os, sys, tempfile, threading
from fakepve.certs import make_cert
from fakepve.server import FakePve

async def main():
    pve = FakePve(host='127.0.0.1', port=0)
    pve.time_scale = 0.02
    pve.apitokens[sys.argv[1]] = sys.argv[2]
    pve.add_vm(9000, 'template', node='pve1', template=True, config={
        'scsi0': 'local-lvm:base-9000-disk-0,size=10G', 'boot': 'order=scsi0;net0', 'agent': '1', 'memory': '2048',
        'cores': 1, 'net0': 'virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1', 'tags': 'template',
        'smbios1': 'uuid=11111111-1111-4111-8111-111111111111'})
    pve.add_vm(100, 'foreign', node='pve1', status='running', config={'memory': '512'})
    with tempfile.TemporaryDirectory() as folder:
        cert, key, _ = make_cert(folder, hosts=('127.0.0.1',))
        await pve.start(cert, key)
    print(pve.port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
";

struct Fake {
    child: Child,
    url: String,
}

impl Drop for Fake {
    fn drop(&mut self) {
        // It ends by itself with its input; this only makes it sooner.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve() -> Option<Fake> {
    let Some(python) = std::env::var_os("PYTHON") else {
        println!("skipped: PYTHON names no interpreter with fakepve[crypto]");
        return None;
    };
    let check = Command::new(&python)
        .args(["-c", "import fakepve, cryptography"])
        .output();
    if !check.is_ok_and(|output| output.status.success()) {
        println!("skipped: the interpreter that PYTHON names has no fakepve[crypto]");
        return None;
    }
    let mut child = Command::new(python)
        .args(["-c", SERVE, TOKEN, SECRET])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Python starts");
    let mut port = String::new();
    let stdout = child.stdout.take().expect("piped");
    BufReader::new(stdout)
        .read_line(&mut port)
        .expect("it tells its port");
    Some(Fake {
        child,
        url: format!("https://127.0.0.1:{}", port.trim()),
    })
}

#[tokio::test]
async fn the_provider_clones_configures_starts_and_deletes_on_fakepve() {
    let Some(fake) = tokio::task::spawn_blocking(serve).await.expect("it ends") else {
        return;
    };
    let clock = Clock::system();
    let world = World::through(None, &fake.url, SECRET, clock.clone());
    let token = ApiToken::new(TOKEN, SECRET).expect("a token");
    let client = Client::builder(&fake.url, token, clock)
        .trust(TlsTrust::danger_accept_any())
        .build()
        .expect("a client");
    let spec = ProxmoxMachineSpec {
        tags: vec!["team-a".into()],
        checks: Some(Checks {
            skip_cloud_init_status: Some(true),
            skip_qemu_guest_agent: Some(true),
        }),
        ..machine_spec()
    };
    let mut subject = world.subject("m0", spec);
    let run = tokio::time::timeout(Duration::from_secs(60), world.run(&mut subject)).await;
    run.expect("in time")
        .unwrap_or_else(|error| panic!("{}", error.full_message()));
    let vmid =
        u64::try_from(subject.object.spec.virtual_machine_id.expect("a number")).expect("positive");
    assert_ne!(vmid, 100);
    assert_eq!(
        client.vm_status("pve1", vmid).await.expect("there").status,
        "running"
    );
    let config = client.vm_config("pve1", vmid).await.expect("there");
    let uid = subject.object.metadata.uid.clone().expect("a uid");
    assert_eq!(config.get("smbios1"), Some(format!("uuid={uid}").as_str()));
    assert_eq!(
        (
            config.get("name"),
            config.get("cores"),
            config.get("memory")
        ),
        (Some("m0"), Some("4"), Some("4096"))
    );
    assert!(
        config
            .get("ide0")
            .expect("an image")
            .starts_with(&format!("local:iso/capi-{uid}-")),
        "{config:?}"
    );
    assert!(
        config
            .get("net0")
            .expect("a device")
            .contains("bridge=vmbr1,firewall=1"),
        "{config:?}"
    );
    let images = client
        .volumes("pve1", "local", Some("iso"))
        .await
        .expect("listed");
    assert_eq!(images.len(), 1, "{images:?}");

    world
        .destroy(&mut subject)
        .await
        .unwrap_or_else(|error| panic!("{}", error.full_message()));
    assert_eq!(
        client
            .vm_config("pve1", vmid)
            .await
            .expect_err("gone")
            .class(),
        ErrorClass::Gone
    );
    let left: Vec<_> = client
        .resources(ResourceKind::Guests)
        .await
        .expect("listed")
        .into_iter()
        .filter_map(|row| row.vmid)
        .collect();
    assert_eq!(left, [9000, 100]);
    assert_eq!(
        client
            .volumes("pve1", "local", Some("iso"))
            .await
            .expect("listed"),
        []
    );
}

#[tokio::test]
async fn where_no_guest_boots_the_condition_says_what_is_waited_for() {
    let Some(fake) = tokio::task::spawn_blocking(serve).await.expect("it ends") else {
        return;
    };
    let world = World::through(None, &fake.url, SECRET, Clock::system());
    let mut subject = world.subject("m0", machine_spec());
    let mut said = String::new();
    for _ in 0..200 {
        match world.step(&mut subject, Waker::noop()).await {
            Ok(Progress::Ready(_)) => panic!("nothing boots there"),
            Ok(Progress::Waiting(wait)) => said = wait.message,
            Err(error) => said = error.full_message(),
        }
        if said.contains("guest agent does not answer yet") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{said}");
}
