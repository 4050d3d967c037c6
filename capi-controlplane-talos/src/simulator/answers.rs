//! What a simulated node answers to each call of its machine API.

use std::io::Write as _;

use bytes::Bytes;
use capi_core::pki::{Kubeconfig, KubeconfigCredentials, LeafRequest, Subject};
use futures::{Stream, StreamExt as _, stream};
use secrecy::ExposeSecret as _;
use tonic::Status;

use super::{
    apply,
    config::Kind,
    etcd::{Etcd, EtcdError},
    life::{Me, etcd_of},
    state::Next,
};
use crate::client::{
    Health,
    wire::{self, Answer},
};

/// A node as its machine API sees it.
pub(super) struct Node {
    pub(super) me: Me,
    pub(super) maintenance: bool,
}

/// Frames of a stream that ends by itself.
pub(super) type Frames<T> = Vec<Result<T, Status>>;

fn off() -> Status {
    Status::unavailable("the machine is off")
}

fn timestamp(at: jiff::Timestamp) -> wire::Timestamp {
    wire::Timestamp {
        seconds: at.as_second(),
        nanos: at.subsec_nanosecond(),
    }
}

impl Node {
    pub(super) fn version(&self) -> Result<Answer<wire::Version>, Status> {
        let tag = self
            .me
            .look(|node| node.boot.version.clone())
            .ok_or_else(off)?;
        let text = str::to_owned;
        Ok(Answer::of(wire::Version {
            metadata: None,
            version: Some(wire::VersionInfo {
                tag,
                sha: text("simulated"),
                built: String::new(),
                go_version: String::new(),
                os: text("linux"),
                arch: text("amd64"),
            }),
            platform: Some(wire::PlatformInfo {
                name: text("nocloud"),
                mode: text("cloud"),
            }),
            features: Some(wire::FeaturesInfo { rbac: true }),
        }))
    }

    pub(super) fn hostname(&self) -> Result<Answer<wire::Hostname>, Status> {
        let hostname = self
            .me
            .look(|node| node.boot.hostname.clone())
            .ok_or_else(off)?;
        Ok(Answer::of(wire::Hostname {
            metadata: None,
            hostname,
        }))
    }

    pub(super) fn services(&self) -> Result<Answer<wire::ServiceList>, Status> {
        let services = self
            .me
            .look(|node| node.boot.services.clone())
            .ok_or_else(off)?;
        let info = |(id, service): (&str, super::state::ServiceState)| {
            let at = Some(timestamp(service.since));
            wire::ServiceInfo {
                id: id.to_owned(),
                state: service.state.to_owned(),
                events: Some(wire::ServiceEvents {
                    events: vec![wire::ServiceEvent {
                        msg: service.message.clone(),
                        state: service.state.to_owned(),
                        ts: at.clone(),
                    }],
                }),
                health: Some(wire::ServiceHealth {
                    unknown: service.health == Health::Unknown,
                    healthy: service.health == Health::Healthy,
                    last_message: service.message,
                    last_change: at,
                }),
            }
        };
        let services = services.into_iter().map(info).collect();
        Ok(Answer::of(wire::ServiceList {
            metadata: None,
            services,
        }))
    }

    /// Refuses what only a control plane node can do.
    fn control_plane(&self, what: &str) -> Result<(), Status> {
        match self.me.config() {
            Some(config) if config.kind == Kind::ControlPlane => Ok(()),
            _ => Err(Status::unimplemented(format!(
                "{what} is only available on control plane nodes"
            ))),
        }
    }

    pub(super) fn bootstrap(
        &self,
        request: &wire::BootstrapRequest,
    ) -> Result<Answer<wire::Bootstrap>, Status> {
        self.control_plane("bootstrap")?;
        if request.recover_etcd {
            return Err(Status::invalid_argument("recovery is not simulated"));
        }
        self.me
            .node(|node| {
                if !node.service_runs("cri") {
                    return Err(Status::failed_precondition(
                        "bootstrap is not available yet",
                    ));
                }
                if node.disk.etcd.is_some() {
                    return Err(Status::already_exists("etcd data directory is not empty"));
                }
                node.boot.bootstrap = true;
                Ok(Answer::of(wire::Bootstrap { metadata: None }))
            })
            .ok_or_else(off)?
    }

