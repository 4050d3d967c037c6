use secrecy::ExposeSecret as _;

use super::*;
use crate::testing::{self, assert_same_text, upstream};

fn vector(path: &str) -> String {
    let root = upstream().expect("checked by the caller");
    std::fs::read_to_string(root.join("talos/patches").join(path)).unwrap()
}

fn apply(config: &str, patches: &[&str]) -> Result<String, ConfigError> {
    let mut config = MachineConfig::load(config)?;
    for patch in patches {
        config = config.patched(&Patch::parse(patch)?)?;
    }
    Ok(config.to_yaml().expose_secret().to_owned())
}

#[test]
fn debug_of_a_patch_shows_no_value() {
    for text in [
        "machine: {token: s3cr3t}",
        "[{\"op\": \"add\", \"path\": \"/machine/token\", \"value\": \"s3cr3t\"}]",
    ] {
        let shown = format!("{:?}", Patch::parse(text).unwrap());
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}

/// The configuration and its patches, and the file of the expected result.
const VECTORS: &[(&str, &[&str], &str)] = &[
    (
        "apply/config.yaml",
        &[
            "apply/strategic1.yaml",
            "apply/jsonpatch1.yaml",
            "apply/jsonpatch2.yaml",
            "apply/strategic2.yaml",
            "apply/strategic3.yaml",
        ],
        "apply/expected.yaml",
    ),
    (
        "apply/config.yaml",
        &["apply/strategic4.yaml"],
        "apply/expected_manifests.yaml",
    ),
    (
        "multidoc/config.yaml",
        &["multidoc/strategic1.yaml", "multidoc/strategic2.yaml"],
        "multidoc/expected.yaml",
    ),
    (
        "patchdelete/config.yaml",
        &["patchdelete/strategic1.yaml"],
        "patchdelete/expected.yaml",
    ),
    (
        "patchdelete/controlplane_orig.yaml",
        &[
            "patchdelete/strategic2.yaml",
            "patchdelete/strategic3.yaml",
            "patchdelete/strategic4.yaml",
        ],
        "patchdelete/controlplane_expected.yaml",
    ),
];

#[test]
fn the_patch_vectors_of_talos_give_what_talos_expects() {
    if upstream().is_none() {
        return;
    }
    for (config, patches, expected) in VECTORS {
        let patches: Vec<String> = patches.iter().map(|path| vector(path)).collect();
        let patches: Vec<&str> = patches.iter().map(String::as_str).collect();
        let result =
            apply(&vector(config), &patches).unwrap_or_else(|error| panic!("{expected}: {error}"));
        assert_same_text(&result, &vector(expected), expected);
    }
}

#[test]
fn a_json_patch_for_several_documents_is_refused_and_says_what_to_do() {
    if upstream().is_none() {
        return;
    }
    let error = apply(
        &vector("multidoc/config.yaml"),
        &[&vector("multidoc/jsonpatch.yaml")],
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("not supported for multi-document") && error.contains("strategicPatches"),
        "{error}"
    );
}

#[test]
fn golden_files_survive_strict_reading_byte_for_byte() {
    let Some(root) = upstream() else { return };
    let mut read = 0;
    for version in ["v1.9", "v1.10", "v1.11", "v1.12", "v1.14"] {
        for file in std::fs::read_dir(root.join("talos/stability").join(version)).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let config =
                MachineConfig::load(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            assert_same_text(
                config.to_yaml().expose_secret(),
                &text,
                &path.display().to_string(),
            );
            read += 1;
        }
    }
    assert_eq!(read, 18);
}

/// Patches, each applied to a control plane configuration by us and by Talos' own library.
const DIFFERENTIAL: &[&str] = &[
    "machine: {sysctls: {a: 1, b: '2', c: yes, d: 0755, e: 1.20}}",
    "machine: {certSANs: [a, 10.0.0.1], kubelet: {extraArgs: {v: 4, feature-gates: A=true}, clusterDNS: [10.0.0.10]}}",
    "machine: {kubelet: {extraConfig: {maxPods: 0x10, x: 1.0, y: 1e3, z: [1, a, null], w: {a: ~}, o: 0755, s: '0755', t: yes}}}",
    "machine: {network: {interfaces: [{interface: eth0, dhcp: yes, vlans: [{vlanId: 10, addresses: [10.0.0.1/24]}]}, {interface: eth0, mtu: 1500, vlans: [{vlanId: 10, mtu: 9000}]}]}}",
    "machine: {network: {interfaces: [{deviceSelector: {hardwareAddr: '02:*'}, dhcp: true}, {deviceSelector: {hardwareAddr: '02:*'}, mtu: 1400}]}}",
    "machine: {install: {disk: /dev/sda, wipe: true, extraKernelArgs: [a=b], diskSelector: {size: '>= 10GB', type: ssd}}}",
    "machine: {files: [{content: 'a', permissions: 0o644, path: /var/a, op: create}, {content: \"b\\n\", permissions: 420, path: /var/b, op: append}]}",
    "machine: {disks: [{device: /dev/sdb, partitions: [{mountpoint: /var/mnt, size: 10GB}, {mountpoint: /var/m, size: 12345}]}]}",
    "machine: {time: {disabled: false, servers: [a], bootTimeout: 120s}}",
    "machine: {features: {rbac: false, kubePrism: {enabled: false}, hostDNS: {forwardKubeDNSToHost: false}}}",
    "machine: {nodeLabels: {a: b, node.kubernetes.io/exclude-from-external-load-balancers: {$patch: delete}}}",
    "machine: {kubelet: {image: {$patch: delete}}}",
    "machine: {install: {$patch: delete}}",
    "machine:\n  features:\n    $patch: delete\n---\nmachine:\n  sysctls: {a: b}",
    "cluster: {apiServer: {certSANs: [x], extraArgs: {a: b}, admissionControl: [{name: PodSecurity, configuration: {defaults: {enforce: restricted}, exemptions: {namespaces: [a]}}}, {name: Other, configuration: {}}]}}",
    "cluster: {apiServer: {admissionControl: [{name: PodSecurity, $patch: delete}]}}",
    "cluster: {apiServer: {auditPolicy: {apiVersion: audit.k8s.io/v1, kind: Policy, rules: []}}}",
    "cluster: {network: {podSubnets: [10.0.0.0/8], cni: {name: none}}}",
    "cluster: {network: {podSubnets: []}}",
    "cluster: {inlineManifests: [{name: a, contents: \"\\n\\na: b\\n\"}], extraManifests: [https://a/b], extraManifestHeaders: {A: b}}",
    "cluster: {etcd: {extraArgs: {a: b}, advertisedSubnets: [10.0.0.0/8]}, proxy: {disabled: true, mode: ipvs}, coreDNS: {disabled: true}}",
    "cluster: {ca: {crt: '', key: ''}}",
    "cluster: {controlPlane: {endpoint: 'https://new:6443'}, clusterName: other, id: '', allowSchedulingOnControlPlanes: false}",
    "debug: true\npersist: false",
    "machine: null\ncluster: ~",
    "machine: {type: worker, registries: {mirrors: {docker.io: {endpoints: [https://m], overridePath: true}}, config: {h: {tls: {ca: YWJj, insecureSkipVerify: true}}}}}",
    "apiVersion: v1alpha1\nkind: HostnameConfig\nauto: off\nhostname: a",
    "apiVersion: v1alpha1\nkind: ResolverConfig\nnameservers: [{address: 1.1.1.1}]\nsearchDomains: {domains: [a.b], disableDefault: false}",
    "apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nprovisioning: {diskSelector: {match: 'disk.transport == \"nvme\"'}, minSize: 1GB, maxSize: 10GiB, grow: true}",
    "apiVersion: v1alpha1\nkind: UserVolumeConfig\nname: u\nprovisioning: {diskSelector: {match: system_disk}, minSize: 1GB}\nfilesystem: {type: ext4}\nencryption: {provider: luks2, keys: [{slot: 0, static: {passphrase: a}}, {slot: 1, nodeID: {}}]}",
    "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nup: true\nmtu: 1500\naddresses: [{address: 10.0.0.5/24}]\nroutes: [{gateway: 10.0.0.1}, {destination: 10.9.0.0/16, gateway: 10.0.0.2, metric: 100}]",
    "apiVersion: v1alpha1\nkind: BondConfig\nname: bond0\nlinks: [a, b]\nbondMode: 802.3ad\nlacpRate: fast\nxmitHashPolicy: layer3+4\nhardwareAddr: 02:00:00:00:00:0A",
    "apiVersion: v1alpha1\nkind: NetworkRuleConfig\nname: r\nportSelector: {ports: [80, 90-100, 5-5], protocol: tcp}\ningress: [{subnet: 10.0.0.0/8, except: 10.1.0.0/16}]",
    "apiVersion: v1alpha1\nkind: NetworkDefaultActionConfig\ningress: block",
    "apiVersion: v1alpha1\nkind: ExtensionServiceConfig\nname: s\nconfigFiles: [{content: a, mountPath: /x}, {content: b, mountPath: /y}]\nenvironment: [A=b]",
    "apiVersion: v1alpha1\nkind: WatchdogTimerConfig\ndevice: /dev/watchdog0\ntimeout: 2m",
    "apiVersion: v1alpha1\nkind: KmsgLogConfig\nname: k\nurl: tcp://1.2.3.4:5000/",
    "apiVersion: v1alpha1\nkind: TrustedRootsConfig\nname: t\ncertificates: |\n  -----BEGIN CERTIFICATE-----\n  x\n  -----END CERTIFICATE-----",
    "apiVersion: v1alpha1\nkind: WireguardConfig\nname: wg0\nprivateKey: abc\nlistenPort: 51820\npeers: [{publicKey: x, endpoint: '10.0.0.1:51820', allowedIPs: [10.0.0.0/8], persistentKeepaliveInterval: 25s}]",
    "apiVersion: v1alpha1\nkind: EthernetConfig\nname: e\nfeatures: {tx-checksum-ipv4: true}\nrings: {rx: 16}\nwakeOnLan: [unicast]",
    "apiVersion: v1alpha1\nkind: RegistryMirrorConfig\nname: docker.io\nendpoints: [{url: https://a, overridePath: true}]\nskipFallback: false",
    "apiVersion: v1alpha1\nkind: TimeSyncConfig\nenabled: false\nbootTimeout: 1m30s\nntp: {servers: [a]}",
    "apiVersion: v1alpha1\nkind: OOMConfig\ntriggerExpression: 'true'\nsampleInterval: 100ms",
    "apiVersion: v1alpha1\nkind: Layer2VIPConfig\nname: 10.0.0.9\nlink: eth0",
    "apiVersion: v1alpha1\nkind: RoutingRuleConfig\nname: '1000'\nsrc: 10.0.0.0/8\ntable: main\naction: unicast",
    "apiVersion: v1alpha1\nkind: ImageVerificationConfig\nrules: [{image: a, skip: true}, {image: b, deny: true}]",
    "machine: {pods: [{apiVersion: v1, kind: Pod, metadata: {name: a}}], seccompProfiles: [{name: a, value: {x: 1}}], udev: {rules: [a]}, logging: {destinations: [{endpoint: 'tcp://1.2.3.4:5/', format: json_lines, extraTags: {a: b}}]}, kernel: {modules: [{name: a, parameters: [b]}]}}",
    "machine: {systemDiskEncryption: {ephemeral: {provider: luks2, keys: [{slot: 0, nodeID: {}}], options: [a]}}, nodeTaints: {a: 'b:NoSchedule'}, env: {A: b}, controlPlane: {controllerManager: {disabled: true}}}",
    "cluster: {externalCloudProvider: {enabled: true, manifests: [a]}, adminKubeconfig: {certLifetime: 8760h}, discovery: {registries: {service: {endpoint: 'https://x'}}}, scheduler: {config: {a: 1}, extraVolumes: [{hostPath: /a, mountPath: /b, readonly: true}], resources: {requests: {cpu: 1}}}}",
    "machine: {acceptedCAs: [{crt: YWJj}]}",
    "[{\"op\": \"add\", \"path\": \"/machine/sysctls\", \"value\": {\"a\": \"b\"}}, {\"op\": \"replace\", \"path\": \"/machine/type\", \"value\": \"worker\"}]",
    "- op: replace\n  path: /cluster/notSet\n  value: 1",
    "- {op: add, path: /machine/certSANs/-, value: a}\n- {op: add, path: /machine/certSANs/0, value: b}\n- {op: copy, from: /machine/certSANs/0, path: /machine/certSANs/-}\n- {op: move, from: /machine/certSANs/0, path: /machine/certSANs/-}\n- {op: test, path: /machine/certSANs/1, value: b}\n- {op: remove, path: /machine/certSANs/0}",
    // refused by both
    "machine: {unknown: 1}",
    "machine: {kubelet: {image: [a]}}",
    "machine: {certSANs: a}",
    "machine: {time: {bootTimeout: x}}",
    "machine: {ca: {crt: '!'}}",
    "kind: HostnameConfig\nhostname: a",
    "apiVersion: v1alpha1\nkind: NoSuchKind\na: b",
    "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\naddresses: [{address: x}]",
    "apiVersion: v1alpha1\nkind: BondConfig\nname: bond0\nbondMode: none",
    "machine: {nodeLabels: {missing: {$patch: delete}}}",
    "machine: {$patch: replace}",
    "$patch: delete",
    "machine: {kubelet: {extraMounts: [{destination: /a, options: [{$patch: delete}]}]}}",
    "cluster: {apiServer: {admissionControl: [{name: Missing, $patch: delete}]}}",
    "cluster: {apiServer: {admissionControl: [{name: PodSecurity, configuration: {defaults: 1}}]}}",
    "a: b",
    "version: v1alpha1",
    "just text",
    "- op: frobnicate\n  path: /a",
    "- op: remove\n  path: /a/b",
    "machine: {a: 1, a: 2}",
    "machine:\n\ttype: x",
    "debug: maybe",
    "cluster: {controlPlane: {localAPIServerPort: 1.5}}",
    "apiVersion: v1alpha1\nkind: LinkConfig\nname: eth0\nmtu: -1",
];

/// The same, of documents that Talos 1.14 has first.
const DIFFERENTIAL_1_14: &[&str] = &[
    "apiVersion: v1alpha1\nkind: SysctlConfig\nparams: {a: 1, b: yes}",
    "apiVersion: v1alpha1\nkind: KubeletConfig\nimage: a\nconfig: {maxPods: 0x10}\nextraArgs: {v: 4, l: [a, b]}\nclusterDNS: [10.0.0.1]",
    "apiVersion: v1alpha1\nkind: KubeNetworkConfig\npodSubnets: [10.0.0.0/8]\nnodeCIDRMaskSizeIPv4: 24",
    "apiVersion: v1alpha1\nkind: KubeNodeConfig\nnodeIP: {validSubnets: [10.0.0.0/8]}\nlabels: {a: b}\ntaints: {a: 'b:NoSchedule'}",
    "apiVersion: v1alpha1\nkind: KubeAPIServerCAConfig\nissuingCA: {cert: a, key: b}\nacceptedCAs: [c]",
    "apiVersion: v1alpha1\nkind: KubeFlannelCNIConfig\nbackendMTU: 1400\nextraArgs: [a]\nbackendExtraConfig: {a: 1.0}",
    "apiVersion: v1alpha1\nkind: KubeFlannelCNIConfig\n$patch: delete",
    "apiVersion: v1alpha1\nkind: KubeProxyConfig\nenabled: false\nmode: ipvs",
    "apiVersion: v1alpha1\nkind: KubeAuditPolicyConfig\nconfiguration: {a: b}",
    "apiVersion: v1alpha1\nkind: KubeStaticPodConfig\nname: a\npod: {apiVersion: v1, kind: Pod}",
    "apiVersion: v1alpha1\nkind: KubeInlineManifestConfig\nname: a\nmanifest: |\n  a: b\n",
    "apiVersion: v1alpha1\nkind: KubeExternalManifestConfig\nname: a\nurl: https://a/b\nheaders: {a: b}",
    "apiVersion: v1alpha1\nkind: KubeServiceAccountConfig\nissuer: {issuerURL: 'https://a:1'}\naccepted: {issuers: [https://b]}",
    "apiVersion: v1alpha1\nkind: DiscoveryServiceConfig\nname: a\nendpoint: https://a/",
    "apiVersion: v1alpha1\nkind: UnattendedInstallConfig\ninstaller: {image: a}\nprovisioning: {diskSelector: {match: 'disk.dev_path == \"/dev/vda\"'}, wipe: true}",
    "apiVersion: v1alpha1\nkind: EtcFileConfig\nname: a\nmode: 0o644\ncontents: b",
    "apiVersion: v1alpha1\nkind: KernelModuleConfig\nname: a\nparameters: [b]",
    "apiVersion: v1alpha1\nkind: LVMVolumeGroupConfig\nname: a\nprovisioning: {volumeSelector: {match: system_disk}}",
    "apiVersion: v1alpha1\nkind: RAIDArrayConfig\nname: a\nlevel: raid1",
    "apiVersion: v1alpha1\nkind: BGPInstanceConfig\nname: a\nlocalASN: 65000\nneighbors: [{address: 10.0.0.1, peerASN: 65001}]",
    "apiVersion: v1alpha1\nkind: VethConfig\nname: a\npeer: {name: b, mtu: 1400}",
    "apiVersion: v1alpha1\nkind: ContainerConfig\nname: a\nimage: b\nargs: [c]",
    "apiVersion: v1alpha1\nkind: HTTPProbeConfig\nname: a\nurl: https://a\ninterval: 1s\ntimeout: 2s",
    "apiVersion: v1alpha1\nkind: ResolverConfig\nnameservers: [{address: 1.1.1.1, protocol: DoT, tlsServerName: a}]\nhostDNS: {enabled: true}",
    "apiVersion: v1alpha1\nkind: VolumeConfig\nname: EPHEMERAL\nmount: {secure: false, disableAccessTime: true}",
    "apiVersion: v1alpha1\nkind: FilesystemScrubConfig\ninterval: 24h",
    "apiVersion: v1alpha1\nkind: KubeTalosAPIAccessConfig\nallowedRoles: ['os:reader']",
    "apiVersion: v1alpha1\nkind: KubeEtcdEncryptionConfig\nconfig: {resources: []}",
];

#[test]
fn patches_give_what_talos_own_library_gives() {
    let Some(peer) = testing::Peer::find() else {
        return;
    };
    let known = peer
        .run(&["patch", &peer.file("known.yaml", DIFFERENTIAL_1_14[0])])
        .is_ok();
    if !known {
        println!("skipped in part: this talos-peer does not know Talos 1.14");
    }
    let newest: &[&str] = if known { DIFFERENTIAL_1_14 } else { &[] };
    let key = capi_core::pki::KeyAlgorithm::EcdsaP256;
    let key = capi_core::pki::PrivateKey::generate(key).unwrap();
    let bundle = crate::secrets::SecretsBundle::generate_with(
        crate::config::Contract::V1_11,
        testing::now(),
        &key,
    )
    .unwrap();
    let base = crate::config::ConfigInput {
        cluster_name: "c1",
        endpoint: "https://10.0.0.1:6443",
        kubernetes_version: "1.33.4",
        contract: crate::config::Contract::V1_11,
        bundle: &bundle,
        options: crate::config::ConfigOptions::default(),
    }
    .generate(crate::config::MachineType::ControlPlane)
    .unwrap();
    let base = base.to_yaml();
    let base = base.expose_secret();
    let file = peer.file("config.yaml", base);
    let mut failed = 0;
    for patch in DIFFERENTIAL.iter().chain(newest) {
        let ours = apply(base, &[patch]);
        let theirs = peer.run(&["patch", &file, &peer.file("patch.yaml", patch)]);
        let difference = match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => {
                let equal =
                    MachineConfig::parse(ours).unwrap() == MachineConfig::parse(theirs).unwrap();
                (!equal).then(|| {
                    let lines = ours
                        .lines()
                        .zip(theirs.lines())
                        .find(|(ours, theirs)| ours != theirs);
                    format!("{lines:?}")
                })
            }
            (Err(ours), Err(_)) => {
                assert!(
                    !ours
                        .to_string()
                        .contains(bundle.trustd_token.expose_secret())
                );
                None
            }
            (Ok(_), Err(theirs)) => Some(format!("they refuse: {theirs}")),
            (Err(ours), Ok(_)) => Some(format!("we refuse: {ours}")),
        };
        if let Some(difference) = difference {
            println!("{patch}\n    {difference}");
            failed += 1;
        }
    }
    assert_eq!(failed, 0, "patches that differ, see above");
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Texts that are nearly patches.
    fn fragment() -> impl Strategy<Value = String> {
        let key = prop_oneof![
            Just("machine"),
            Just("cluster"),
            Just("kubelet"),
            Just("network"),
            Just("interfaces"),
            Just("$patch"),
            Just("kind"),
            Just("apiVersion"),
            Just("name"),
            Just("extraArgs"),
            Just("apiServer"),
            Just("certSANs"),
            Just("a"),
        ];
        let scalar = prop_oneof![
            Just("delete".to_owned()),
            Just("v1alpha1".to_owned()),
            Just("HostnameConfig".to_owned()),
            Just("~".to_owned()),
            Just("0755".to_owned()),
            Just("'x'".to_owned()),
            "[a-z0-9:.~*&!-]{0,6}",
        ];
        let leaf = scalar.prop_map(|text| format!(" {text}\n"));
        leaf.prop_recursive(4, 24, 3, move |inner| {
            prop_oneof![
                proptest::collection::vec((key.clone(), inner.clone()), 1..4).prop_map(|entries| {
                    let lines = entries.iter().map(|(key, value)| {
                        format!(
                            "{key}:{}",
                            value.replace('\n', "\n  ").trim_end_matches(' ')
                        )
                    });
                    format!(
                        "\n  {}",
                        lines.collect::<String>().replace('\n', "\n  ").trim_end()
                    ) + "\n"
                }),
                proptest::collection::vec(inner, 1..3).prop_map(|items| {
                    format!(
                        " [{}]\n",
                        items
                            .iter()
                            .map(|item| item.trim().replace('\n', " "))
                            .collect::<Vec<_>>()
                            .join(", ")
                    )
                }),
            ]
        })
    }

    fn base() -> MachineConfig {
        crate::config::ConfigInput {
            cluster_name: "c1",
            endpoint: "https://10.0.0.1:6443",
            kubernetes_version: "1.33.4",
            contract: crate::config::Contract::V1_13,
            bundle: testing::bundle(),
            options: crate::config::ConfigOptions::default(),
        }
        .generate(crate::config::MachineType::ControlPlane)
        .unwrap()
    }

    proptest! {
        #[test]
        fn no_text_makes_the_patcher_panic(text in fragment()) {
            if let Ok(patch) = Patch::parse(text.trim_start_matches('\n'))
                && let Ok(patched) = base().patched(&patch)
            {
                let text = patched.to_yaml();
                let again = MachineConfig::load(text.expose_secret()).unwrap();
                prop_assert!(again == patched, "what is written is read again");
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "[ -~\n]{0,80}") {
            let _ = MachineConfig::load(&text);
            let _ = Patch::parse(&text);
        }
    }

    #[test]
    fn an_empty_patch_changes_nothing_and_generation_is_deterministic() {
        let config = base();
        for text in [
            "",
            "# comment",
            "---",
            "null",
            "[]",
            "machine: {}\ncluster: {}",
            "{machine: ~}",
        ] {
            let patched = config.patched(&Patch::parse(text).unwrap()).unwrap();
            assert!(patched == config, "{text:?}");
            assert_eq!(
                patched.to_yaml().expose_secret(),
                base().to_yaml().expose_secret(),
                "{text:?}"
            );
        }
    }

    #[test]
    fn anchors_comments_crlf_and_byte_order_marks_are_handled() {
        let config = base();
        let expected = config
            .patched(&Patch::parse("machine: {sysctls: {a: b, c: b}}").unwrap())
            .unwrap();
        for text in [
            "machine:\r\n  sysctls:\r\n    a: b # comment\r\n    c: b\r\n",
            "\u{feff}machine:\n  sysctls: {a: b, c: b}\n",
            "machine:\n  sysctls: {a: &b b, c: *b}\n",
            "# comment\n---\nmachine:\n  sysctls: {a: b}\n---\nmachine: {sysctls: {c: b}}\n...\n",
        ] {
            let patched = config.patched(&Patch::parse(text).unwrap()).unwrap();
            assert!(patched == expected, "{text:?}");
        }
    }
}
