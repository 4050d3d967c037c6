//! Checks that call the trait directly.

use std::{future::Future, pin::Pin, sync::Arc, task::Poll, time::Duration};

use kube_core::Resource as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{Flaw, Identity, Interrupted, Outside, Setting, Verdict, ports::Ports};
use crate::{
    api::{Cluster, ClusterSpec, ContractVersionedObjectReference, Machine, MachineSpec, labels},
    provider::{
        Again, ClusterContext, ErrorClass, Identity as _, Infrastructure, MachineContext, Progress,
        ProviderError, ProviderKind, Recorded, Wait,
    },
};

type Machines<O> = MachineContext<
    <<O as Outside>::Provider as Infrastructure>::Cluster,
    <<O as Outside>::Provider as Infrastructure>::Machine,
>;

/// The cluster that all checks are about.
pub(super) const CLUSTER: &str = "conformance";

/// An object of a provider's kind, as an API server would hold it.
pub(super) fn object<K: ProviderKind>(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {
            "namespace": "default", "name": name,
            "labels": { labels::CLUSTER_NAME: CLUSTER, labels::CONTROL_PLANE: "" },
        },
        "spec": spec,
    })
}

pub(super) fn decoded<K: ProviderKind>(name: &str, spec: &Value) -> Result<Arc<K>, Flaw> {
    let mut object = object::<K>(name, spec);
    object["metadata"]["uid"] = json!(format!("00000000-0000-4000-8000-{:0>12}", hex(name)));
    object["metadata"]["generation"] = json!(1);
    Ok(Arc::new(read(object)?))
}

fn hex(name: &str) -> String {
    name.bytes()
        .map(|byte| format!("{byte:02x}"))
        .take(6)
        .collect()
}

fn read<K: DeserializeOwned>(object: Value) -> Result<K, Flaw> {
    let text = object.to_string();
    serde_json::from_value(object)
        .map_err(|error| Flaw::Failed(format!("the kind cannot read {text}: {error}")))
}

/// A provider's calls about one cluster.
struct Bench<O: Outside> {
    setting: Setting<O>,
    ports: Ports,
    provider: Arc<O::Provider>,
    cluster: ClusterContext<<O::Provider as Infrastructure>::Cluster>,
}

impl<O: Outside> Bench<O> {
    /// With the cluster's infrastructure up.
    async fn ready(setting: Setting<O>) -> Result<Self, Flaw> {
        let bench = Self::new(setting)?;
        let clock = &bench.setting.clock;
        let patience = bench.setting.options.patience;
        until(clock, patience, || {
            bench.provider.ensure_cluster(&bench.cluster)
        })
        .await?;
        Ok(bench)
    }

    fn new(setting: Setting<O>) -> Result<Self, Flaw> {
        type Kind<O> = <<O as Outside>::Provider as Infrastructure>::Cluster;
        let reference = ContractVersionedObjectReference {
            api_group: Kind::<O>::group(&()).into_owned(),
            kind: Kind::<O>::kind(&()).into_owned(),
            name: CLUSTER.to_owned(),
        };
        let mut cluster = Cluster::new(
            CLUSTER,
            ClusterSpec {
                infrastructure_ref: Some(reference),
                ..ClusterSpec::default()
            },
        );
        cluster.metadata.namespace = Some("default".to_owned());
        cluster.metadata.uid = Some("00000000-0000-4000-8000-000000000000".to_owned());
        let ports = Ports::new(&setting.options);
        let cx = ClusterContext {
            context: ports.context(&setting.clock, CLUSTER),
            cluster: Arc::new(cluster),
            infrastructure: decoded(CLUSTER, &setting.options.cluster)?,
        };
        Ok(Self {
            ports,
            provider: Arc::new(setting.outside.provider()),
            cluster: cx,
            setting,
        })
    }

    /// The same outside after a restart of the provider's process.
    fn restarted(mut self) -> Self {
        self.provider = Arc::new(self.setting.outside.provider());
        self
    }

    fn machine(&self, name: &str) -> Result<Machines<O>, Flaw> {
        self.machine_with(name, &self.setting.options.machine)
    }

