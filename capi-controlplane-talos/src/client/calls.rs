//! The calls, one method each.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use secrecy::SecretString;

use super::{
    error::ClientError,
    kubeconfig,
    transport::TalosClient,
    types::{
        Applied, ApplyMode, EtcdAlarm, EtcdAlarmKind, EtcdMember, EtcdMemberId, EtcdStatus,
        MachineStatus, PowerMode, ResetMode, Service, TalosVersion,
    },
    wire,
};

const MACHINE: &str = "/machine.MachineService/";
const LIFECYCLE: &str = "/machine.LifecycleService/";
const IMAGE: &str = "/machine.ImageService/";
const STATE: &str = "/cosi.resource.State/";
/// Where a node that has an etcd member keeps it.
const ETCD_MEMBER_DIRECTORY: &str = "/var/lib/etcd/member";
/// containerd's own, where Talos keeps its system images.
const SYSTEM_IMAGES: wire::ContainerdInstance = wire::ContainerdInstance {
    driver: 0,
    namespace: 1,
};

/// Every call fails with a [`ClientError`]; where a certain answer is to be expected, the method
/// says which [`RetryClass`](super::RetryClass) it has.
impl TalosClient {
    /// Version and platform. Also answered in maintenance mode.
    ///
    /// # Errors
    /// As every call.
    pub async fn version(&self) -> Result<TalosVersion, ClientError> {
        self.machine::<_, wire::Version>("Version", wire::Empty {})
            .await
            .map(Into::into)
    }

    /// The node's host name.
    ///
    /// # Errors
    /// As every call.
    pub async fn hostname(&self) -> Result<String, ClientError> {
        let answer: wire::Hostname = self.machine("Hostname", wire::Empty {}).await?;
        Ok(answer.hostname)
    }

    /// The services of the node.
    ///
    /// # Errors
    /// As every call.
    pub async fn services(&self) -> Result<Vec<Service>, ClientError> {
        let answer: wire::ServiceList = self.machine("ServiceList", wire::Empty {}).await?;
        Ok(answer.services.into_iter().map(Into::into).collect())
    }

    /// Makes this node the first member of a new etcd cluster. Call it for one node of a cluster
    /// only, ever: a second cluster would never join the first.
    ///
    /// The node keeps the request in memory only. Verify that its etcd gets to `Running`, and
    /// call again if it was rebooted before.
    ///
    /// # Errors
    /// `AlreadyDone` when this node has etcd data; `Later` while it boots; `Unsupported` for a
    /// worker or a node without configuration.
    pub async fn bootstrap(&self) -> Result<(), ClientError> {
        let _: wire::Bootstrap = self
            .machine(
                "Bootstrap",
                wire::BootstrapRequest {
                    recover_etcd: false,
                    recover_skip_hash_check: false,
                },
            )
            .await?;
        Ok(())
    }