    /// Waits for quorum, as long as etcd waits.
    async fn quorum(&self) -> Result<(), Status> {
        let waited = self.me.inner.until(|state| {
            let key = state.nodes.get(&*self.me.uuid)?.cluster()?;
            state
                .clusters
                .get(&key)?
                .etcd
                .as_ref()?
                .has_quorum()
                .then_some(())
        });
        let limit = self
            .me
            .inner
            .clock
            .sleep(self.me.inner.options.latencies.quorum);
        tokio::select! {
            biased;
            () = waited => Ok(()),
            () = limit => Err(Status::unavailable("etcdserver: request timed out")),
        }
    }

    /// The id of the member that runs here.
    fn member(&self) -> Result<u64, Status> {
        self.me
            .look(|node| node.disk.etcd.filter(|_| node.service_runs("etcd")))
            .flatten()
            .ok_or_else(|| Status::unavailable("etcd is not running"))
    }

    fn etcd<T>(&self, look: impl FnOnce(&mut Etcd) -> T) -> Result<T, Status> {
        self.me
            .update(|state| etcd_of(state, &self.me.uuid).map(look))
            .flatten()
            .ok_or_else(|| Status::unavailable("etcd is not running"))
    }

    pub(super) async fn etcd_members(
        &self,
        request: &wire::EtcdMemberListRequest,
    ) -> Result<Answer<wire::EtcdMembers>, Status> {
        self.control_plane("member list")?;
        self.member()?;
        if !request.query_local {
            self.quorum().await?;
        }
        let members: Vec<wire::EtcdMember> = self.etcd(|etcd| {
            let member = |(id, member): (&u64, &super::etcd::Member)| wire::EtcdMember {
                id: *id,
                hostname: if member.started {
                    member.hostname.clone()
                } else {
                    String::new()
                },
                peer_urls: vec![format!("https://{}:2380", member.address)],
                client_urls: if member.started {
                    vec![format!("https://{}:2379", member.address)]
                } else {
                    Vec::new()
                },
                is_learner: member.learner,
            };
            etcd.members.iter().map(member).collect()
        })?;
        Ok(Answer::of(wire::EtcdMembers {
            metadata: None,
            legacy_members: members
                .iter()
                .map(|member| member.hostname.clone())
                .collect(),
            members,
        }))
    }

    pub(super) fn etcd_status(&self) -> Result<Answer<wire::EtcdStatus>, Status> {
        self.control_plane("etcd status")?;
        let id = self.member()?;
        let status = self.etcd(|etcd| wire::EtcdMemberStatus {
            protocol_version: "3.6.14".to_owned(),
            db_size: 20 * 1024 * 1024,
            db_size_in_use: 8 * 1024 * 1024,
            leader: etcd.leader().unwrap_or(0),
            raft_index: etcd.index,
            raft_term: etcd.term,
            raft_applied_index: etcd.index,
            errors: if etcd.has_quorum() {
                Vec::new()
            } else {
                vec!["etcdserver: no leader".to_owned()]
            },
            is_learner: etcd.members.get(&id).is_some_and(|member| member.learner),
            member_id: id,
            storage_version: "3.6.0".to_owned(),
        })?;
        Ok(Answer::of(wire::EtcdStatus {
            metadata: None,
            member_status: Some(status),
        }))
    }

    pub(super) async fn etcd_alarms(&self) -> Result<Answer<wire::EtcdAlarm>, Status> {
        self.control_plane("etcd alarm list")?;
        self.member()?;
        self.quorum().await?;
        Ok(Answer::of(wire::EtcdAlarm {
            metadata: None,
            member_alarms: Vec::new(),
        }))
    }

    pub(super) async fn etcd_leave(&self) -> Result<Answer<wire::EtcdLeaveCluster>, Status> {
        self.control_plane("etcd leave")?;
        let done = Answer::of(wire::EtcdLeaveCluster { metadata: None });
        let Some(id) = self.me.look(|node| node.disk.etcd).ok_or_else(off)? else {
            return Ok(done);
        };
        self.quorum().await?;
        let removed = self.etcd(|etcd| etcd.remove(id))?;
        match removed {
            Ok(()) | Err(EtcdError::NotFound) => {
                self.me.node(|node| node.disk.etcd = None);
                Ok(done)
            }
            Err(error) => Err(etcd_error(error)),
        }
    }