    fn machine_with(&self, name: &str, spec: &Value) -> Result<Machines<O>, Flaw> {
        type Kind<O> = <<O as Outside>::Provider as Infrastructure>::Machine;
        let mut machine = Machine::new(
            name,
            MachineSpec {
                cluster_name: CLUSTER.to_owned(),
                version: Some("v1.33.0".to_owned()),
                infrastructure_ref: ContractVersionedObjectReference {
                    api_group: Kind::<O>::group(&()).into_owned(),
                    kind: Kind::<O>::kind(&()).into_owned(),
                    name: name.to_owned(),
                },
                ..MachineSpec::default()
            },
        );
        machine.metadata.namespace = Some("default".to_owned());
        machine.metadata.labels = Some(
            [(labels::CLUSTER_NAME, CLUSTER), (labels::CONTROL_PLANE, "")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        );
        Ok(MachineContext {
            context: self.ports.context(&self.setting.clock, name),
            cluster: Arc::clone(&self.cluster.cluster),
            infrastructure_cluster: Some(Arc::clone(&self.cluster.infrastructure)),
            machine: Some(Arc::new(machine)),
            infrastructure: decoded(name, spec)?,
            bootstrap_data: None,
            bootstrap_format: None,
        })
    }

    async fn until<T, F>(&self, call: impl FnMut() -> F) -> Result<T, Flaw>
    where
        F: Future<Output = Result<Progress<T>, ProviderError>>,
    {
        until(&self.setting.clock, self.setting.options.patience, call).await
    }

    /// Reserves, and writes the identity into the object as a host does.
    async fn reserve(&self, name: &str) -> Result<(Machines<O>, Recorded<Identity<O>>), Flaw> {
        let mut cx = self.machine(name)?;
        let identity = self.until(|| self.provider.reserve(&cx)).await?;
        let (spec, status) = self
            .provider
            .write_identity(&identity)
            .map_err(|error| flaw(&error))?;
        let mut object = serde_json::to_value(&*cx.infrastructure)
            .map_err(|error| Flaw::Failed(format!("the kind cannot be written: {error}")))?;
        for (field, value) in spec {
            object["spec"][field] = value;
        }
        object["spec"]["providerID"] = json!(identity.provider_id());
        for (field, value) in status {
            object["status"][field] = value;
        }
        cx.infrastructure = Arc::new(read(object)?);
        cx.bootstrap_data = Some(self.setting.options.bootstrap_data.clone().into());
        Ok((
            cx,
            Recorded {
                identity,
                was_ready: false,
            },
        ))
    }

    /// A machine that is up.
    async fn up(&self, name: &str) -> Result<(Machines<O>, Recorded<Identity<O>>), Flaw> {
        let (cx, mut recorded) = self.reserve(name).await?;
        self.until(|| self.provider.ensure(&cx, &recorded)).await?;
        recorded.was_ready = true;
        Ok((cx, recorded))
    }
}

pub(super) fn flaw(error: &ProviderError) -> Flaw {
    Flaw::Failed(format!(
        "{:?} error {}: {}",
        error.class(),
        error.reason(),
        error.full_message()
    ))
}

/// Calls until the goal is reached, waiting as the answers say.
pub(super) async fn until<T, F>(
    clock: &crate::clock::Clock,
    patience: Duration,
    mut call: impl FnMut() -> F,
) -> Result<T, Flaw>
where
    F: Future<Output = Result<Progress<T>, ProviderError>>,
{
    let started = clock.now();
    loop {
        let answer = tokio::select! {
            answer = call() => answer,
            () = clock.sleep(patience) => return Err("a call never returns".into()),
        };
        let pause = match answer {
            Ok(Progress::Ready(facts)) => return Ok(facts),
            Ok(Progress::Waiting(wait)) => {
                well_formed(&wait.reason, &wait.message)?;
                pause(&wait)
            }
            Err(error) => {
                well_formed(error.reason(), &error.to_string())?;
                if error.class() != ErrorClass::Transient {
                    return Err(flaw(&error));
                }
                error.wait_at_least().unwrap_or(LOOK)
            }
        };
        let waited = clock.now().duration_since(started);
        if Duration::try_from(waited).is_ok_and(|waited| waited > patience) {
            return Err("it is never done".into());
        }
        clock.sleep(pause.max(Duration::from_millis(1))).await;
    }
}

/// How long a provider that waits for an event of its own is left alone.
const LOOK: Duration = Duration::from_secs(1);

fn pause(wait: &Wait) -> Duration {
    match wait.again {
        Again::After(duration) => duration,
        Again::OnEvent => LOOK,
    }
}

/// Reasons are for programs, messages for people.
pub(super) fn well_formed(reason: &str, message: &str) -> Verdict {
    let camel = reason.starts_with(|first: char| first.is_ascii_uppercase())
        && reason.chars().all(|letter| letter.is_ascii_alphanumeric());
    if !camel {
        return Err(format!("the reason {reason:?} is not CamelCase").into());
    }
    if message.trim().is_empty() {
        return Err(format!("the reason {reason} comes without a message").into());
    }
    Ok(())
}

pub(super) async fn cluster_twice<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::new(setting)?;
    let call = || bench.provider.ensure_cluster(&bench.cluster);
    let first = bench.until(call).await?;
    let second = bench.until(call).await?;
    if first != second {
        return Err(
            format!("the second call says {second:?} where the first said {first:?}").into(),
        );
    }
    if first
        .control_plane_endpoint
        .is_some_and(|at| at.host.is_empty() || at.port == 0)
    {
        return Err("the control plane endpoint has no host or no port".into());
    }
    bench
        .until(|| bench.provider.destroy_cluster(&bench.cluster))
        .await?;
    bench
        .until(|| bench.provider.destroy_cluster(&bench.cluster))
        .await?;
    bench.until(call).await?;
    Ok(())
}

