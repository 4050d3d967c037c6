use std::collections::BTreeMap;

use super::*;
use crate::testing::{self, upstream};

fn golden(
    contract: Contract,
    case: &str,
    machine_type: MachineType,
) -> Option<(String, MachineConfig)> {
    let path = upstream()?.join(format!(
        "talos/stability/{contract}/{case}-{machine_type}.yaml"
    ));
    let text = std::fs::read_to_string(path).ok()?;
    let config = MachineConfig::parse(&text).unwrap();
    Some((text, config))
}

fn golden_input(bundle: &SecretsBundle, contract: Contract, case: &str) -> ConfigInput<'static> {
    let bundle: &'static SecretsBundle = Box::leak(Box::new(bundle.clone()));
    let options = if case == "overrides" {
        ConfigOptions {
            dns_domain: "example.com".to_owned(),
            additional_names: vec!["foo".to_owned(), "bar".to_owned()],
            install: Install {
                disk: Some("/dev/vda".to_owned()),
                image: None,
                extra_kernel_args: vec!["foo=bar".to_owned(), "bar=baz".to_owned()],
            },
            local_api_server_port: Some(5443),
            cni_url: Some("https://example.com/cni.yaml".to_owned()),
            registry_mirrors: BTreeMap::from([(
                "ghcr.io".to_owned(),
                vec!["https://ghcr.io.my-mirror.com".to_owned()],
            )]),
            sysctls: BTreeMap::from([("foo".to_owned(), "bar".to_owned())]),
            allow_scheduling_on_control_planes: true,
            ..ConfigOptions::default()
        }
    } else {
        ConfigOptions::default()
    };
    ConfigInput {
        cluster_name: "base",
        endpoint: "https://base:6443",
        kubernetes_version: "1.28.0",
        contract,
        bundle,
        options,
    }
}

#[test]
fn base_configurations_equal_the_golden_files_of_talos_byte_for_byte() {
    let Some(bundle) = testing::golden_bundle() else {
        return;
    };
    let mut compared = 0;
    for contract in [
        Contract::V1_9,
        Contract::V1_10,
        Contract::V1_11,
        Contract::V1_12,
        Contract::V1_14,
    ] {
        for machine_type in [MachineType::ControlPlane, MachineType::Worker] {
            let (text, expected) = golden(contract, "base", machine_type).unwrap();
            let config = golden_input(&bundle, contract, "base")
                .generate(machine_type)
                .unwrap();
            let what = format!("{contract} {machine_type}");
            assert!(config == expected, "{what}");
            testing::assert_same_text(config.to_yaml().expose_secret(), &text, &what);
            compared += 1;
        }
    }
    assert_eq!(compared, 10);
}

#[test]
fn configurations_equal_those_of_talos_own_library() {
    let Some(peer) = testing::Peer::find() else {
        return;
    };
    let bundle = testing::bundle();
    let secrets = peer.file("secrets.yaml", bundle.to_yaml().expose_secret());
    for contract in [
        Contract::V1_2,
        Contract::new(1, 5),
        Contract::new(1, 7),
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
            if contract == Contract::V1_2 && machine_type.is_control_plane() {
                // the library writes no encryption secret at all; ours refuses
                continue;
            }
            let input = ConfigInput {
                cluster_name: "c1",
                endpoint: "https://[fd00::1]:6443",
                kubernetes_version: "1.33.4",
                contract,
                bundle,
                options: ConfigOptions::default(),
            };
            let config = input.generate(machine_type).unwrap();
            let version = contract.to_string();
            let theirs = peer
                .run(&[
                    "gen",
                    "--secrets",
                    &secrets,
                    "--cluster",
                    "c1",
                    "--endpoint",
                    input.endpoint,
                    "--kubernetes",
                    "1.33.4",
                    "--talos",
                    &version,
                    "--type",
                    machine_type.as_str(),
                ])
                .unwrap();
            if contract == Contract::V1_14 && !theirs.contains("kind: KubeletConfig") {
                println!("skipped: this talos-peer does not know {contract}");
                continue;
            }
            let what = format!("{contract} {machine_type}");
            assert!(config == MachineConfig::parse(&theirs).unwrap(), "{what}");
            testing::assert_same_text(config.to_yaml().expose_secret(), &theirs, &what);
            peer.validate(config.to_yaml().expose_secret()).unwrap();
        }
    }
}

#[test]
fn a_secretbox_bundle_is_not_written_in_a_form_that_would_lose_it() {
    let mut input = golden_input(testing::bundle(), Contract::V1_2, "base");
    let error = input.generate(MachineType::ControlPlane).unwrap_err();
    assert!(error.to_string().contains("talosVersion"), "{error}");
    input.generate(MachineType::Worker).unwrap();
    input.contract = Contract::new(1, 3);
    input.generate(MachineType::ControlPlane).unwrap();
}

