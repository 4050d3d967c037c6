//! The suite of bootstrap providers: calls of the trait, with secrets kept as a host keeps them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kube_core::Resource as _;
use secrecy::ExposeSecret;
use serde_json::Value;

use super::{
    EPOCH, Flaw, Options, Report, SecretEntries,
    direct::{CLUSTER, decoded, flaw, until, well_formed},
    ports::Ports,
};
use crate::{
    api::{
        ApiEndpoint, Bootstrap as MachineBootstrap, Cluster, ClusterSpec,
        ContractVersionedObjectReference, Machine, MachineSpec, labels,
    },
    clock::Clock,
    provider::{Bootstrap, BootstrapContext, BootstrapRole, ErrorClass, Progress},
};

/// What the suite makes bootstrap objects from.
#[derive(Clone, Debug)]
pub struct BootstrapOptions {
    /// `spec` of the object of a control plane machine; none where the provider makes workers only.
    pub control_plane: Option<Value>,
    /// `spec` of the object of a worker.
    pub worker: Value,
    /// A `spec` that is wrong, if there is such a one.
    pub invalid: Option<Value>,
    /// Secrets that the provider reads in the namespace `default`, by name.
    pub secrets: Vec<(String, SecretEntries)>,
}

/// How long data may take.
const PATIENCE: Duration = Duration::from_secs(600);

struct Bench<P: Bootstrap> {
    provider: P,
    clock: Clock,
    ports: Ports,
    cluster: Arc<Cluster>,
}

impl<P: Bootstrap> Bench<P> {
    fn new(provider: P, options: &BootstrapOptions) -> Self {
        let mut cluster = Cluster::new(
            CLUSTER,
            ClusterSpec {
                control_plane_endpoint: ApiEndpoint {
                    host: "127.0.0.1".to_owned(),
                    port: 6443,
                },
                ..ClusterSpec::default()
            },
        );
        cluster.metadata.namespace = Some("default".to_owned());
        cluster.metadata.uid = Some("00000000-0000-4000-8000-000000000000".to_owned());
        let mut common = Options::new(Vec::new());
        common.secrets.clone_from(&options.secrets);
        Self {
            provider,
            clock: Clock::following_tokio(EPOCH),
            ports: Ports::new(&common),
            cluster: Arc::new(cluster),
        }
    }

    fn context(
        &self,
        name: &str,
        role: BootstrapRole,
        spec: &Value,
    ) -> Result<BootstrapContext<P::Config>, Flaw> {
        let reference = ContractVersionedObjectReference {
            api_group: P::Config::group(&()).into_owned(),
            kind: P::Config::kind(&()).into_owned(),
            name: name.to_owned(),
        };
        let mut machine = Machine::new(
            name,
            MachineSpec {
                cluster_name: CLUSTER.to_owned(),
                version: Some("v1.33.0".to_owned()),
                bootstrap: MachineBootstrap {
                    config_ref: Some(reference),
                    ..MachineBootstrap::default()
                },
                ..MachineSpec::default()
            },
        );
        machine.metadata.namespace = Some("default".to_owned());
        let mut found = BTreeMap::from([(labels::CLUSTER_NAME.to_owned(), CLUSTER.to_owned())]);
        if role == BootstrapRole::ControlPlane {
            found.insert(labels::CONTROL_PLANE.to_owned(), String::new());
        }
        machine.metadata.labels = Some(found);
        let machine = Arc::new(machine);
        let control_plane_machines = match role {
            BootstrapRole::ControlPlane => vec![Arc::clone(&machine)],
            BootstrapRole::Worker => Vec::new(),
        };
        Ok(BootstrapContext {
            context: self.ports.context(&self.clock, name),
            cluster: Arc::clone(&self.cluster),
            machine,
            config: decoded::<P::Config>(name, spec)?,
            role,
            infrastructure: None,
            control_plane_machines,
        })
    }

    async fn data(&self, cx: &BootstrapContext<P::Config>) -> Result<Vec<u8>, Flaw> {
        let generate = || self.provider.generate(cx);
        let data = until(&self.clock, PATIENCE, generate).await?;
        let value = data.value.expose_secret().to_vec();
        if value.is_empty() {
            return Err("the data is empty".into());
        }
        Ok(value)
    }
}

/// Runs the suite on a bootstrap provider: `conformance::bootstrap(MyBootstrap::new, options).await`.
/// `provider` is called once for each check, and for each restart in it.
pub async fn bootstrap<P: Bootstrap>(
    provider: impl Fn() -> P,
    options: BootstrapOptions,
) -> Report {
    let mut report = Report::default();
    let bench = || Bench::new(provider(), &options);
    let roles: Vec<(BootstrapRole, &Value)> = options
        .control_plane
        .iter()
        .map(|spec| (BootstrapRole::ControlPlane, spec))
        .chain([(BootstrapRole::Worker, &options.worker)])
        .collect();

    let verdict = async {
        for (role, spec) in &roles {
            let bench = bench();
            let cx = bench.context("m1", *role, spec)?;
            bench.data(&cx).await?;
        }
        Ok(())
    };
    report.add(
        "a machine of each role gets data to boot with",
        verdict.await,
    );

    let verdict = async {
        for (role, spec) in &roles {
            let mut bench = bench();
            let cx = bench.context("m1", *role, spec)?;
            let first = bench.data(&cx).await?;
            bench.provider = provider();
            if bench.data(&cx).await? != first {
                return Err(format!("of a machine of role {role:?} it is other data").into());
            }
        }
        Ok(())
    };
    let rule = "after a restart the same machine gets the same data";
    report.add(rule, verdict.await);

    let verdict = async {
        let bench = bench();
        let (one, two) = (
            bench.context("m1", BootstrapRole::Worker, &options.worker)?,
            bench.context("m2", BootstrapRole::Worker, &options.worker)?,
        );
        let name = |cx| bench.provider.secret_name(cx);
        if name(&one) == name(&two) {
            return Err(format!("two machines share the Secret {}", name(&one)).into());
        }
        match provider().secret_name(&one) == name(&one) {
            true => Ok(()),
            false => Err(Flaw::Failed("a restart changes its name".to_owned())),
        }
    };
    let rule = "each machine has a Secret of its own, whose name never changes";
    report.add(rule, verdict.await);

    let verdict = async {
        for (role, spec) in &roles {
            let bench = bench();
            let cx = bench.context("m1", *role, spec)?;
            let before = bench.data(&cx).await?;
            for _ in 0..2 {
                until(&bench.clock, PATIENCE, || bench.provider.refresh(&cx)).await?;
            }
            if bench.data(&cx).await? != before {
                return Err(format!("of a machine of role {role:?} it changes").into());
            }
        }
        Ok(())
    };
    report.add("refreshing leaves the data as it is", verdict.await);

    let verdict = async {
        let Some(spec) = &options.invalid else {
            return Err(Flaw::Skipped("the options name no wrong spec"));
        };
        let bench = bench();
        let cx = bench.context("m1", BootstrapRole::Worker, spec)?;
        match bench.provider.generate(&cx).await {
            Err(error) if error.class() == ErrorClass::Invalid => {
                well_formed(error.reason(), &error.to_string())
            }
            Err(error) => Err(flaw(&error)),
            Ok(Progress::Ready(_)) => Err("there is data all the same".into()),
            Ok(Progress::Waiting(wait)) => Err(format!("it waits for {}", wait.on).into()),
        }
    };
    report.add("a wrong spec is invalid", verdict.await);
    report
}
