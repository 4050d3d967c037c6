//! The documents of Kubernetes that replace `cluster` and `machine.kubelet` since 1.14.

use secrecy::ExposeSecret as _;

use super::{ConfigInput, IntoNode as _, KUBE_PRISM_PORT, audit_policy, object, pod_security};
use crate::config::MachineType;
use crate::config::yaml::{Mapping, Node};
use crate::secrets::{EtcdEncryption, PemPair};

/// Port of flannel's VXLAN backend.
const FLANNEL_PORT: u16 = 4789;
const CONTROL_PLANE_LABEL: &str = "node-role.kubernetes.io/control-plane";

/// A document with its type, which is always `v1alpha1`.
fn document(kind: &str, fields: Mapping) -> Mapping {
    let mut document = object! { "apiVersion": "v1alpha1", "kind": kind };
    for entry in fields.into_entries() {
        document.set(entry.key, entry.value);
    }
    document
}

/// Certificate and key, as PEM.
fn issuing(pair: &PemPair) -> Mapping {
    object! { "issuingCA": object! { "cert": pair.certificate.as_str(), "key": &pair.key } }
}

impl ConfigInput<'_> {
    pub(super) fn kubernetes_documents(
        &self,
        machine_type: MachineType,
        documents: &mut Vec<Mapping>,
    ) {
        self.documents_of_every_machine(machine_type.is_control_plane(), documents);
        if machine_type.is_control_plane() {
            self.control_plane_documents(documents);
        }
    }

    fn documents_of_every_machine(&self, control_plane: bool, documents: &mut Vec<Mapping>) {
        let options = &self.options;
        documents.push(document(
            "KubeClusterConfig",
            object! { "clusterName": self.cluster_name, "endpoint": self.endpoint },
        ));
        let mut node = object! { "nodeIP": Mapping::default() };
        if control_plane {
            let mut labels = Mapping::default();
            labels.set(CONTROL_PLANE_LABEL, Node::string(""));
            labels.set(
                "node.kubernetes.io/exclude-from-external-load-balancers",
                Node::string(""),
            );
            node.set("labels", Node::Mapping(labels));
            if !options.allow_scheduling_on_control_planes {
                let mut taints = Mapping::default();
                taints.set(CONTROL_PLANE_LABEL, Node::string("NoSchedule"));
                node.set("taints", Node::Mapping(taints));
            }
        }
        documents.push(document("KubeNodeConfig", node));
        documents.push(document(
            "KubeletConfig",
            object! {
                "image": self.image("ghcr.io/siderolabs/kubelet"),
                "config": Mapping::default(),
                "defaultRuntimeSeccompProfileEnabled": true,
            },
        ));
        documents.push(document(
            "KubeNetworkConfig",
            object! {
                "dnsDomain": options.dns_domain.as_str(),
                "podSubnets": Node::strings(&options.pod_subnets),
                "serviceSubnets": Node::strings(&options.service_subnets),
            },
        ));
        let authority = &self.bundle.certificates.kubernetes;
        documents.push(document(
            "KubeAPIServerCAConfig",
            if control_plane {
                issuing(authority)
            } else {
                object! { "acceptedCAs": Node::strings([&authority.certificate]) }
            },
        ));
        documents.push(document(
            "KubePrismConfig",
            object! { "port": KUBE_PRISM_PORT },
        ));
    }

    fn control_plane_documents(&self, documents: &mut Vec<Mapping>) {
        let options = &self.options;
        let certificates = &self.bundle.certificates;
        documents.push(document(
            "KubeAggregatorCAConfig",
            issuing(&certificates.aggregator),
        ));
        documents.push(document(
            "KubeAdmissionControlConfig",
            object! { "name": "PodSecurity", "configuration": pod_security() },
        ));
        documents.push(document(
            "KubeAuditPolicyConfig",
            object! { "configuration": audit_policy() },
        ));
        let path = |path: &str| Node::Mapping(object! { "path": path });
        documents.push(document(
            "KubeAuthenticationConfig",
            object! {
                "configuration": object! {
                    "anonymous": object! {
                        "conditions": Node::Sequence(["/livez", "/readyz", "/healthz"].map(path).into()),
                        "enabled": true,
                    },
                    "jwt": Node::Sequence(Vec::new()),
                },
            },
        ));
        for (name, kind) in [("node", "Node"), ("rbac", "RBAC")] {
            documents.push(document(
                "KubeAuthorizerConfig",
                object! { "name": name, "type": kind },
            ));
        }
        documents.push(document(
            "KubeEtcdEncryptionConfig",
            object! { "config": self.etcd_encryption() },
        ));
        documents.push(document(
            "KubeServiceAccountConfig",
            object! {
                "issuer": object! {
                    "privateKey": &certificates.service_account_key,
                    "issuerURL": self.endpoint,
                },
            },
        ));
        let names = &options.additional_names;
        documents.push(document(
            "KubeAPIServerConfig",
            object! {
                "image": self.image("registry.k8s.io/kube-apiserver"),
                "apiPort": options.local_api_server_port,
                "certExtraSANs": (!names.is_empty()).then(|| Node::strings(names)),
            },
        ));
        documents.push(document(
            "KubeControllerManagerConfig",
            object! { "image": self.image("registry.k8s.io/kube-controller-manager") },
        ));
        for (kind, image) in [
            ("KubeSchedulerConfig", "kube-scheduler"),
            ("KubeProxyConfig", "kube-proxy"),
        ] {
            documents.push(document(
                kind,
                object! {
                    "image": self.image(&format!("registry.k8s.io/{image}")),
                    "config": Mapping::default(),
                },
            ));
        }
        if options.cni_url.is_none() {
            documents.push(document(
                "KubeFlannelCNIConfig",
                object! { "backendType": "vxlan", "backendPort": FLANNEL_PORT },
            ));
        }
        documents.push(document("KubeCoreDNSConfig", object! { "enabled": true }));
        if let Some(url) = &options.cni_url {
            documents.push(document(
                "KubeExternalManifestConfig",
                object! { "name": "custom-cni", "url": url.as_str() },
            ));
        }
    }

    /// How etcd is encrypted. The providers' kinds and the names of their keys are those that
    /// nodes made from the older form: with others, stored secrets could not be read again.
    /// (Upstream writes AES-CBC keys as secretbox here.)
    fn etcd_encryption(&self) -> Mapping {
        let other = self.bundle.other_encryption.as_ref();
        let providers = std::iter::once(&self.bundle.etcd_encryption)
            .chain(other)
            .map(|encryption| {
                let (kind, name, secret) = match encryption {
                    EtcdEncryption::Secretbox(secret) => ("secretbox", "key2", secret),
                    EtcdEncryption::AesCbc(secret) => ("aescbc", "key1", secret),
                };
                let key = object! { "name": name, "secret": secret.expose_secret() };
                let keys = object! { "keys": Node::Sequence(vec![Node::Mapping(key)]) };
                let mut provider = Mapping::default();
                provider.set(kind, Node::Mapping(keys));
                Node::Mapping(provider)
            })
            .collect();
        let resource = object! {
            "providers": Node::Sequence(providers),
            "resources": Node::strings(["secrets"]),
        };
        object! { "resources": resource.into_node().map(|resource| Node::Sequence(vec![resource])) }
    }
}