pub(super) async fn destroy_no_cluster<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::new(setting)?;
    bench
        .until(|| bench.provider.destroy_cluster(&bench.cluster))
        .await
}

pub(super) async fn reserve_is_pure<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    bench.reserve("m1").await?;
    bench.setting.expect_machines(&[], "after a reservation")?;
    // An answer that could not be written is forgotten; another may be chosen.
    let bench = bench.restarted();
    bench.up("m1").await?;
    Ok(())
}

pub(super) async fn reserve_two<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    let (one, two) = futures::join!(bench.reserve("m1"), bench.reserve("m2"));
    let (one, two) = (one?.1.identity, two?.1.identity);
    if one == two || one.provider_id() == two.provider_id() {
        return Err(format!("both are {}", one.provider_id()).into());
    }
    Ok(())
}

pub(super) async fn identity_round_trip<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    let new = bench.machine("m1")?;
    if let Some(identity) = bench
        .provider
        .read_identity(&new.infrastructure)
        .map_err(|error| flaw(&error))?
    {
        return Err(format!("an object without identity reads as {identity:?}").into());
    }
    let (cx, recorded) = bench.reserve("m1").await?;
    let found = bench
        .provider
        .read_identity(&cx.infrastructure)
        .map_err(|error| flaw(&error))?;
    if found.as_ref() != Some(&recorded.identity) {
        return Err(format!("{:?} was written and {found:?} is read", recorded.identity).into());
    }
    if !recorded.identity.provider_id().contains("://") {
        let id = recorded.identity.provider_id();
        return Err(format!("the providerID {id:?} is not <provider>://<id>").into());
    }
    Ok(())
}

pub(super) async fn ensure_twice<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    let (cx, recorded) = bench.reserve("m1").await?;
    let first = bench
        .until(|| bench.provider.ensure(&cx, &recorded))
        .await?;
    let ready = Recorded {
        was_ready: true,
        ..recorded
    };
    let second = bench.until(|| bench.provider.ensure(&cx, &ready)).await?;
    if first != second {
        return Err(
            format!("the second call says {second:?} where the first said {first:?}").into(),
        );
    }
    bench
        .setting
        .expect_machines(&[&ready.identity], "after two calls")
}

pub(super) async fn adopt_after_restart<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    let (cx, recorded) = bench.reserve("m1").await?;
    // Killed after the first answer, whatever it was.
    let first = bench.provider.ensure(&cx, &recorded).await;
    if let Err(error) = first
        && error.class() != ErrorClass::Transient
    {
        return Err(flaw(&error));
    }
    let bench = bench.restarted();
    bench
        .until(|| bench.provider.ensure(&cx, &recorded))
        .await?;
    bench
        .setting
        .expect_machines(&[&recorded.identity], "after a restart")
}