    /// Whether the node's disk holds an etcd member, whatever state etcd is in.
    ///
    /// # Errors
    /// As every call.
    pub async fn has_etcd_data(&self) -> Result<bool, ClientError> {
        let request = wire::ListRequest {
            root: ETCD_MEMBER_DIRECTORY.to_owned(),
            recurse: false,
            recursion_depth: 0,
        };
        let listed: Result<Vec<wire::FileInfo>, _> = self
            .collect(MACHINE, self.deadline(), "List", request)
            .await;
        match listed {
            Ok(files) => Ok(files.iter().any(|file| {
                file.error.is_empty()
                    && file
                        .metadata
                        .as_ref()
                        .is_none_or(|metadata| metadata.error.is_empty())
            })),
            Err(error @ ClientError::Call { .. })
                if error.class() == super::RetryClass::NotFound
                    || error.to_string().contains("no such file or directory") =>
            {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Members of the etcd cluster, as the cluster knows them: needs quorum. With `local` as this
    /// node's member knows them, without asking the others.
    ///
    /// # Errors
    /// `Later` (often a deadline) without quorum or before etcd runs; `Unsupported` for a worker.
    pub async fn etcd_members(&self, local: bool) -> Result<Vec<EtcdMember>, ClientError> {
        let answer: wire::EtcdMembers = self
            .machine(
                "EtcdMemberList",
                wire::EtcdMemberListRequest { query_local: local },
            )
            .await?;
        Ok(answer.members.into_iter().map(Into::into).collect())
    }

    /// What this node's etcd member says about itself; needs no quorum.
    ///
    /// # Errors
    /// As every call; `Later` before etcd runs.
    pub async fn etcd_status(&self) -> Result<EtcdStatus, ClientError> {
        let answer: wire::EtcdStatus = self.machine("EtcdStatus", wire::Empty {}).await?;
        answer
            .member_status
            .map(Into::into)
            .ok_or_else(|| self.unusable("EtcdStatus", "it holds no status"))
    }

    /// Alarms of the etcd cluster.
    ///
    /// # Errors
    /// As every call.
    pub async fn etcd_alarms(&self) -> Result<Vec<EtcdAlarm>, ClientError> {
        let answer: wire::EtcdAlarm = self.machine("EtcdAlarmList", wire::Empty {}).await?;
        let known = |alarm: wire::EtcdMemberAlarm| {
            let kind = match alarm.alarm {
                1 => EtcdAlarmKind::NoSpace,
                2 => EtcdAlarmKind::Corrupt,
                _ => return None,
            };
            Some(EtcdAlarm {
                member_id: EtcdMemberId(alarm.member_id),
                kind,
            })
        };
        Ok(answer.member_alarms.into_iter().filter_map(known).collect())
    }

    /// Hands leadership of etcd to another member. Returns the new leader's name; `None` if this
    /// member was not the leader.
    ///
    /// # Errors
    /// As every call; fails for an only member.
    pub async fn etcd_forfeit_leadership(&self) -> Result<Option<String>, ClientError> {
        let answer: wire::EtcdForfeitLeadership = self
            .machine(
                "EtcdForfeitLeadership",
                wire::EtcdForfeitLeadershipRequest {},
            )
            .await?;
        Ok((!answer.member.is_empty()).then_some(answer.member))
    }

    /// Takes this node's member out of etcd, stops etcd and deletes its data. The node tries for
    /// up to five minutes. Done twice it is done.
    ///
    /// # Errors
    /// As every call. Whether the member is gone tells [`etcd_members`](Self::etcd_members) of
    /// another node, also after a deadline.
    pub async fn etcd_leave(&self) -> Result<(), ClientError> {
        let _: wire::EtcdLeaveCluster = self
            .machine_long("EtcdLeaveCluster", wire::EtcdLeaveClusterRequest {})
            .await?;
        Ok(())
    }

    /// Removes another member, whose node is gone. Check quorum first: nothing else does.
    ///
    /// # Errors
    /// `NotFound` when there is no such member.
    pub async fn etcd_remove_member(&self, member: EtcdMemberId) -> Result<(), ClientError> {
        let _: wire::EtcdRemoveMemberById = self
            .machine(
                "EtcdRemoveMemberByID",
                wire::EtcdRemoveMemberByIdRequest {
                    member_id: member.0,
                },
            )
            .await?;
        Ok(())
    }

    /// A snapshot of etcd's database, followed by its SHA-256.
    ///
    /// # Errors
    /// As every call.
    pub async fn etcd_snapshot(&self) -> Result<Bytes, ClientError> {
        let frames = self
            .collect(
                MACHINE,
                self.long_deadline(),
                "EtcdSnapshot",
                wire::EtcdSnapshotRequest {},
            )
            .await?;
        self.join("EtcdSnapshot", frames)
    }

    /// The cluster's admin kubeconfig, with a client certificate of a year that the node makes.
    ///
    /// # Errors
    /// `Unsupported` for a worker.
    pub async fn kubeconfig(&self) -> Result<SecretString, ClientError> {
        let frames = self
            .collect(MACHINE, self.deadline(), "Kubeconfig", wire::Empty {})
            .await?;
        let archive = self.join("Kubeconfig", frames)?;
        kubeconfig::unpack(&archive).map_err(|message| self.unusable("Kubeconfig", message))
    }

    /// A small file of the node.
    ///
    /// # Errors
    /// `NotFound`, or as every call.
    pub async fn read_file(&self, path: &str) -> Result<Bytes, ClientError> {
        let request = wire::ReadRequest {
            path: path.to_owned(),
        };
        let frames = self
            .collect(MACHINE, self.deadline(), "Read", request)
            .await?;
        self.join("Read", frames)
    }

    /// Gives the node a machine configuration. In maintenance mode it is the first one.
    ///
    /// # Errors
    /// `Invalid` when the node does not accept it, with its reasons; `Later` while another one is
    /// being applied.
    pub async fn apply_configuration(
        &self,
        configuration: &SecretString,
        mode: ApplyMode,
        dry_run: bool,
        try_timeout: Option<Duration>,
    ) -> Result<Applied, ClientError> {
        use secrecy::ExposeSecret as _;
        let request = wire::ApplyConfigurationRequest {
            data: Bytes::copy_from_slice(configuration.expose_secret().as_bytes()),
            mode: mode.number(),
            dry_run,
            try_mode_timeout: try_timeout.map(|timeout| wire::Duration {
                seconds: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(timeout.subsec_nanos()).unwrap_or(0),
            }),
        };
        self.machine::<_, wire::ApplyConfiguration>("ApplyConfiguration", request)
            .await
            .map(Into::into)
    }

    /// Reboots the node; it answers before it does.
    ///
    /// # Errors
    /// As every call.
    pub async fn reboot(&self, mode: PowerMode) -> Result<(), ClientError> {
        let mode = match mode {
            PowerMode::Kexec => 0,
            PowerMode::PowerCycle => 1,
        };
        let _: wire::Reboot = self.machine("Reboot", wire::RebootRequest { mode }).await?;
        Ok(())
    }

    /// Shuts the node down; with `force` without cordon and drain.
    ///
    /// # Errors
    /// As every call.
    pub async fn shutdown(&self, force: bool) -> Result<(), ClientError> {
        let _: wire::Shutdown = self
            .machine("Shutdown", wire::ShutdownRequest { force })
            .await?;
        Ok(())
    }

    /// Wipes the node: gracefully it drains and leaves etcd before. Then it reboots or halts.
    ///
    /// # Errors
    /// As every call.
    pub async fn reset(
        &self,
        mode: ResetMode,
        graceful: bool,
        reboot: bool,
    ) -> Result<(), ClientError> {
        let request = wire::ResetRequest {
            graceful,
            reboot,
            system_partitions_to_wipe: Vec::new(),
            user_disks_to_wipe: Vec::new(),
            mode: match mode {
                ResetMode::All => 0,
                ResetMode::SystemDisk => 1,
                ResetMode::UserDisks => 2,
            },
        };
        let _: wire::Reset = self.machine("Reset", request).await?;
        Ok(())
    }

    /// Upgrades Talos the old way (before 1.13): the node pulls, drains, installs and reboots by
    /// itself.
    ///
    /// # Errors
    /// As every call; `Unsupported` where only the new way is left.
    pub async fn upgrade_legacy(&self, image: &str) -> Result<(), ClientError> {
        let request = wire::UpgradeRequest {
            image: image.to_owned(),
            preserve: true,
            stage: false,
            force: false,
            reboot_mode: 0,
        };
        let _: wire::Upgrade = self.machine_long("Upgrade", request).await?;
        Ok(())
    }

    /// Pulls a system image, before [`upgrade`](Self::upgrade). Talos 1.13 and later.
    ///
    /// # Errors
    /// As every call; `Unsupported` before Talos 1.13.
    pub async fn pull_system_image(&self, image: &str) -> Result<(), ClientError> {
        let request = wire::ImagePullRequest {
            containerd: Some(SYSTEM_IMAGES),
            image_ref: image.to_owned(),
        };
        let _: Vec<wire::ImagePullResponse> = self
            .collect(IMAGE, self.long_deadline(), "Pull", request)
            .await?;
        Ok(())
    }

    /// Installs an image that was pulled. Neither drains nor reboots nor looks at etcd: that is
    /// the caller's. Talos 1.13 and later.
    ///
    /// # Errors
    /// [`ClientError::Exit`] when the installer failed, though gRPC said OK; `Later` while
    /// another one runs; `Unsupported` before Talos 1.13.
    pub async fn upgrade(&self, image: &str) -> Result<(), ClientError> {
        let method = "Upgrade";
        let request = wire::LifecycleUpgradeRequest {
            containerd: Some(SYSTEM_IMAGES),
            source: Some(wire::InstallArtifactsSource {
                image_name: image.to_owned(),
            }),
        };
        let steps: Vec<wire::LifecycleUpgradeResponse> = self
            .collect(LIFECYCLE, self.long_deadline(), method, request)
            .await?;
        let mut last = String::new();
        for step in steps {
            match step.progress.and_then(|progress| progress.step) {
                Some(wire::InstallStep::Message(message)) => last = message,
                Some(wire::InstallStep::ExitCode(0)) => return Ok(()),
                Some(wire::InstallStep::ExitCode(exit_code)) => {
                    return Err(ClientError::Exit {
                        endpoint: self.endpoint().clone(),
                        method,
                        exit_code,
                        message: last,
                    });
                }
                None => {}
            }
        }
        Err(self.unusable(method, "it ended without an exit code"))
    }

    /// Stage of the machine. Also answered in maintenance mode.
    ///
    /// # Errors
    /// As every call.
    pub async fn machine_status(&self) -> Result<MachineStatus, ClientError> {
        self.resource::<wire::MachineStatusSpec>(
            "runtime",
            "MachineStatuses.runtime.talos.dev",
            "machine",
        )
        .await
        .map(Into::into)
    }

    /// Name under which the node registers in Kubernetes.
    ///
    /// # Errors
    /// `NotFound` before it is known.
    pub async fn nodename(&self) -> Result<String, ClientError> {
        let spec: wire::NodenameSpec = self
            .resource("k8s", "Nodenames.kubernetes.talos.dev", "nodename")
            .await?;
        Ok(spec.nodename)
    }

    async fn resource<T: prost::Message + Default>(
        &self,
        namespace: &str,
        kind: &str,
        id: &str,
    ) -> Result<T, ClientError> {
        let request = wire::ResourceGetRequest {
            namespace: namespace.to_owned(),
            typ: kind.to_owned(),
            id: id.to_owned(),
        };
        let answer: wire::ResourceGetResponse =
            self.unary(STATE, self.deadline(), "Get", request).await?;
        let spec = answer
            .resource
            .and_then(|resource| resource.spec)
            .ok_or_else(|| self.unusable("Get", "it holds no resource"))?;
        T::decode(spec.proto_spec).map_err(|error| self.unusable("Get", &error.to_string()))
    }

    /// The bytes of a stream of data.
    fn join(&self, method: &'static str, frames: Vec<wire::Data>) -> Result<Bytes, ClientError> {
        let mut all = BytesMut::new();
        for frame in frames {
            if let Some(metadata) = frame.metadata
                && !metadata.error.is_empty()
            {
                return Err(ClientError::Call {
                    endpoint: self.endpoint().clone(),
                    method,
                    code: tonic::Code::Unknown,
                    message: metadata.error,
                });
            }
            all.extend_from_slice(&frame.bytes);
        }
        Ok(all.freeze())
    }

    fn unusable(&self, method: &'static str, message: &str) -> ClientError {
        ClientError::Answer {
            endpoint: self.endpoint().clone(),
            method,
            message: message.to_owned(),
        }
    }
}
