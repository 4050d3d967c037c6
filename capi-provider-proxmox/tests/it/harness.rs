//! Drives the provider as the SDK does: identity first and written down, then `ensure` until it is ready.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use capi_core::api::{Cluster, ContractVersionedObjectReference, InClusterIPPool, Machine};
use capi_core::clock::Clock;
use capi_core::provider::{
    AddressFacts, AddressRequest, Addresses, Again, ClusterContext, Context, ErrorClass,
    Infrastructure, MachineContext, MachineFacts, NamedSecret, Objects, Progress, ProviderError,
    Recorded, SecretRequest, Secrets, Slots, Waker,
};
use capi_provider_proxmox::api::{
    Checks, IpConfig, MetadataSettings, NetworkDevice, NetworkSpec, ProxmoxCluster,
    ProxmoxClusterSpec, ProxmoxMachine, ProxmoxMachineSpec,
};
use capi_provider_proxmox::client::{ApiToken, Client, TlsTrust, Transport};
use capi_provider_proxmox::provider::{Credentials, ProxmoxIdentity, ProxmoxProvider};
use capi_provider_proxmox::simulator::{Datacenter, Simulator};
use serde_json::{Value, json};

pub(crate) const TOKEN: &str = "capi@pve!manager";
pub(crate) const SECRET: &str = "5ecr3t-0f-the-t0ken";

/// What the management cluster holds.
#[derive(Default)]
pub(crate) struct Plane {
    pub(crate) secrets: Mutex<BTreeMap<String, NamedSecret>>,
    pub(crate) pools: Mutex<BTreeMap<String, InClusterIPPool>>,
    pub(crate) claims: Mutex<BTreeMap<String, IpAddr>>,
    /// Claims are not answered while this is set.
    pub(crate) exhausted: Mutex<bool>,
    slots: Mutex<HashMap<(String, String), String>>,
}

/// The plane as one object sees it.
struct View {
    plane: Arc<Plane>,
    owner: String,
}

#[async_trait]
impl Secrets for View {
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<NamedSecret>, ProviderError> {
        Ok(self
            .plane
            .secrets
            .lock()
            .expect("not poisoned")
            .get(&format!("{namespace}/{name}"))
            .cloned())
    }

    async fn create(&self, _request: SecretRequest) -> Result<NamedSecret, ProviderError> {
        Err(ProviderError::refused(
            "Unexpected",
            "an infrastructure provider writes no secrets",
        ))
    }

    async fn put(&self, _request: SecretRequest) -> Result<(), ProviderError> {
        Err(ProviderError::refused(
            "Unexpected",
            "an infrastructure provider writes no secrets",
        ))
    }
}

#[async_trait]
impl Addresses for View {
    async fn claim(
        &self,
        request: AddressRequest,
    ) -> Result<Progress<AddressFacts>, ProviderError> {
        if *self.plane.exhausted.lock().expect("not poisoned") {
            let message = format!("pool {} has no address left", request.pool.name);
            return Ok(Progress::waiting(
                format!("IPAddressClaim {}", request.name),
                "PoolExhausted",
                message,
            ));
        }
        let mut claims = self.plane.claims.lock().expect("not poisoned");
        let next = u8::try_from(claims.len() + 10).expect("few");
        let address = *claims
            .entry(request.name)
            .or_insert(IpAddr::V4(Ipv4Addr::new(10, 77, 0, next)));
        Ok(Progress::Ready(AddressFacts {
            address,
            prefix: 24,
            gateway: Some(IpAddr::V4(Ipv4Addr::new(10, 77, 0, 1))),
        }))
    }

    async fn release(&self, name: &str) -> Result<Progress<()>, ProviderError> {
        self.plane.claims.lock().expect("not poisoned").remove(name);
        Ok(Progress::Ready(()))
    }
}

impl Slots for View {
    fn take(&self, scope: &str, slot: &str) -> bool {
        let mut slots = self.plane.slots.lock().expect("not poisoned");
        let holder = slots
            .entry((scope.to_owned(), slot.to_owned()))
            .or_insert_with(|| self.owner.clone());
        *holder == self.owner
    }

