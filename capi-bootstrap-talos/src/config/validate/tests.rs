use secrecy::ExposeSecret as _;

use crate::config::{ConfigInput, ConfigOptions, Contract, MachineConfig, MachineType, Patch};
use crate::testing::{self, Peer};

fn base(contract: Contract, machine_type: MachineType) -> MachineConfig {
    ConfigInput {
        cluster_name: "c1",
        endpoint: "https://10.0.0.1:6443",
        kubernetes_version: "1.33.4",
        contract,
        bundle: testing::bundle(),
        options: ConfigOptions::default(),
    }
    .generate(machine_type)
    .unwrap()
}

fn patched(base: &MachineConfig, patch: &str) -> MachineConfig {
    base.patched(&Patch::parse(patch).unwrap()).unwrap()
}

#[test]
fn every_generated_configuration_is_valid() {
    for contract in [
        Contract::V1_9,
        Contract::V1_10,
        Contract::V1_11,
        Contract::V1_12,
        Contract::V1_13,
        Contract::V1_14,
    ] {
        for machine_type in [
            MachineType::Init,
            MachineType::ControlPlane,
            MachineType::Worker,
        ] {
            let config = base(contract, machine_type);
            assert_eq!(
                config.validate(Some(contract)),
                Ok(Vec::new()),
                "{contract} {machine_type}"
            );
        }
    }
}

