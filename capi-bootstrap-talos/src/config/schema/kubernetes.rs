//! Documents of Kubernetes (since Talos 1.14).
//!
//! Names and types of the fields, in the order in which Talos writes them.

use super::Text::{Prefix, Url};
use super::Type::{Args, Bool, Free, Int, List, Map, Opt, Str, Struct, Text, Uint};
use super::other::CERTIFICATE_AND_KEY;
use super::{K, O, R, structs};

structs! {
    ACCEPTED_SERVICE_ACCOUNT_CONFIG {
        "publicKeys" O: List(&Str),
        "issuers" O: List(&Text(Url)),
        "audiences" O: List(&Str),
    }
    ISSUER_SERVICE_ACCOUNT_CONFIG {
        "privateKey" K: Str,
        "issuerURL" K: Text(Url),
    }
    K8S_KUBELET_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "image" K: Str,
        "config" K: Free,
        "extraArgs" O: Args,
        "clusterDNS" O: List(&Str),
        "defaultRuntimeSeccompProfileEnabled" O: Opt(&Bool),
    }
    K8S_RESOURCES_CONFIG {
        "requests" O: Free,
        "limits" O: Free,
    }
    KUBE_ADMISSION_CONTROL_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "configuration" K: Free,
    }
    KUBE_AGGREGATOR_CA_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "issuingCA" O: Opt(&Struct(&CERTIFICATE_AND_KEY)),
        "acceptedCAs" O: List(&Str),
    }
    KUBE_API_SERVER_CA_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "issuingCA" O: Opt(&Struct(&CERTIFICATE_AND_KEY)),
        "acceptedCAs" O: List(&Str),
    }
    KUBE_API_SERVER_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "image" K: Str,
        "extraArgs" O: Args,
        "env" O: Map(&Str),
        "resources" O: Struct(&K8S_RESOURCES_CONFIG),
        "apiPort" O: Opt(&Int(64)),
        "certExtraSANs" O: List(&Str),
        "startupProbes" O: Opt(&Bool),
    }
    KUBE_AUDIT_POLICY_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "configuration" R: Free,
    }
    KUBE_AUTHENTICATION_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "configuration" R: Free,
    }
    KUBE_AUTHORIZER_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "type" K: Str,
        "webhook" O: Free,
    }
    KUBE_CLUSTER_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "clusterName" K: Str,
        "endpoint" K: Text(Url),
    }
    KUBE_CONTROLLER_MANAGER_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "enabled" O: Opt(&Bool),
        "image" K: Str,
        "extraArgs" O: Args,
        "env" O: Map(&Str),
        "resources" O: Struct(&K8S_RESOURCES_CONFIG),
    }
    KUBE_CORE_DNS_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "enabled" O: Opt(&Bool),
        "image" O: Str,
    }
    KUBE_CREDENTIAL_PROVIDER_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "configuration" R: Free,
    }
    KUBE_ETCD_ENCRYPTION_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "config" K: Free,
    }
    KUBE_EXTERNAL_MANIFEST_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "headers" O: Map(&Str),
        "url" K: Text(Url),
    }
    KUBE_FLANNEL_CNI_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "backendType" K: Str,
        "backendPort" O: Uint(16),
        "backendMTU" O: Uint(32),
        "backendExtraConfig" O: Free,
        "resources" O: Struct(&K8S_RESOURCES_CONFIG),
        "extraArgs" O: List(&Str),
        "kubeNetworkPoliciesEnabled" O: Opt(&Bool),
    }
    KUBE_INLINE_MANIFEST_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "manifest" K: Str,
    }
    KUBE_NETWORK_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "dnsDomain" K: Str,
        "podSubnets" R: List(&Text(Prefix)),
        "serviceSubnets" R: List(&Text(Prefix)),
        "nodeCIDRMaskSizeIPv4" O: Int(64),
        "nodeCIDRMaskSizeIPv6" O: Int(64),
    }
    KUBE_NODE_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "skipNodeRegistration" O: Opt(&Bool),
        "registerWithFQDN" O: Opt(&Bool),
        "nodeIP" K: Struct(&NODE_IP_CONFIG),
        "labels" O: Map(&Str),
        "annotations" O: Map(&Str),
        "taints" O: Map(&Str),
    }
    KUBE_PRISM_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "port" K: Int(64),
        "tlsServerName" O: Str,
    }
    KUBE_PROXY_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "enabled" O: Opt(&Bool),
        "image" O: Str,
        "mode" O: Str,
        "config" K: Free,
        "extraArgs" O: Args,
        "resources" O: Struct(&K8S_RESOURCES_CONFIG),
    }
    KUBE_SCHEDULER_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "enabled" O: Opt(&Bool),
        "image" K: Str,
        "config" K: Free,
        "extraArgs" O: Args,
        "env" O: Map(&Str),
        "resources" O: Struct(&K8S_RESOURCES_CONFIG),
    }
    KUBE_SERVICE_ACCOUNT_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "issuer" K: Struct(&ISSUER_SERVICE_ACCOUNT_CONFIG),
        "accepted" O: Struct(&ACCEPTED_SERVICE_ACCOUNT_CONFIG),
    }
    KUBE_STATIC_POD_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "name" K: Str,
        "pod" R: Free,
    }
    KUBE_TALOS_API_ACCESS_CONFIG {
        "apiVersion" O: Str,
        "kind" K: Str,
        "allowedRoles" O: List(&Str),
        "allowedKubernetesNamespaces" O: List(&Str),
    }
    NODE_IP_CONFIG {
        "validSubnets" O: List(&Str),
    }
}