    fn give_back(&self, scope: &str, slot: &str) {
        let mut slots = self.plane.slots.lock().expect("not poisoned");
        let key = (scope.to_owned(), slot.to_owned());
        if slots.get(&key) == Some(&self.owner) {
            slots.remove(&key);
        }
    }
}

#[async_trait]
impl Objects for View {
    async fn ensure(&self, object: Value) -> Result<(), ProviderError> {
        let pool: InClusterIPPool = serde_json::from_value(object).expect("only pools are made");
        let name = pool.metadata.name.clone().expect("a name");
        self.plane
            .pools
            .lock()
            .expect("not poisoned")
            .insert(name, pool);
        Ok(())
    }
}

/// A provider with a plane and a clock.
pub(crate) struct World {
    pub(crate) plane: Arc<Plane>,
    pub(crate) clock: Clock,
    pub(crate) provider: ProxmoxProvider,
    pub(crate) cluster: ProxmoxCluster,
    transport: Option<Arc<dyn Transport>>,
}

/// One machine, as the management cluster knows it.
pub(crate) struct Subject {
    pub(crate) object: ProxmoxMachine,
    pub(crate) machine: Machine,
    pub(crate) data: Vec<u8>,
    pub(crate) format: Option<String>,
    /// Reasons that were waited for, without repetition.
    pub(crate) reasons: Vec<String>,
}

pub(crate) const TALOS: &[u8] = b"version: v1alpha1\nmachine:\n  type: worker\n";

pub(crate) fn machine_spec() -> ProxmoxMachineSpec {
    ProxmoxMachineSpec {
        source_node: Some("pve1".into()),
        template_id: Some(9000),
        num_cores: Some(4),
        memory_mib: Some(4096),
        network: NetworkSpec {
            network_devices: vec![NetworkDevice {
                bridge: Some("vmbr1".into()),
                default_ipv4: Some(true),
                ..NetworkDevice::default()
            }],
            ..NetworkSpec::default()
        },
        checks: Some(Checks {
            skip_cloud_init_status: Some(true),
            ..Checks::default()
        }),
        metadata_settings: Some(MetadataSettings {
            provider_id_injection: true,
        }),
        ..ProxmoxMachineSpec::default()
    }
}

impl World {
    /// A provider on a simulator, without sockets.
    pub(crate) fn on(simulator: &Simulator) -> Self {
        Self::through(
            Some(Arc::new(simulator.clone())),
            "https://pve1:8006",
            SECRET,
            simulator.clock().clone(),
        )
    }