    pub(super) async fn etcd_forfeit(&self) -> Result<Answer<wire::EtcdForfeitLeadership>, Status> {
        self.control_plane("etcd forfeit leadership")?;
        let id = self.member()?;
        let leader = self.etcd(|etcd| {
            let leader = etcd.forfeit(id)?;
            Ok(leader.and_then(|leader| etcd.members.get(&leader).map(|m| m.hostname.clone())))
        })?;
        let member = leader.map_err(etcd_error)?.unwrap_or_default();
        Ok(Answer::of(wire::EtcdForfeitLeadership {
            metadata: None,
            member,
        }))
    }

    pub(super) async fn etcd_remove(
        &self,
        request: &wire::EtcdRemoveMemberByIdRequest,
    ) -> Result<Answer<wire::EtcdRemoveMemberById>, Status> {
        self.control_plane("etcd remove member")?;
        self.member()?;
        self.quorum().await?;
        self.etcd(|etcd| etcd.remove(request.member_id))?
            .map_err(etcd_error)?;
        Ok(Answer::of(wire::EtcdRemoveMemberById { metadata: None }))
    }

    pub(super) fn etcd_snapshot(&self) -> Result<Frames<wire::Data>, Status> {
        self.control_plane("etcd snapshot")?;
        self.member()?;
        let database = vec![0x5a; 64 * 1024];
        let digest = ring::digest::digest(&ring::digest::SHA256, &database);
        let all = [&database[..], digest.as_ref()].concat();
        Ok(all.chunks(16 * 1024).map(|chunk| Ok(data(chunk))).collect())
    }

    pub(super) fn apply(
        &self,
        request: &wire::ApplyConfigurationRequest,
    ) -> Result<Answer<wire::ApplyConfiguration>, Status> {
        apply::apply(&self.me, request, self.maintenance).map(Answer::of)
    }

    pub(super) fn reboot(&self) -> Result<Answer<wire::Reboot>, Status> {
        self.end(Next::Reboot)?;
        Ok(Answer::of(wire::Reboot {
            metadata: None,
            actor_id: String::new(),
        }))
    }

    pub(super) fn shutdown(&self) -> Result<Answer<wire::Shutdown>, Status> {
        self.end(Next::Halt)?;
        Ok(Answer::of(wire::Shutdown {
            metadata: None,
            actor_id: String::new(),
        }))
    }

    /// Ends this boot a moment after the answer is on its way.
    fn end(&self, next: Next) -> Result<(), Status> {
        self.me.look(|_| ()).ok_or_else(off)?;
        let me = self.me.clone();
        tokio::spawn(async move {
            me.inner
                .clock
                .sleep(std::time::Duration::from_millis(100))
                .await;
            me.node(|node| node.boot.next = Some(next));
        });
        Ok(())
    }

    pub(super) async fn reset(
        &self,
        request: &wire::ResetRequest,
    ) -> Result<Answer<wire::Reset>, Status> {
        let control_plane = self
            .me
            .config()
            .is_some_and(|c| c.kind == Kind::ControlPlane);
        if request.graceful && control_plane {
            self.etcd_leave().await?;
        }
        self.me
            .node(|node| node.disk = super::state::Disk::default());
        self.end(if request.reboot {
            Next::Reboot
        } else {
            Next::Halt
        })?;
        Ok(Answer::of(wire::Reset {
            metadata: None,
            actor_id: String::new(),
        }))
    }

    /// Whether this Talos has LifecycleService and ImageService.
    pub(super) fn has_lifecycle(&self) -> bool {
        let version = self
            .me
            .look(|node| node.boot.version.clone())
            .unwrap_or_default();
        let mut parts = version
            .trim_start_matches('v')
            .split('.')
            .map(str::parse::<u32>);
        matches!((parts.next(), parts.next()), (Some(Ok(major)), Some(Ok(minor))) if (major, minor) >= (1, 13))
    }