/// Patches of a control plane machine of 1.11, and whether the result is valid.
const CONTROL_PLANE: &[(&str, bool)] = &[
    ("machine: {type: worker}", false),
    ("machine: {type: other}", false),
    ("machine: {$patch: delete}", false),
    ("cluster: {$patch: delete}", false),
    ("machine: {ca: {key: {$patch: delete}}}", false),
    ("machine: {ca: {$patch: delete}}", false),
    ("persist: false", false),
    ("cluster: {controlPlane: {endpoint: x}}", false),
    (
        "cluster: {controlPlane: {endpoint: {$patch: delete}}}",
        false,
    ),
    ("cluster: {network: {dnsDomain: 'a b'}}", false),
    ("cluster: {network: {dnsDomain: a.b}}", true),
    ("cluster: {network: {cni: {name: other}}}", false),
    ("cluster: {network: {cni: {name: none}}}", true),
    (
        "cluster: {network: {cni: {name: none, urls: ['https://a']}}}",
        false,
    ),
    ("cluster: {network: {cni: {name: custom}}}", true),
    (
        "cluster: {network: {cni: {name: custom, urls: [a]}}}",
        false,
    ),
    ("cluster: {id: {$patch: delete}}", false),
    (
        "cluster: {discovery: {enabled: false}, id: {$patch: delete}}",
        true,
    ),
    (
        "cluster: {discovery: {registries: {service: {endpoint: 'https://a/b'}}}}",
        false,
    ),
    (
        "cluster: {inlineManifests: [{name: a, contents: b}, {name: a, contents: c}]}",
        false,
    ),
    (
        "cluster: {inlineManifests: [{name: '', contents: b}]}",
        false,
    ),
    (
        "cluster: {externalCloudProvider: {enabled: false, manifests: ['https://a']}}",
        false,
    ),
    (
        "cluster: {externalCloudProvider: {enabled: true, manifests: ['https://a/b.yaml']}}",
        true,
    ),
    ("cluster: {etcd: {advertisedSubnets: [10.0.0.0/8]}}", true),
    ("cluster: {etcd: {advertisedSubnets: [x]}}", false),
    ("machine: {nodeLabels: {'a b': c}}", false),
    ("machine: {nodeLabels: {a: 'b c'}}", false),
    ("machine: {nodeLabels: {example.com/a: b_c.d}}", true),
    ("machine: {nodeTaints: {a: 'b:NoSchedule'}}", true),
    ("machine: {nodeTaints: {a: 'b:Other'}}", false),
    ("machine: {nodeAnnotations: {'a b': c}}", false),
    ("machine: {network: {interfaces: [{dhcp: true}]}}", false),
    (
        "machine: {network: {interfaces: [{interface: a, deviceSelector: {busPath: '0*'}}]}}",
        false,
    ),
    (
        "machine: {network: {interfaces: [{interface: a, vip: {ip: 10.0.0.2}}]}}",
        true,
    ),
    (
        "machine: {network: {interfaces: [{interface: b, bond: {interfaces: [a], mode: 802.3ad, lacpRate: fast}}, {interface: a, dhcp: true}]}}",
        false,
    ),
    (
        "machine: {network: {interfaces: [{interface: b, bond: {interfaces: [a], mode: active-backup, lacpRate: fast}}]}}",
        false,
    ),
    (
        "machine: {network: {interfaces: [{interface: b, bond: {interfaces: [a]}, bridge: {interfaces: [c]}}]}}",
        false,
    ),
    (
        "machine: {network: {interfaces: [{interface: a, addresses: [x]}]}}",
        false,
    ),
    (
        "machine: {network: {interfaces: [{interface: a, addresses: [10.0.0.5/24], routes: [{network: 0.0.0.0/0, gateway: 10.0.0.1}]}]}}",
        true,
    ),
    (
        "machine: {network: {interfaces: [{interface: a, routes: [{network: x, gateway: 10.0.0.1}]}]}}",
        false,
    ),
    ("machine: {network: {kubespan: {enabled: true}}}", true),
    (
        "machine: {network: {kubespan: {enabled: true, mtu: 1000}}}",
        false,
    ),
    (
        "machine: {disks: [{device: /dev/sdb, partitions: [{mountpoint: /a}, {mountpoint: /b, size: 1GB}]}]}",
        false,
    ),
    ("machine: {kubelet: {extraConfig: {port: 1}}}", false),
    ("machine: {kubelet: {extraConfig: {maxPods: 200}}}", true),
    ("machine: {features: {hostDNS: {enabled: false}}}", false),
    (
        "machine: {features: {kubernetesTalosAPIAccess: {enabled: true, allowedRoles: ['os:reader'], allowedKubernetesNamespaces: [kube-system]}}}",
        true,
    ),
    (
        "machine: {features: {kubernetesTalosAPIAccess: {enabled: true, allowedRoles: ['os:other']}}}",
        false,
    ),
    ("machine: {features: {nodeAddressSortAlgorithm: v2}}", true),
    ("machine: {features: {nodeAddressSortAlgorithm: v9}}", false),
    (
        "machine: {install: {extensions: [{image: a}, {image: a}]}}",
        false,
    ),
    ("machine: {install: {extensions: [{image: a}]}}", true),
    (
        "machine: {systemDiskEncryption: {state: {provider: luks2, keys: [{slot: 0, nodeID: {}}]}}}",
        true,
    ),
    (
        "machine: {systemDiskEncryption: {state: {provider: luks2, keys: []}}}",
        false,
    ),
    (
        "machine: {systemDiskEncryption: {state: {provider: luks2, keys: [{slot: 0, nodeID: {}}, {slot: 0, nodeID: {}}]}}}",
        false,
    ),
    (
        "machine: {logging: {destinations: [{endpoint: 'tcp://1.2.3.4:5000', format: json_lines}]}}",
        true,
    ),
    (
        "machine: {logging: {destinations: [{endpoint: 'tcp://1.2.3.4:5000', format: other}]}}",
        false,
    ),
    (
        "apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a",
        false,
    ),
    (
        "apiVersion: v1alpha1\nkind: ResolverConfig\nnameservers: [{address: 1.1.1.1}]",
        true,
    ),
    (
        "apiVersion: v1alpha1\nkind: TimeSyncConfig\nntp: {servers: [a]}\n---\nmachine: {time: {servers: [b]}}",
        false,
    ),
    (
        "apiVersion: v1alpha1\nkind: KubeSpanConfig\nenabled: true\n---\nmachine: {network: {kubespan: {enabled: true}}}",
        false,
    ),
    (
        "apiVersion: v1alpha1\nkind: UserVolumeConfig\nname: a\nprovisioning: {diskSelector: {match: system_disk}, minSize: 1GB}",
        true,
    ),
    (
        "apiVersion: v1alpha1\nkind: UserVolumeConfig\nname: a\nprovisioning: {minSize: 1GB}",
        false,
    ),
    (
        "apiVersion: v1alpha1\nkind: UserVolumeConfig\nname: 'a b'\nprovisioning: {diskSelector: {match: system_disk}, minSize: 1GB}",
        false,
    ),
    (
        "apiVersion: v1alpha1\nkind: UserVolumeConfig\nname: a\nprovisioning: {diskSelector: {match: system_disk}, minSize: 1GB}\nencryption: {provider: luks2}",
        false,
    ),
    (
        "apiVersion: v1alpha1\nkind: LinkConfig\nname: a\n---\napiVersion: v1alpha1\nkind: DummyLinkConfig\nname: a",
        false,
    ),
    ("apiVersion: v1alpha1\nkind: LinkConfig\nup: true", false),
    (
        "apiVersion: v1alpha1\nkind: VLANConfig\nname: a\nvlanID: 10\nparent: b",
        true,
    ),
    (
        "apiVersion: v1alpha1\nkind: VLANConfig\nname: a\nvlanID: 10",
        false,
    ),
    (
        "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: a",
        false,
    ),
    (
        "apiVersion: v1alpha1\nkind: SideroLinkConfig\napiUrl: https://a/b",
        false,
    ),
    (
        "apiVersion: v1alpha1\nkind: SideroLinkConfig\napiUrl: https://a?b=c",
        true,
    ),
];