    pub(crate) fn through(
        transport: Option<Arc<dyn Transport>>,
        url: &str,
        secret: &str,
        clock: Clock,
    ) -> Self {
        let plane = Arc::new(Plane::default());
        let data = [("url", url), ("token", TOKEN), ("secret", secret)];
        let data = data
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec().into()))
            .collect();
        let credentials = NamedSecret {
            name: "creds".into(),
            labels: BTreeMap::new(),
            data,
        };
        plane
            .secrets
            .lock()
            .expect("not poisoned")
            .insert("ns/creds".into(), credentials);
        let spec = ProxmoxClusterSpec {
            control_plane_endpoint: capi_core::api::ApiEndpoint {
                host: "10.77.0.250".into(),
                port: 6443,
            },
            ipv4_config: Some(IpConfig {
                addresses: vec!["10.77.0.10-10.77.0.99".into()],
                prefix: 24,
                gateway: "10.77.0.1".into(),
                metric: Some(100),
            }),
            dns_servers: vec!["10.77.0.53".into()],
            credentials_ref: Some(capi_core::api::SecretReference {
                name: "creds".into(),
                namespace: None,
            }),
            ..ProxmoxClusterSpec::default()
        };
        let mut cluster = ProxmoxCluster::new("c", spec);
        cluster.metadata.namespace = Some("ns".into());
        cluster.metadata.uid = Some("00000000-0000-4000-8000-00000000000c".into());
        let mut world = Self {
            plane,
            clock,
            provider: ProxmoxProvider::new(),
            cluster,
            transport,
        };
        world.restart();
        world
    }

    /// A new provider that remembers nothing, as after a crash.
    pub(crate) fn restart(&mut self) {
        self.plane.slots.lock().expect("not poisoned").clear();
        let provider = ProxmoxProvider::new();
        self.provider = match self.transport.clone() {
            None => provider,
            Some(transport) => {
                provider.connector(Arc::new(move |credentials: &Credentials, clock: Clock| {
                    let token = ApiToken::new(&credentials.token, credentials.secret.clone())?;
                    Client::builder(&credentials.urls[0], token, clock)
                        .trust(TlsTrust::danger_accept_any())
                        .transport(Arc::clone(&transport))
                        .build()
                }))
            }
        };
    }

    pub(crate) fn subject(&self, name: &str, spec: ProxmoxMachineSpec) -> Subject {
        let mut object = ProxmoxMachine::new(name, spec);
        object.metadata.namespace = Some("ns".into());
        let digest: u64 = name.bytes().fold(7, |sum, byte| sum * 31 + u64::from(byte));
        object.metadata.uid = Some(format!(
            "00000000-0000-4000-8000-{:012x}",
            digest & 0xffff_ffff_ffff
        ));
        let mut machine = Machine::new(name, Default::default());
        machine.metadata.namespace = Some("ns".into());
        machine.spec.version = Some("v1.34.0".into());
        Subject {
            object,
            machine,
            data: TALOS.to_vec(),
            format: None,
            reasons: Vec::new(),
        }
    }

    pub(crate) fn context(&self, owner: &str, waker: Waker) -> Context {
        let view = || {
            Arc::new(View {
                plane: Arc::clone(&self.plane),
                owner: owner.to_owned(),
            })
        };
        Context::new(self.clock.clone(), view(), view(), view())
            .with_waker(waker)
            .with_objects(view())
    }

    fn core_cluster() -> Arc<Cluster> {
        let mut cluster = Cluster::new("c", Default::default());
        cluster.metadata.namespace = Some("ns".into());
        cluster.spec.infrastructure_ref = Some(ContractVersionedObjectReference {
            kind: "ProxmoxCluster".into(),
            name: "c".into(),
            api_group: "infrastructure.cluster.x-k8s.io".into(),
        });
        Arc::new(cluster)
    }

    pub(crate) fn cluster_cx(&self) -> ClusterContext<ProxmoxCluster> {
        ClusterContext {
            context: self.context("c", Waker::noop()),
            cluster: Self::core_cluster(),
            infrastructure: Arc::new(self.cluster.clone()),
        }
    }

    pub(crate) fn machine_cx(
        &self,
        subject: &Subject,
        ensure: bool,
        waker: Waker,
    ) -> MachineContext<ProxmoxCluster, ProxmoxMachine> {
        MachineContext {
            context: self.context(
                subject.object.metadata.name.as_deref().expect("a name"),
                waker,
            ),
            cluster: Self::core_cluster(),
            infrastructure_cluster: Some(Arc::new(self.cluster.clone())),
            machine: Some(Arc::new(subject.machine.clone())),
            infrastructure: Arc::new(subject.object.clone()),
            bootstrap_data: ensure.then(|| subject.data.clone().into()),
            bootstrap_format: subject.format.clone(),
        }
    }

    pub(crate) fn recorded(&self, subject: &Subject) -> Option<Recorded<ProxmoxIdentity>> {
        let identity = self
            .provider
            .read_identity(&subject.object)
            .expect("readable")?;
        let was_ready = subject.object.status.initialization.provisioned == Some(true);
        Some(Recorded {
            identity,
            was_ready,
        })
    }

    /// One call of what the SDK would call now; what comes of it is written into the object.
    pub(crate) async fn step(
        &self,
        subject: &mut Subject,
        waker: Waker,
    ) -> Result<Progress<MachineFacts>, ProviderError> {
        let Some(recorded) = self.recorded(subject) else {
            let identity = match self
                .provider
                .reserve(&self.machine_cx(subject, false, waker))
                .await?
            {
                Progress::Ready(identity) => identity,
                Progress::Waiting(wait) => return Ok(Progress::Waiting(wait)),
            };
            let (spec, status) = self.provider.write_identity(&identity)?;
            merge(&mut subject.object, spec, status);
            return Ok(
                Progress::waiting("itself", "Reserved", "an identity was written")
                    .after(Duration::ZERO),
            );
        };
        let progress = self
            .provider
            .ensure(&self.machine_cx(subject, true, waker), &recorded)
            .await?;
        if let Progress::Ready(facts) = &progress {
            let mut status = facts.status.clone();
            status.insert("addresses".into(), json!(facts.addresses));
            status.insert("initialization".into(), json!({"provisioned": true}));
            merge(&mut subject.object, Default::default(), status);
        }
        Ok(progress)
    }

    /// Calls until the machine is ready, or a final error.
    pub(crate) async fn run(&self, subject: &mut Subject) -> Result<MachineFacts, ProviderError> {
        for _ in 0..500 {
            let notify = Arc::new(tokio::sync::Notify::new());
            let woken = Arc::clone(&notify);
            let pause = match self
                .step(subject, Waker::new(move || woken.notify_one()))
                .await
            {
                Ok(Progress::Ready(facts)) => return Ok(facts),
                Ok(Progress::Waiting(wait)) => {
                    if subject.reasons.last().map(String::as_str) != Some(&*wait.reason) {
                        subject.reasons.push(wait.reason.to_string());
                    }
                    match wait.again {
                        Again::After(pause) => pause,
                        Again::OnEvent => Duration::from_secs(30),
                    }
                }
                Err(error) if error.class() == ErrorClass::Transient => {
                    subject.reasons.push(format!("!{}", error.reason()));
                    error.wait_at_least().unwrap_or(Duration::from_secs(1))
                }
                Err(error) => return Err(error),
            };
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = notify.notified() => {}
            }
        }
        panic!(
            "{:?} is not ready after 500 calls: {:?}",
            subject.object.metadata.name, subject.reasons
        );
    }

    /// Destroys until nothing is left.
    pub(crate) async fn destroy(&self, subject: &mut Subject) -> Result<(), ProviderError> {
        let Some(recorded) = self.recorded(subject) else {
            return Ok(());
        };
        for _ in 0..200 {
            let pause = match self
                .provider
                .destroy(&self.machine_cx(subject, false, Waker::noop()), &recorded)
                .await
            {
                Ok(Progress::Ready(())) => return Ok(()),
                Ok(Progress::Waiting(wait)) => {
                    subject
                        .reasons
                        .push(format!("{}: {}", wait.reason, wait.message));
                    match wait.again {
                        Again::After(pause) => pause,
                        Again::OnEvent => Duration::from_secs(30),
                    }
                }
                Err(error) if error.class() == ErrorClass::Transient => {
                    subject.reasons.push(format!("!{}", error.full_message()));
                    error.wait_at_least().unwrap_or(Duration::from_secs(1))
                }
                Err(error) => return Err(error),
            };
            self.clock.sleep(pause).await;
        }
        panic!("not gone after 200 calls: {:?}", subject.reasons);
    }
}

/// Merges fields into `spec` and `status` of an object, as the SDK writes them.
fn merge(
    object: &mut ProxmoxMachine,
    spec: serde_json::Map<String, Value>,
    status: serde_json::Map<String, Value>,
) {
    let mut value = serde_json::to_value(&*object).expect("an object");
    for (part, fields) in [("spec", spec), ("status", status)] {
        if value.get(part).is_none() {
            value[part] = json!({});
        }
        for (key, field) in fields {
            value[part][key] = field;
        }
    }
    *object = serde_json::from_value(value).expect("an object");
}

/// A simulated datacenter of three nodes in virtual time.
pub(crate) fn simulator() -> Simulator {
    let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().expect("a time"));
    let mut datacenter = Datacenter::example(3, 11);
    datacenter.add_token(TOKEN, SECRET);
    Simulator::new(datacenter, clock)
}