#[test]
fn an_aescbc_bundle_keeps_its_kind_under_every_contract() {
    let key =
        capi_core::pki::PrivateKey::generate(capi_core::pki::KeyAlgorithm::EcdsaP256).unwrap();
    let bundle = SecretsBundle::generate_with(Contract::V1_2, testing::now(), &key).unwrap();
    for contract in [Contract::V1_2, Contract::V1_9, Contract::V1_13] {
        let config = golden_input(&bundle, contract, "base")
            .generate(MachineType::ControlPlane)
            .unwrap();
        assert!(
            config.at(&["cluster", "aescbcEncryptionSecret"]).is_some(),
            "{contract}"
        );
        assert!(
            config
                .at(&["cluster", "secretboxEncryptionSecret"])
                .is_none(),
            "{contract}"
        );
    }
    let config = golden_input(&bundle, Contract::V1_14, "base")
        .generate(MachineType::ControlPlane)
        .unwrap();
    let text = config.to_yaml();
    assert!(
        text.expose_secret()
            .contains("- aescbc:\n                keys:\n                    - name: key1\n"),
        "{}",
        text.expose_secret()
    );
}

#[test]
fn an_endpoint_that_is_no_url_is_refused() {
    for endpoint in [
        "",
        "10.0.0.1:6443",
        "http://10.0.0.1",
        "https://",
        "https://:6443",
        "https://[fd00::1:6443",
    ] {
        let mut input = golden_input(testing::bundle(), Contract::V1_13, "base");
        input.endpoint = endpoint;
        assert!(input.generate(MachineType::Worker).is_err(), "{endpoint}");
    }
}

#[test]
fn the_reader_finds_what_a_node_needs_in_every_form() {
    let bundle = testing::bundle();
    for contract in [Contract::V1_9, Contract::V1_13, Contract::V1_14] {
        for machine_type in [MachineType::ControlPlane, MachineType::Worker] {
            let config = golden_input(bundle, contract, "base")
                .generate(machine_type)
                .unwrap();
            let config = MachineConfig::parse(config.to_yaml().expose_secret()).unwrap();
            let certificates = &bundle.certificates;
            assert_eq!(config.machine_type(), Some(machine_type));
            assert_eq!(
                config.machine_token(),
                Some(bundle.trustd_token.expose_secret())
            );
            assert_eq!(
                config.talos_ca().as_ref(),
                Some(&certificates.talos.certificate)
            );
            assert_eq!(
                config.kubernetes_ca().as_ref(),
                Some(&certificates.kubernetes.certificate)
            );
            assert_eq!(config.cluster_name(), Some("base"));
            assert_eq!(config.cluster_id(), Some(bundle.cluster_id.as_str()));
            assert_eq!(
                config.bootstrap_token(),
                Some(bundle.bootstrap_token.expose_secret())
            );
            assert_eq!(config.endpoint(), Some("https://base:6443"));
            assert_eq!(
                config.kubelet_image(),
                Some("ghcr.io/siderolabs/kubelet:v1.28.0")
            );
            assert_eq!(config.hostname(), None);
            assert!(
                !config.has_no_cni()
                    || contract == Contract::V1_14 && !machine_type.is_control_plane()
            );
            let control_plane = machine_type.is_control_plane();
            assert_eq!(config.talos_ca_key().is_some(), control_plane);
            assert_eq!(config.kubernetes_ca_key().is_some(), control_plane);
            assert_eq!(config.etcd_ca().is_some(), control_plane);
            assert_eq!(config.api_server_image().is_some(), control_plane);
        }
    }
}

#[test]
fn configurations_with_all_inputs_equal_the_golden_files_of_talos() {
    let Some(bundle) = testing::golden_bundle() else {
        return;
    };
    let root = testing::upstream().unwrap().join("talos/stability");
    let patch = std::fs::read_to_string(root.join("patch-pre14.yaml")).unwrap();
    let patch = crate::config::Patch::parse(&patch).unwrap();
    for contract in [
        Contract::V1_9,
        Contract::V1_10,
        Contract::V1_11,
        Contract::V1_12,
    ] {
        for machine_type in [MachineType::ControlPlane, MachineType::Worker] {
            let (text, _) = golden(contract, "overrides", machine_type).unwrap();
            let config = golden_input(&bundle, contract, "overrides")
                .generate(machine_type)
                .unwrap();
            let config = config.patched(&patch).unwrap();
            let what = format!("{contract} {machine_type}");
            testing::assert_same_text(config.to_yaml().expose_secret(), &text, &what);
        }
    }
}