    pub(super) fn upgrade_legacy(
        &self,
        request: &wire::UpgradeRequest,
    ) -> Result<Answer<wire::Upgrade>, Status> {
        let version = image_version(&request.image)?;
        self.me
            .node(|node| node.disk.installed = Some(version))
            .ok_or_else(off)?;
        self.end(Next::Reboot)?;
        let ack = "Upgrade request received".to_owned();
        Ok(Answer::of(wire::Upgrade {
            metadata: None,
            ack,
            actor_id: String::new(),
        }))
    }

    pub(super) fn pull(
        &self,
        request: &wire::ImagePullRequest,
    ) -> Result<Frames<wire::ImagePullResponse>, Status> {
        let image = request.image_ref.clone();
        image_version(&image)?;
        self.me
            .node(|node| node.boot.pulled = Some(image.clone()))
            .ok_or_else(off)?;
        Ok(vec![Ok(wire::ImagePullResponse { name: Some(image) })])
    }

    pub(super) fn upgrade(
        &self,
        request: &wire::LifecycleUpgradeRequest,
    ) -> Result<Frames<wire::LifecycleUpgradeResponse>, Status> {
        let image = request
            .source
            .as_ref()
            .map(|s| s.image_name.clone())
            .unwrap_or_default();
        let version = image_version(&image)?;
        let step = |step| {
            Ok(wire::LifecycleUpgradeResponse {
                progress: Some(wire::InstallProgress { step: Some(step) }),
            })
        };
        let pulled = self
            .me
            .look(|node| node.boot.pulled.as_ref() == Some(&image));
        if pulled != Some(true) {
            let message = format!("image {image} not found");
            return Ok(vec![
                step(wire::InstallStep::Message(message)),
                step(wire::InstallStep::ExitCode(4)),
            ]);
        }
        self.me.node(|node| node.disk.installed = Some(version));
        Ok(vec![
            step(wire::InstallStep::Message(
                "installation complete".to_owned(),
            )),
            step(wire::InstallStep::ExitCode(0)),
        ])
    }

    pub(super) fn kubeconfig(&self) -> Result<Frames<wire::Data>, Status> {
        self.control_plane("kubeconfig")?;
        let internal = |error: capi_core::pki::PkiError| Status::internal(error.to_string());
        let config = self.me.config().ok_or_else(off)?;
        let authority = config
            .kubernetes
            .signer()
            .ok_or_else(|| Status::internal("the Kubernetes CA has no key"))?;
        let now = self.me.inner.clock.now();
        let before = now
            .checked_sub(jiff::SignedDuration::from_secs(10))
            .unwrap_or(now);
        let subject = Subject::new("admin", ["system:masters"]);
        let issued = authority
            .issue(&LeafRequest::client(subject, before))
            .map_err(internal)?;
        let user = format!("admin@{}", config.cluster_name);
        let kubeconfig = Kubeconfig {
            cluster: config.cluster_name.clone(),
            server: config.endpoint.clone(),
            certificate_authority: config.kubernetes.certificate.to_pem(),
            user: user.clone(),
            context: user,
            credentials: KubeconfigCredentials::Certificate(issued),
        };
        let archive = archive(kubeconfig.render().expose_secret().as_bytes())
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(vec![Ok(data(&archive))])
    }

    pub(super) fn list(
        &self,
        request: &wire::ListRequest,
    ) -> Result<Frames<wire::FileInfo>, Status> {
        let path = request.root.trim_end_matches('/');
        let present = match path {
            "/var/lib/etcd/member" => self
                .me
                .look(|node| node.disk.etcd.is_some())
                .ok_or_else(off)?,
            "" | "/var" | "/var/lib" => true,
            _ => false,
        };
        let file = wire::FileInfo {
            name: path.to_owned(),
            relative_name: ".".to_owned(),
            is_dir: true,
            ..Default::default()
        };
        if present {
            Ok(vec![Ok(file)])
        } else {
            let error = format!("lstat {path}: no such file or directory");
            Ok(vec![Ok(wire::FileInfo { error, ..file })])
        }
    }

    pub(super) fn read(&self, request: &wire::ReadRequest) -> Result<Frames<wire::Data>, Status> {
        match request.path.as_str() {
            "/proc/sys/kernel/random/boot_id" => {
                let id = self.me.look(|node| node.boot.id.clone()).ok_or_else(off)?;
                Ok(vec![Ok(data(format!("{id}\n").as_bytes()))])
            }
            path => Err(Status::not_found(format!(
                "stat {path}: no such file or directory"
            ))),
        }
    }

