//! The flags of `--example plane`, what it writes, and how it ends.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, PostParams};
use serde_json::{Value, json};

use crate::support::{Process, example};

const WIDGETS: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
";

fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(example("plane"));
    command
        .arg("--dir")
        .arg(directory)
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Runs it where it must end by itself; answers with what it said on standard error.
fn refused(directory: &Path, arguments: &[&str]) -> String {
    let output = command(directory, arguments).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// A plane that serves, and the two lines that it said.
fn serving(directory: &Path, arguments: &[&str]) -> (Process, Vec<String>) {
    let mut child = command(directory, arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let output = BufReader::new(child.stdout.take().expect("piped"));
    let process = Process(child);
    let lines = output.lines().take(2).collect::<Result<Vec<_>, _>>();
    (process, lines.expect("it says where it serves"))
}

async fn client(directory: &Path) -> kube::Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(directory.join("kubeconfig"));
    let kubeconfig = kubeconfig.expect("a kubeconfig");
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await;
    kube::Client::try_from(config.expect("a sound kubeconfig")).expect("a client")
}

fn audit(directory: &Path) -> Vec<Value> {
    let text = fs::read_to_string(directory.join("audit.jsonl")).expect("an audit log");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a record a line"))
        .collect()
}

/// Interrupts it as Ctrl-C does.
fn interrupted(mut process: Process) {
    process.signal("INT");
    let status = process.0.wait().expect("it is a child");
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn a_plane_keeps_its_kubeconfig_private_and_tells_of_each_request() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let directory = temporary.path().join("new/plane");
    // What an earlier run left for everybody to read.
    fs::create_dir_all(&directory).expect("a directory");
    let kubeconfig = directory.join("kubeconfig");
    fs::write(&kubeconfig, "old").expect("a file");
    fs::set_permissions(&kubeconfig, fs::Permissions::from_mode(0o644)).expect("its own file");

    let (process, lines) = serving(&directory, &["--no-default-crds"]);
    assert!(
        lines[0].starts_with("serving at https://127.0.0.1:"),
        "{lines:?}"
    );
    assert_eq!(lines[1], format!("KUBECONFIG={}", kubeconfig.display()));
    let mode = fs::metadata(&kubeconfig)
        .expect("a file")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(audit(&directory).is_empty(), "it is idle until it is asked");

    let client = client(&directory).await;
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let maps: Api<DynamicObject> = Api::default_namespaced_with(client, &kind);
    let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let sent = map.to_string().len();
    let map = serde_json::from_value(map).expect("an object");
    maps.create(&PostParams::default(), &map)
        .await
        .expect("it is new");
    maps.get("absent").await.expect_err("there is none");
    let records = audit(&directory);
    let [created, absent] = records.as_slice() else {
        panic!("{records:#?}");
    };
    for (field, expected) in [
        ("verb", json!("create")),
        ("resource", json!("configmaps")),
        ("namespace", json!("default")),
        ("code", json!(201)),
        ("user", json!("system:admin")),
    ] {
        assert_eq!(created[field], expected, "{field}: {created}");
    }
    assert!(
        created["requestBytes"].as_u64() >= Some(sent as u64),
        "{created}"
    );
    assert!(
        created["responseBytes"].as_u64() > created["requestBytes"].as_u64(),
        "{created}"
    );
    let agent = created["userAgent"].as_str();
    assert!(agent.is_some(), "{created}");
    for (field, expected) in [
        ("verb", json!("get")),
        ("name", json!("absent")),
        ("code", json!(404)),
    ] {
        assert_eq!(absent[field], expected, "{field}: {absent}");
    }
    interrupted(process);
}

#[test]
fn a_plane_listens_where_it_is_told_and_nowhere_that_others_reach() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    // Held by us, so that it surely is in use.
    let taken = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let directory = temporary.path().join("taken");
    let said = refused(&directory, &["--no-default-crds", "--listen", &address]);
    assert!(
        said.contains(&format!("cannot listen on {address}: ")),
        "{said}"
    );
    assert!(said.contains("in use"), "{said}");
    assert!(!directory.join("kubeconfig").exists());

    drop(taken);
    let (process, lines) = serving(&directory, &["--no-default-crds", "--listen", &address]);
    assert_eq!(lines[0], format!("serving at https://{address}"));
    interrupted(process);

    let directory = temporary.path().join("open");
    let said = refused(&directory, &["--no-default-crds", "--listen", "0.0.0.0:0"]);
    assert!(
        said.contains("0.0.0.0:0 is not a loopback address"),
        "{said}"
    );
    assert!(!directory.join("kubeconfig").exists());
}

#[tokio::test]
async fn a_plane_serves_the_definitions_of_files_and_says_which_file_is_wrong() {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str, text: &str| {
        let path = temporary.path().join(name);
        fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let gadgets = WIDGETS
        .replace("widget", "gadget")
        .replace("Widget", "Gadget");
    let cogs = WIDGETS.replace("widget", "cog").replace("Widget", "Cog");
    let both = file("both.yaml", &format!("# two\n---{WIDGETS}---{gadgets}"));
    let yaml: Value = serde_saphyr::from_str(&cogs).expect("YAML");
    let json = file("cogs.json", &yaml.to_string());
    let directory = temporary.path().join("plane");
    let (process, _) = serving(&directory, &["--no-default-crds", "--crds", &both, &json]);
    let request = http::Request::get("/apis/example.com/v1").body(Vec::new());
    let served: Value = client(&directory)
        .await
        .request(request.expect("a path"))
        .await
        .expect("the group is served");
    let mut names: Vec<&str> = served["resources"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|resource| resource["name"].as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["cogs", "gadgets", "widgets"]);
    interrupted(process);

    let scope = file("scope.yaml", &WIDGETS.replace("Namespaced", "Nowhere"));
    let broken = file("broken.yaml", "apiVersion: [v1\n");
    let absent = temporary.path().join("absent.yaml").display().to_string();
    for (path, why) in [
        (&scope, "spec.scope"),
        (&broken, "initial object 0"),
        (&absent, "No such file"),
    ] {
        let said = refused(&directory, &["--no-default-crds", "--crds", &both, path]);
        assert!(said.starts_with(&format!("plane: {path}: ")), "{said}");
        assert!(said.contains(why), "{said}");
    }
}

#[test]
fn a_plane_explains_its_flags_and_refuses_others() {
    let run = |arguments: &[&str]| -> Output {
        Command::new(example("plane"))
            .args(arguments)
            .output()
            .expect("it runs")
    };
    let help = run(&["--help"]);
    assert!(help.status.success());
    let text = String::from_utf8_lossy(&help.stdout).into_owned();
    for flag in [
        "--dir",
        "--listen",
        "--allow-any-address",
        "--crds",
        "--no-default-crds",
    ] {
        assert!(text.contains(flag), "{flag}: {text}");
    }
    for (arguments, why) in [
        (&["--dir", "d", "--lisen", "x"][..], "'--lisen'"),
        (&[][..], "--dir <DIR>"),
        (&["--dir", "d", "--listen", "here"][..], "'here'"),
    ] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
}
