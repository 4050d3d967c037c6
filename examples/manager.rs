//! The controllers of Cluster API against a cluster, as a Deployment would run them.
//!
//! ```text
//! cargo run --example manager -- --kubeconfig F --install-crds --reference
//! cargo run --example manager -- --print-cluster demo --control-planes 1 --workers 3 | kubectl apply -f -
//! ```

use std::{error::Error, path::PathBuf, sync::Arc, time::Duration};

use capi_core::{
    clock::Clock,
    controllers,
    runtime::{
        Controller, LeaseConfig, Manager, PolicyRule, ResourceType, cluster_role,
        custom_resource_definitions,
    },
    testing::reference::{
        self, ClusterShape, Datacenter, ReferenceBootstrap, ReferenceControlPlaneProvider,
        ReferenceInfrastructure, Settings,
    },
};
use clap::Parser;
use serde_json::{Value, json};

/// Run Cluster API's controllers.
#[derive(Parser)]
struct Arguments {
    /// The management cluster; the usual places when not given.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Controllers to run, by name; all when not given.
    #[arg(long, value_delimiter = ',')]
    controllers: Vec<String>,
    /// Only this namespace.
    #[arg(long)]
    namespace: Option<String>,
    /// Only objects with this value of the label cluster.x-k8s.io/watch-filter.
    #[arg(long)]
    watch_filter: Option<String>,
    /// Work only while holding the Lease controller-leader-election-capi of this namespace.
    #[arg(long, value_name = "NAMESPACE")]
    leader_elect: Option<String>,
    /// Who this manager is, in the Lease and as User-Agent; manager_<process id> when not given.
    #[arg(long)]
    identity: Option<String>,
    /// Seconds that others wait after the last renewal of the Lease that they saw.
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0)]
    leader_elect_lease_duration: f64,
    /// Seconds without a renewal after which this manager gives up.
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    leader_elect_renew_deadline: f64,
    /// Seconds between two attempts to have or renew the Lease.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0)]
    leader_elect_retry_period: f64,
    /// Mount the reference providers, whose machines are records.
    #[arg(long)]
    reference: bool,
    /// Where the reference machines live, a file each; in memory when not given.
    #[arg(long, value_name = "DIR")]
    inventory: Option<PathBuf>,
    /// Install the CustomResourceDefinitions before starting.
    #[arg(long)]
    install_crds: bool,
    /// Print the CustomResourceDefinitions and end.
    #[arg(long)]
    print_crds: bool,
    /// Print ClusterRoles with exactly the verbs that are used, and end.
    #[arg(long)]
    print_rbac: bool,
    /// Print a Deployment that runs these controllers, and end.
    #[arg(long)]
    print_deployment: bool,
    /// Print the objects of a cluster of reference kinds, and end.
    #[arg(long, value_name = "NAME")]
    print_cluster: Option<String>,
    /// Control plane machines of the printed cluster.
    #[arg(long, default_value_t = 1)]
    control_planes: i32,
    /// Workers of the printed cluster.
    #[arg(long, default_value_t = 3)]
    workers: i32,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    capi_examples::output::end_quietly_unread();
    let arguments = Arguments::parse();
    if let Some(name) = &arguments.print_cluster {
        let shape = ClusterShape::new(name, arguments.control_planes, arguments.workers);
        return print(&reference::manifest(&shape));
    }
    // A real API server cannot convert without a webhook: it gets the stored versions only.
    let crds: Vec<Value> = capi_core::api::crds()
        .into_iter()
        .map(capi_core::api::stored_version_only)
        .chain(reference::crds())
        .collect();
    if arguments.print_crds {
        return print(&crds);
    }
    let clock = Clock::system();
    let datacenter = match &arguments.inventory {
        Some(directory) => Datacenter::open(clock, Settings::default(), directory)?,
        None => Datacenter::new(clock, Settings::default()),
    };
    let controllers = chosen(&arguments, &datacenter)?;
    if arguments.print_rbac {
        return print(&cluster_roles(&arguments, &controllers));
    }
    if arguments.print_deployment {
        return print(&[deployment(&arguments, &controllers)]);
    }

    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_writer(std::io::stderr)
        .init();
    let mut config = match &arguments.kubeconfig {
        Some(file) => {
            let kubeconfig = kube::config::Kubeconfig::read_from(file)?;
            kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await?
        }
        None => kube::Config::infer().await?,
    };
    let identity = arguments
        .identity
        .clone()
        .unwrap_or_else(|| format!("manager_{}", std::process::id()));
    let agent = http::HeaderValue::from_str(&identity)?;
    config.headers.push((http::header::USER_AGENT, agent));
    let client = kube::Client::try_from(config)?;
    let mut builder = Manager::builder(client)
        .controllers(controllers)
        .connector(datacenter.connector());
    if let Some(namespace) = arguments.namespace {
        builder = builder.namespace(namespace);
    }
    if let Some(filter) = arguments.watch_filter {
        builder = builder.watch_filter(filter);
    }
    if let Some(namespace) = arguments.leader_elect {
        let seconds = Duration::try_from_secs_f64;
        builder = builder.leader_election(LeaseConfig {
            lease_duration: seconds(arguments.leader_elect_lease_duration)?,
            renew_deadline: seconds(arguments.leader_elect_renew_deadline)?,
            retry_period: seconds(arguments.leader_elect_retry_period)?,
            ..LeaseConfig::new(namespace, identity)
        });
    }
    let manager = builder.build();
    if arguments.install_crds {
        let kind = custom_resource_definitions();
        for crd in &crds {
            let name = crd["metadata"]["name"].as_str().unwrap_or_default();
            let key = capi_core::runtime::ObjectKey::new("", name);
            manager
                .runtime()
                .writer()
                .apply(&kind, &key, "capi-manager", crd)
                .await?;
        }
        eprintln!("installed {} CustomResourceDefinitions", crds.len());
    }
    manager
        .run(async {
            // Without a handler for Ctrl-C the process just runs until it is killed.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        })
        .await?;
    Ok(())
}

/// The controllers that the arguments ask for.
fn chosen(
    arguments: &Arguments,
    datacenter: &Datacenter,
) -> Result<Vec<Arc<dyn Controller>>, Box<dyn Error>> {
    let mut all = controllers::core();
    if arguments.reference {
        all.extend(controllers::infrastructure(ReferenceInfrastructure::new(
            datacenter.clone(),
        )));
        all.extend(controllers::bootstrap(ReferenceBootstrap));
        all.extend(controllers::control_plane(
            ReferenceControlPlaneProvider::new(datacenter.clone()),
        ));
    }
    if arguments.controllers.is_empty() {
        return Ok(all);
    }
    let names: Vec<String> = all
        .iter()
        .map(|controller| controller.name().to_owned())
        .collect();
    if let Some(unknown) = arguments
        .controllers
        .iter()
        .find(|name| !names.contains(name))
    {
        return Err(format!("no controller {unknown}; there are {}", names.join(", ")).into());
    }
    all.retain(|controller| {
        arguments
            .controllers
            .iter()
            .any(|name| name == controller.name())
    });
    Ok(all)
}

/// ClusterRoles of what the controllers use: their own, and what those of the core do to the kinds
/// of mounted providers, which any manager of the core gets by the label.
fn cluster_roles(arguments: &Arguments, controllers: &[Arc<dyn Controller>]) -> Vec<Value> {
    let mut own: Vec<PolicyRule> = controllers.iter().flat_map(|c| c.rbac()).collect();
    if arguments.leader_elect.is_some() {
        own.extend(LeaseConfig::rbac());
    }
    let of_core: Vec<PolicyRule> = controllers.iter().flat_map(|c| c.rbac_of_core()).collect();
    let mut roles = vec![cluster_role("capi-manager", own)];
    if !of_core.is_empty() {
        let mut role = cluster_role("capi-manager-providers", of_core);
        role["metadata"]["labels"] = json!({ "cluster.x-k8s.io/aggregate-to-manager": "true" });
        roles.push(role);
    }
    roles
}

/// A Deployment that runs the controllers; the image is for whoever builds one.
fn deployment(arguments: &Arguments, controllers: &[Arc<dyn Controller>]) -> Value {
    let names: Vec<&str> = controllers
        .iter()
        .map(|controller| controller.name())
        .collect();
    let lease = arguments.leader_elect.as_deref().unwrap_or("capi-system");
    let mut given = vec![
        format!("--controllers={}", names.join(",")),
        format!("--leader-elect={lease}"),
    ];
    if arguments.reference {
        given.push("--reference".to_owned());
    }
    if let Some(directory) = &arguments.inventory {
        given.push(format!("--inventory={}", directory.display()));
    }
    if let Some(namespace) = &arguments.namespace {
        given.push(format!("--namespace={namespace}"));
    }
    if let Some(value) = &arguments.watch_filter {
        given.push(format!("--watch-filter={value}"));
    }
    let labels = json!({ "app": "capi-manager" });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "namespace": "capi-system", "name": "capi-manager", "labels": labels },
        "spec": {
            "replicas": 1,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "serviceAccountName": "capi-manager",
                    "containers": [{
                        "name": "manager",
                        "image": "capi-manager",
                        "args": given,
                    }],
                },
            },
        },
    })
}

/// Prints objects as a List in JSON, which `kubectl apply -f -` takes.
fn print(objects: &[Value]) -> Result<(), Box<dyn Error>> {
    let kind = ResourceType::new("", "v1", "List", "lists", false);
    let list = json!({ "apiVersion": kind.api_version(), "kind": kind.kind(), "items": objects });
    println!("{}", serde_json::to_string_pretty(&list)?);
    Ok(())
}