    /// The hello, the boot sequence as far as it is known, and then nothing, for ever.
    pub(super) fn events(&self) -> impl Stream<Item = Result<wire::Event, Status>> + Send + use<> {
        let action = |action: i32| {
            let event = wire::SequenceEvent {
                sequence: "boot".to_owned(),
                action,
            };
            Ok(wire::Event {
                data: Some(wire::Any {
                    type_url: "talos/runtime/machine.SequenceEvent".to_owned(),
                    value: prost::Message::encode_to_vec(&event).into(),
                }),
                ..Default::default()
            })
        };
        let running = self
            .me
            .look(|node| node.boot.stage == crate::client::MachineStage::Running)
            .unwrap_or(false);
        let mut events = vec![Ok(wire::Event::default()), action(1)];
        if running {
            events.push(action(2));
        }
        stream::iter(events).chain(stream::pending())
    }

    pub(super) fn resource(
        &self,
        request: &wire::ResourceGetRequest,
    ) -> Result<wire::ResourceGetResponse, Status> {
        let (stage, hostname) = self
            .me
            .look(|node| (node.boot.stage, node.boot.hostname.clone()))
            .ok_or_else(off)?;
        let spec = match request.typ.as_str() {
            "MachineStatuses.runtime.talos.dev" => {
                let ready = stage == crate::client::MachineStage::Running;
                let unmet = (!ready).then(|| wire::UnmetCondition {
                    name: "services".to_owned(),
                    reason: "etcd: Preparing".to_owned(),
                });
                let status = wire::MachineStatusState {
                    ready,
                    unmet_conditions: unmet.into_iter().collect(),
                };
                prost::Message::encode_to_vec(&wire::MachineStatusSpec {
                    stage: stage.number(),
                    status: Some(status),
                })
            }
            "Nodenames.kubernetes.talos.dev" if !hostname.is_empty() => {
                prost::Message::encode_to_vec(&wire::NodenameSpec { nodename: hostname })
            }
            other => {
                return Err(Status::not_found(format!(
                    "resource {other}({}/{}) doesn't exist",
                    request.namespace, request.id
                )));
            }
        };
        Ok(wire::ResourceGetResponse {
            resource: Some(wire::Resource {
                metadata: Some(wire::ResourceMetadata {
                    namespace: request.namespace.clone(),
                    typ: request.typ.clone(),
                    id: request.id.clone(),
                    version: "1".to_owned(),
                    owner: String::new(),
                    phase: "running".to_owned(),
                }),
                spec: Some(wire::ResourceSpec {
                    proto_spec: spec.into(),
                    yaml_spec: String::new(),
                }),
            }),
        })
    }
}

fn etcd_error(error: EtcdError) -> Status {
    match error {
        EtcdError::NoQuorum => Status::unavailable("etcdserver: no leader"),
        EtcdError::NotFound => Status::not_found("etcdserver: member not found"),
        EtcdError::OnlyMember => {
            Status::failed_precondition("cannot forfeit leadership, only one member")
        }
        EtcdError::NotEnoughStarted => Status::failed_precondition(
            "etcdserver: re-configuration failed due to not enough started members",
        ),
    }
}

fn data(bytes: &[u8]) -> wire::Data {
    wire::Data {
        metadata: None,
        bytes: Bytes::copy_from_slice(bytes),
    }
}

fn image_version(image: &str) -> Result<String, Status> {
    image
        .rsplit_once(':')
        .map(|(_, tag)| tag.to_owned())
        .filter(|tag| tag.starts_with('v'))
        .ok_or_else(|| Status::invalid_argument(format!("image {image:?} has no version")))
}

/// A gzip'd tar with one file and, as Talos leaves it, without the blocks that end it.
fn archive(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut header = [0_u8; 512];
    header[..10].copy_from_slice(b"kubeconfig");
    header[100..108].copy_from_slice(b"0000600\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
    header[136..147].copy_from_slice(b"00000000000");
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&header)?;
    gzip.write_all(content)?;
    gzip.write_all(&vec![
        0;
        content.len().next_multiple_of(512) - content.len()
    ])?;
    gzip.finish()
}
