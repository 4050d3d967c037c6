//! The v1alpha1 document: `machine` and `cluster`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret as _, SecretString};

use super::{
    ConfigInput, GenerateError, IntoNode as _, KUBE_PRISM_PORT, audit_policy, object, pod_security,
    texts,
};
use crate::config::MachineType;
use crate::config::yaml::{Mapping, Node};
use crate::secrets::{EtcdEncryption, PemPair};

fn base64_key(key: &SecretString) -> Node {
    let encoded = Zeroizing::new(STANDARD.encode(key.expose_secret()));
    Node::string(encoded.as_str())
}

/// Certificate and key, in base64.
fn pair(pair: &PemPair) -> Mapping {
    object! { "crt": STANDARD.encode(&pair.certificate), "key": base64_key(&pair.key) }
}

/// The certificate alone: what a worker may know of an authority.
fn certificate(pair: &PemPair) -> Mapping {
    object! { "crt": STANDARD.encode(&pair.certificate), "key": "" }
}

/// Nothing where the condition does not hold.
fn when<T>(condition: bool, value: impl FnOnce() -> T) -> Option<T> {
    condition.then(value)
}

impl ConfigInput<'_> {
    pub(super) fn v1alpha1(&self, machine_type: MachineType) -> Result<Mapping, GenerateError> {
        Ok(object! {
            "version": "v1alpha1",
            "debug": false,
            "persist": true,
            "machine": self.machine(machine_type),
            "cluster": if machine_type.is_control_plane() {
                self.control_plane_cluster()?
            } else {
                self.worker_cluster()
            },
        })
    }

    fn machine(&self, machine_type: MachineType) -> Mapping {
        let contract = self.contract;
        let options = &self.options;
        let authority = &self.bundle.certificates.talos;
        let kubernetes = !contract.since(14);
        object! {
            "type": machine_type.as_str(),
            "token": &self.bundle.trustd_token,
            "ca": if machine_type.is_control_plane() { pair(authority) } else { certificate(authority) },
            "certSANs": Node::strings(&options.additional_names),
            "kubelet": when(kubernetes, || object! {
                "image": self.image("ghcr.io/siderolabs/kubelet"),
                "defaultRuntimeSeccompProfileEnabled": when(contract.since(2), || true),
                "disableManifestsDirectory": when(contract.since(3), || true),
            }),
            "network": when(!contract.since(13), || object! {
                "kubespan": options.kube_span.map(|enabled| object! { "enabled": enabled }),
            }),
            "install": when(kubernetes, || self.install()),
            "sysctls": when(kubernetes && !options.sysctls.is_empty(), || texts(&options.sysctls)),
            "registries": self.registries(),
            "features": self.features(),
            "nodeLabels": when(kubernetes && contract.since(8) && machine_type.is_control_plane(), || object! {
                "node.kubernetes.io/exclude-from-external-load-balancers": "",
            }),
        }
    }

    fn install(&self) -> Mapping {
        let install = &self.options.install;
        object! {
            "disk": install.disk.as_deref(),
            "extraKernelArgs": when(!install.extra_kernel_args.is_empty(), || {
                Node::strings(&install.extra_kernel_args)
            }),
            "image": install.image.as_deref(),
            "wipe": false,
            "grubUseUKICmdline": when(self.contract.since(12), || true),
        }
    }

    /// Registries are documents since 1.12. Talos 1.2 moved Kubernetes' images by a mirror.
    fn registries(&self) -> Option<Mapping> {
        if self.contract.is_multi_document() {
            return None;
        }
        let mut mirrors = Mapping::default();
        let moved = [
            "https://registry.k8s.io".to_owned(),
            "https://k8s.gcr.io".to_owned(),
        ];
        if self.contract.since(2) && !self.contract.since(3) {
            mirrors.set(
                "k8s.gcr.io",
                Node::Mapping(object! { "endpoints": Node::strings(moved) }),
            );
        }
        for (host, endpoints) in &self.options.registry_mirrors {
            mirrors.set(
                host.as_str(),
                Node::Mapping(object! { "endpoints": Node::strings(endpoints) }),
            );
        }
        when(!mirrors.is_empty(), || object! { "mirrors": mirrors })
    }

    fn features(&self) -> Mapping {
        let contract = self.contract;
        let legacy = !contract.since(12);
        let documents = contract.since(14);
        object! {
            "rbac": when(legacy, || true),
            "stableHostname": when(legacy && contract.since(2), || true),
            "apidCheckExtKeyUsage": when(legacy && contract.since(3), || true),
            "diskQuotaSupport": when(contract.since(5), || true),
            "kubePrism": when(contract.since(6) && !documents, || object! {
                "enabled": true,
                "port": KUBE_PRISM_PORT,
            }),
            "hostDNS": when(contract.since(7) && !documents, || object! {
                "enabled": true,
                "forwardKubeDNSToHost": when(contract.since(8), || true),
            }),
        }
    }

    fn control_plane_cluster(&self) -> Result<Mapping, GenerateError> {
        let certificates = &self.bundle.certificates;
        let etcd = object! { "ca": pair(&certificates.etcd) };
        if self.contract.since(14) {
            return Ok(object! { "token": &self.bundle.bootstrap_token, "etcd": etcd });
        }
        let [secretbox, aescbc] = self.encryption_secrets();
        let scheduling = self.options.allow_scheduling_on_control_planes;
        let stable = self.contract.since(2);
        Ok(object! {
            "id": self.cluster_identity(),
            "secret": self.cluster_secret(),
            "controlPlane": object! {
                "endpoint": self.endpoint,
                "localAPIServerPort": self.options.local_api_server_port,
            },
            "clusterName": self.cluster_name,
            "network": self.network(),
            "token": &self.bundle.bootstrap_token,
            "aescbcEncryptionSecret": aescbc,
            "secretboxEncryptionSecret": secretbox,
            "ca": pair(&certificates.kubernetes),
            "aggregatorCA": pair(&certificates.aggregator),
            "serviceAccount": object! { "key": base64_key(&certificates.service_account_key) },
            "apiServer": self.api_server()?,
            "controllerManager": object! { "image": self.image("registry.k8s.io/kube-controller-manager") },
            "proxy": object! { "image": self.image("registry.k8s.io/kube-proxy") },
            "scheduler": object! { "image": self.image("registry.k8s.io/kube-scheduler") },
            "discovery": self.discovery(),
            "etcd": etcd,
            "allowSchedulingOnMasters": when(scheduling && !stable, || true),
            "allowSchedulingOnControlPlanes": when(scheduling && stable, || true),
        })
    }

    fn worker_cluster(&self) -> Mapping {
        if self.contract.since(14) {
            return object! { "token": &self.bundle.bootstrap_token };
        }
        object! {
            "id": self.cluster_identity(),
            "secret": self.cluster_secret(),
            "controlPlane": object! { "endpoint": self.endpoint },
            "clusterName": when(self.contract.since(8), || self.cluster_name),
            "network": self.network(),
            "token": &self.bundle.bootstrap_token,
            "ca": certificate(&self.bundle.certificates.kubernetes),
            "discovery": self.discovery(),
        }
    }

    fn cluster_identity(&self) -> Option<&str> {
        Some(self.bundle.cluster_id.as_str()).filter(|id| !id.is_empty())
    }

    fn cluster_secret(&self) -> Option<Node> {
        let secret = &self.bundle.cluster_secret;
        when(!secret.expose_secret().is_empty(), || secret.into_node()).flatten()
    }

    /// The secrets that encrypt etcd, as (secretbox, AES-CBC): the bundle's own kind is kept
    /// whatever the contract, because nothing else can read what is stored already.
    fn encryption_secrets(&self) -> [Option<&SecretString>; 2] {
        let mut secrets = [None, None];
        let other = self.bundle.other_encryption.as_ref();
        for encryption in std::iter::once(&self.bundle.etcd_encryption).chain(other) {
            match encryption {
                EtcdEncryption::Secretbox(secret) => secrets[0] = Some(secret),
                EtcdEncryption::AesCbc(secret) => secrets[1] = Some(secret),
            }
        }
        if !self.contract.uses_secretbox() {
            secrets[0] = None;
        }
        if secrets[0].is_some() {
            secrets[1] = None;
        }
        secrets
    }

    fn network(&self) -> Mapping {
        let options = &self.options;
        object! {
            "cni": options.cni_url.as_ref().map(|url| object! {
                "name": "custom",
                "urls": Node::strings([url]),
            }),
            "dnsDomain": options.dns_domain.as_str(),
            "podSubnets": Node::strings(&options.pod_subnets),
            "serviceSubnets": Node::strings(&options.service_subnets),
        }
    }

    fn discovery(&self) -> Mapping {
        object! {
            "enabled": self.options.discovery,
            "registries": object! {
                "kubernetes": object! { "disabled": when(self.contract.since(2), || true) },
                "service": Mapping::default(),
            },
        }
    }

    fn api_server(&self) -> Result<Mapping, GenerateError> {
        let contract = self.contract;
        let host = self.endpoint_host()?;
        let mut names: Vec<&str> = Vec::new();
        if !contract.since(12) {
            names.push(host);
        }
        names.extend(self.options.additional_names.iter().map(String::as_str));
        Ok(object! {
            "image": self.image("registry.k8s.io/kube-apiserver"),
            "certSANs": when(!names.is_empty(), || Node::strings(names)),
            "disablePodSecurityPolicy": when(!contract.since(12), || true),
            "admissionControl": when(contract.since(1), || Node::Sequence(vec![Node::Mapping(object! {
                "name": "PodSecurity",
                "configuration": pod_security(),
            })])),
            "auditPolicy": when(contract.since(3), audit_policy),
        })
    }
}
