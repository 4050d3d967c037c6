//! The usual Python client drives the simulator over HTTPS.

use std::process::Command;

use capi_core::clock::Clock;
use capi_provider_proxmox::iso::NoCloud;
use capi_provider_proxmox::simulator::{Datacenter, Latencies, Simulator};

const DRIVE: &str = r#"
import sys, time
import urllib3
from proxmoxer import ProxmoxAPI
from proxmoxer.core import AuthenticationError, ResourceException

urllib3.disable_warnings()
port, image = int(sys.argv[1]), sys.argv[2]

def connect(secret):
    return ProxmoxAPI("127.0.0.1", port=port, user="capi@pve", token_name="manager", token_value=secret, verify_ssl=False)

pve = connect("s3cr3t")

def wait(upid):
    node = upid.split(":")[1]
    for _ in range(200):
        status = pve.nodes(node).tasks(upid).status.get()
        if status["status"] == "stopped":
            assert status["exitstatus"] == "OK", status
            return
        time.sleep(0.02)
    raise AssertionError(upid + " does not end")

def refused(call, code, text):
    try:
        call()
    except ResourceException as error:
        assert error.status_code == code and text in str(error), str(error)
    else:
        raise AssertionError("expected " + text)

assert pve.version.get()["release"] == "9.1"
assert [row["node"] for row in pve.nodes.get()] == ["pve1", "pve2", "pve3"]
node = pve.nodes("pve1")
vmid = int(pve.cluster.nextid.get())
assert vmid == 100
wait(node.qemu(9000).clone.post(newid=vmid, name="from-python", full=1))
vm = node.qemu(vmid)
config = vm.config.get()
assert config["name"] == "from-python" and len(config["digest"]) == 40, config
vm.config.put(cores=4, memory=4096, tags="a;b", digest=config["digest"])
wait(vm.config.post(description="from Python"))
wait(vm.resize.put(disk="scsi0", size="20G"))
config = vm.config.get()
assert config["cores"] == 4 and config["tags"] == "a;b" and "size=20G" in config["scsi0"], config
with open(image, "rb") as handle:
    wait(node.storage("local").upload.post(content="iso", filename=handle))
volumes = node.storage("local").content.get(content="iso")
assert [volume["volid"] for volume in volumes] == ["local:iso/" + image.split("/")[-1]], volumes
vm.config.put(ide0=volumes[0]["volid"] + ",media=cdrom", boot="order=scsi0;net0;ide0")
wait(vm.status.start.post())
assert vm.status.current.get()["status"] == "running"
assert vm.agent("get-osinfo").get()["result"]["id"] == "linux"
addresses = [a["ip-address"] for i in vm.agent("network-get-interfaces").get()["result"] for a in i["ip-addresses"]]
assert "127.0.0.1" in addresses, addresses
refused(vm.delete, 500, "VM 100 is running - destroy failed")
refused(lambda: vm.config.put(corse=1), 400, "property is not defined in schema")
refused(lambda: node.qemu(9000).clone.post(newid=vmid), 500, "already exists")
wait(vm.status.stop.post())
wait(vm.delete(purge=1))
refused(vm.config.get, 500, "Configuration file 'nodes/pve1/qemu-server/100.conf' does not exist")
wait(node.storage("local").content(volumes[0]["volid"]).delete())
assert node.storage("local").content.get(content="iso") == []
try:
    connect("wrong").version.get()
except (ResourceException, AuthenticationError) as error:
    assert "401" in str(error), str(error)
else:
    raise AssertionError("a wrong secret is accepted")
print("done")
"#;

#[tokio::test]
async fn proxmoxer_clones_configures_uploads_starts_stops_and_deletes() {
    let Some(python) = std::env::var_os("PYTHON") else {
        println!("skipped: PYTHON names no interpreter with proxmoxer and requests");
        return;
    };
    if !Command::new(&python)
        .args(["-c", "import proxmoxer, requests"])
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("skipped: the interpreter that PYTHON names has no proxmoxer and requests");
        return;
    }
    let mut datacenter = Datacenter::example(3, 1);
    datacenter.add_token("capi@pve!manager", "s3cr3t");
    datacenter.latencies = Latencies::INSTANT;
    let simulator = Simulator::new(datacenter, Clock::system());
    let server = simulator.serve(0).await.expect("served");
    let directory = tempfile::tempdir().expect("a directory");
    let image = directory.path().join("seed.iso");
    let volume = NoCloud {
        user_data: b"version: v1alpha1\n".to_vec(),
        meta_data: "instance-id: x\n".into(),
        ..NoCloud::default()
    };
    std::fs::write(&image, volume.image().expect("an image")).expect("written");
    let port = server.address().port().to_string();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(python)
            .args(["-c", DRIVE, &port])
            .arg(&image)
            .env("NO_PROXY", "*")
            .output()
            .expect("Python starts")
    })
    .await
    .expect("it ends");
    assert!(
        output.status.success(),
        "{}\n{:#?}",
        String::from_utf8_lossy(&output.stderr),
        simulator.log().last()
    );
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "done");
    assert_eq!(simulator.inspect(|datacenter| datacenter.guests.len()), 3);
}