/// The same for a worker of 1.12.
const WORKER: &[(&str, bool)] = &[
    (
        "machine: {network: {interfaces: [{interface: a, vip: {ip: 10.0.0.2}}]}}",
        false,
    ),
    ("cluster: {etcd: {}}", false),
    ("cluster: {ca: {key: YWJj}}", false),
    ("machine: {ca: {key: YWJj}}", false),
    (
        "machine: {features: {kubernetesTalosAPIAccess: {enabled: true}}}",
        false,
    ),
    ("machine: {type: join}", true),
    ("machine: {network: {hostname: a}}", false),
    (
        "apiVersion: v1alpha1\nkind: HostnameConfig\nhostname: a",
        false,
    ),
    (
        "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: off\nhostname: a.b",
        true,
    ),
    (
        "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: off\nhostname: .b",
        false,
    ),
    ("machine: {features: {stableHostname: true}}", false),
];

#[test]
fn what_talos_refuses_is_refused_and_what_it_accepts_is_accepted() {
    let peer = Peer::find();
    let mut failures = Vec::new();
    for (contract, machine_type, cases) in [
        (Contract::V1_11, MachineType::ControlPlane, CONTROL_PLANE),
        (Contract::V1_12, MachineType::Worker, WORKER),
    ] {
        let base = base(contract, machine_type);
        for (patch, valid) in cases {
            let config = patched(&base, patch);
            let ours = config.validate(Some(contract));
            if ours.is_ok() != *valid {
                failures.push(format!("{patch}\n    ours: {ours:?}"));
            }
            if let Some(peer) = &peer {
                let theirs = peer.validate(config.to_yaml().expose_secret());
                if theirs.is_ok() != *valid {
                    failures.push(format!("{patch}\n    theirs: {theirs:?}"));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_is_newer_than_the_machine_s_talos_is_refused_with_the_version() {
    let base = base(Contract::V1_13, MachineType::Worker);
    for (patch, expected) in [
        (
            "apiVersion: v1alpha1\nkind: SysctlConfig\nparams: {a: b}",
            "SysctlConfig is known since Talos 1.14",
        ),
        (
            "apiVersion: v1alpha1\nkind: DHCPv4Config\nname: a\nignoreRoutes: true",
            "ignoreRoutes is known since Talos 1.14",
        ),
    ] {
        let config = patched(&base, patch);
        let error = config
            .validate(Some(Contract::V1_13))
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(config.validate(None), Ok(Vec::new()));
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let base = base(Contract::V1_11, MachineType::ControlPlane);
    let config = patched(&base, "persist: false\nmachine: {nodeLabels: {'a b': c}}");
    let error = config.validate(None).unwrap_err().to_string();
    assert!(
        error.contains("persist") && error.contains("nodeLabels"),
        "{error}"
    );
}