/// Drops what it is given once it was polled as often as is left.
struct Budget(usize);

impl Budget {
    async fn run<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let mut future: Pin<Box<dyn Future<Output = T>>> = Box::pin(future);
        std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => {
                self.0 -= 1;
                if self.0 == 0 {
                    Poll::Ready(None)
                } else {
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Drops `call` after so many awaits, restarts the provider, and calls until it is done.
async fn dropped<O, T>(
    bench: Bench<O>,
    after: usize,
    call: impl AsyncFn(Arc<O::Provider>) -> Result<Progress<T>, ProviderError>,
) -> Result<(Bench<O>, Interrupted), Flaw>
where
    O: Outside,
{
    let mut budget = Budget(after);
    let whole = budget
        .run(bench.until(|| call(Arc::clone(&bench.provider))))
        .await;
    let bench = bench.restarted();
    bench.until(|| call(Arc::clone(&bench.provider))).await?;
    Ok(match whole {
        Some(_) => (bench, Interrupted::Finished),
        None => (bench, Interrupted::Yes),
    })
}

pub(super) async fn ensure_dropped<O: Outside>(
    setting: Setting<O>,
    after: usize,
) -> Result<Interrupted, Flaw> {
    let bench = Bench::ready(setting).await?;
    let (cx, recorded) = bench.reserve("m1").await?;
    let ensure = async |provider: Arc<O::Provider>| provider.ensure(&cx, &recorded).await;
    let (bench, interrupted) = dropped(bench, after, ensure).await?;
    bench
        .setting
        .expect_machines(&[&recorded.identity], "after the second attempt")?;
    bench
        .until(|| bench.provider.destroy(&cx, &recorded))
        .await?;
    bench.setting.expect_machines(&[], "after its removal")?;
    Ok(interrupted)
}

pub(super) async fn destroy_dropped<O: Outside>(
    setting: Setting<O>,
    after: usize,
) -> Result<Interrupted, Flaw> {
    let bench = Bench::ready(setting).await?;
    let (cx, recorded) = bench.up("m1").await?;
    let destroy = async |provider: Arc<O::Provider>| provider.destroy(&cx, &recorded).await;
    let (bench, interrupted) = dropped(bench, after, destroy).await?;
    bench
        .setting
        .expect_machines(&[], "after the second attempt")?;
    Ok(interrupted)
}

pub(super) async fn destroy_twice<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    let (mut cx, recorded) = bench.up("m1").await?;
    // While deleting there may be no Machine and no cluster object any more.
    cx.machine = None;
    cx.bootstrap_data = None;
    bench
        .until(|| bench.provider.destroy(&cx, &recorded))
        .await?;
    bench.setting.expect_machines(&[], "after its removal")?;
    cx.infrastructure_cluster = None;
    bench
        .until(|| bench.provider.destroy(&cx, &recorded))
        .await?;
    bench.setting.expect_machines(&[], "after the second call")
}

pub(super) async fn destroy_nothing<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    let (mut cx, recorded) = bench.reserve("m1").await?;
    cx.bootstrap_data = None;
    bench
        .until(|| bench.provider.destroy(&cx, &recorded))
        .await?;
    bench.setting.expect_machines(&[], "after it")
}

pub(super) async fn destroy_one_of_two<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    let (cx, one) = bench.up("m1").await?;
    let (_, two) = bench.up("m2").await?;
    bench
        .setting
        .expect_machines(&[&one.identity, &two.identity], "after both came up")?;
    bench.until(|| bench.provider.destroy(&cx, &one)).await?;
    bench
        .setting
        .expect_machines(&[&two.identity], "after the first one's removal")
}

/// A machine that is ours in the records, and a stranger's outside.
async fn usurped<O: Outside>(
    bench: &Bench<O>,
) -> Result<(Machines<O>, Recorded<Identity<O>>, Vec<String>), Flaw> {
    let (cx, recorded) = bench.up("m1").await?;
    bench.setting.outside.vanish(&recorded.identity);
    if !bench.setting.outside.usurp(&recorded.identity) {
        return Err(Flaw::Skipped("ids are never used again"));
    }
    let there = existing(bench);
    if there.is_empty() {
        return Err("`usurp` says true and left no machine".into());
    }
    Ok((cx, recorded, there))
}

fn existing<O: Outside>(bench: &Bench<O>) -> Vec<String> {
    bench
        .setting
        .outside
        .machines()
        .iter()
        .map(|machine| machine.provider_id())
        .collect()
}

pub(super) async fn destroy_foreign<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    let (cx, recorded, there) = usurped(&bench).await?;
    let answer = bench.until(|| bench.provider.destroy(&cx, &recorded)).await;
    if existing(&bench) != there {
        return Err("it is gone".into());
    }
    // Refused, and harmless: ours is gone; both are right.
    match bench.provider.destroy(&cx, &recorded).await {
        Err(error) if error.class() != ErrorClass::Refused => Err(flaw(&error)),
        Ok(Progress::Waiting(_)) => answer,
        _ => Ok(()),
    }
}

pub(super) async fn ensure_foreign<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    let (cx, recorded, there) = usurped(&bench).await?;
    let answer = bench.until(|| bench.provider.ensure(&cx, &recorded)).await;
    if existing(&bench) != there {
        return Err("it was changed, or another was made beside it".into());
    }
    match answer {
        Ok(_) => Err("it is reported as ready".into()),
        Err(_) => match bench.provider.ensure(&cx, &recorded).await {
            Err(error) if matches!(error.class(), ErrorClass::Refused | ErrorClass::Terminal) => {
                Ok(())
            }
            Err(error) => Err(format!("it is neither refused nor terminal: {error}").into()),
            Ok(_) => Err("it is neither refused nor terminal".into()),
        },
    }
}

pub(super) async fn vanished<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    let (cx, recorded) = bench.up("m1").await?;
    bench.setting.outside.vanish(&recorded.identity);
    bench
        .setting
        .expect_machines(&[], "after it vanished (see `Outside::vanish`)")?;
    let bench = bench.restarted();
    match bench.provider.ensure(&cx, &recorded).await {
        Err(error) if error.class() == ErrorClass::Terminal => {
            well_formed(error.reason(), &error.to_string())?;
        }
        Err(error) => return Err(flaw(&error)),
        Ok(answer) => return Err(format!("the answer is {answer:?}").into()),
    }
    bench.setting.expect_machines(&[], "after the call")?;
    bench.until(|| bench.provider.destroy(&cx, &recorded)).await
}

pub(super) async fn vanished_early<O: Outside>(setting: Setting<O>) -> Verdict {
    let bench = Bench::ready(setting).await?;
    let (cx, recorded) = bench.up("m1").await?;
    let recorded = Recorded {
        was_ready: false,
        ..recorded
    };
    bench.setting.outside.vanish(&recorded.identity);
    let bench = bench.restarted();
    bench
        .until(|| bench.provider.ensure(&cx, &recorded))
        .await?;
    bench
        .setting
        .expect_machines(&[&recorded.identity], "after the call")
}

pub(super) async fn invalid<O: Outside>(setting: Setting<O>) -> Verdict {
    let Some(spec) = setting.options.invalid_machine.clone() else {
        return Err(Flaw::Skipped("the options name no wrong spec"));
    };
    let bench = Bench::ready(setting).await?;
    let mut cx = bench.machine_with("m1", &spec)?;
    let error = match bench.provider.reserve(&cx).await {
        Err(error) => error,
        Ok(Progress::Waiting(wait)) => {
            return Err(format!("it waits for {} instead", wait.on).into());
        }
        Ok(Progress::Ready(identity)) => {
            cx.bootstrap_data = Some(bench.setting.options.bootstrap_data.clone().into());
            let recorded = Recorded {
                identity,
                was_ready: false,
            };
            match bench.provider.ensure(&cx, &recorded).await {
                Err(error) => error,
                Ok(answer) => return Err(format!("the answer is {answer:?}").into()),
            }
        }
    };
    if error.class() != ErrorClass::Invalid {
        return Err(flaw(&error));
    }
    well_formed(error.reason(), &error.to_string())?;
    bench.setting.expect_machines(&[], "after it")
}
