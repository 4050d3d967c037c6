use super::*;
use crate::testing::{bundle, now};

fn quick(contract: Contract) -> SecretsBundle {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    SecretsBundle::generate_with(contract, now(), &key).unwrap()
}

#[test]
fn a_new_bundle_is_valid_and_survives_its_document() {
    bundle().validate().unwrap();
    let text = bundle().to_yaml();
    let read = SecretsBundle::from_yaml(text.expose_secret()).unwrap();
    assert_eq!(read.to_yaml().expose_secret(), text.expose_secret());
}

#[test]
fn two_bundles_share_no_key_and_no_token() {
    let other = quick(Contract::V1_13);
    let text = other.to_yaml();
    let text = text.expose_secret();
    for secret in [
        bundle().cluster_id.as_str(),
        bundle().cluster_secret.expose_secret(),
        bundle().bootstrap_token.expose_secret(),
        bundle().trustd_token.expose_secret(),
    ] {
        assert!(!text.contains(secret));
    }
    let pairs = |bundle: &SecretsBundle| {
        let certificates = bundle.certificates.clone();
        [
            certificates.etcd,
            certificates.kubernetes,
            certificates.aggregator,
            certificates.talos,
        ]
        .map(|pair| pair.key.expose_secret().to_owned())
    };
    for key in pairs(&other) {
        assert!(!pairs(bundle()).contains(&key));
    }
}

#[test]
fn authorities_have_the_kinds_of_keys_that_talos_gives_them() {
    let certificates = &bundle().certificates;
    for (pair, label, organization) in [
        (&certificates.etcd, "EC PRIVATE KEY", &["etcd"][..]),
        (&certificates.kubernetes, "EC PRIVATE KEY", &["kubernetes"]),
        (&certificates.aggregator, "EC PRIVATE KEY", &[]),
        (&certificates.talos, "ED25519 PRIVATE KEY", &["talos"]),
    ] {
        assert!(pair.key.expose_secret().contains(label));
        let authority = pair.authority().unwrap();
        assert_eq!(authority.certificate().organizations(), organization);
        assert_eq!(authority.certificate().not_before(), now());
    }
}

#[test]
fn the_service_account_key_is_rsa_of_4096_bits_since_talos_1_7() {
    let bundle = SecretsBundle::generate(Contract::V1_9, now()).unwrap();
    let pem = bundle
        .certificates
        .service_account_key
        .expose_secret()
        .to_owned();
    assert!(pem.starts_with("-----BEGIN RSA PRIVATE KEY-----\n"));
    // PKCS#1 of 4096 bits: 2347 to 2350 bytes
    assert!((3150..3260).contains(&pem.len()), "{}", pem.len());
    let bundle = SecretsBundle::generate(Contract::new(1, 6), now()).unwrap();
    let pem = bundle
        .certificates
        .service_account_key
        .expose_secret()
        .to_owned();
    assert!(pem.starts_with("-----BEGIN EC PRIVATE KEY-----\n"));
}

#[test]
fn the_encryption_secret_is_secretbox_since_talos_1_3() {
    assert!(matches!(
        bundle().etcd_encryption,
        EtcdEncryption::Secretbox(_)
    ));
    let old = quick(Contract::V1_2);
    assert!(matches!(old.etcd_encryption, EtcdEncryption::AesCbc(_)));
    let text = old.to_yaml();
    assert!(text.expose_secret().contains("aescbcencryptionsecret: "));
    assert!(!text.expose_secret().contains("secretbox"));
}

#[test]
fn identity_and_tokens_have_their_forms() {
    assert_eq!(URL_SAFE.decode(&bundle().cluster_id).unwrap().len(), 32);
    assert_eq!(
        STANDARD
            .decode(bundle().cluster_secret.expose_secret())
            .unwrap()
            .len(),
        32
    );
    assert!(token::is_valid(bundle().bootstrap_token.expose_secret()));
    for bad in [
        "",
        "abcdef",
        "abcdef.0123456789abcde",
        "ABCDEF.0123456789abcdef",
        "abcdef.0123456789abcdef0",
    ] {
        assert!(!token::is_valid(bad), "{bad}");
    }
}

#[test]
fn a_talos_client_certificate_carries_its_roles_and_is_signed_by_the_bundle() {
    let client = bundle().talos_client(&["os:admin"], now()).unwrap();
    let authority = Certificate::from_pem(&bundle().certificates.talos.certificate).unwrap();
    assert!(client.certificate.is_signed_by(&authority));
    assert_eq!(client.certificate.organizations(), ["os:admin"]);
    let admin = bundle().kubernetes_admin(now()).unwrap();
    assert_eq!(admin.certificate.common_name(), Some("kubernetes-admin"));
}

#[test]
fn a_bundle_that_cannot_be_used_is_refused_with_the_field_and_without_the_value() {
    let text = bundle().to_yaml();
    let text = text.expose_secret();
    let replace = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    let token = bundle().bootstrap_token.expose_secret();
    for (broken, expected) in [
        (String::new(), "bundle is empty"),
        ("{a: [".to_owned(), "not valid YAML: line"),
        ("just text".to_owned(), "bundle is empty"),
        (
            replace("cluster:\n", "clusters:\n"),
            "unknown key \"clusters\"",
        ),
        (
            replace(&format!("id: {}", bundle().cluster_id), "id: \"\""),
            "cluster.id is required",
        ),
        (
            replace(token, "not-a-token"),
            "secrets.bootstraptoken must be a token",
        ),
        (replace("    os:", "    admin:"), "certs.os is required"),
        (
            replace("secretboxencryptionsecret", "aescbcencryptionsecret2"),
            "unknown key",
        ),
        (
            replace("crt: LS0t", "crt: '!!!!'  # "),
            "has a crt that is not base64",
        ),
    ] {
        let error = SecretsBundle::from_yaml(&broken).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}, expected {expected}");
        assert!(!error.contains(token), "{error}");
    }
}

#[test]
fn debug_shows_no_secret() {
    let text = format!("{:?}", bundle());
    for secret in [
        bundle().bootstrap_token.expose_secret(),
        bundle().trustd_token.expose_secret(),
        bundle().cluster_secret.expose_secret(),
        "PRIVATE KEY",
    ] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[test]
fn a_bundle_is_recovered_from_a_control_plane_configuration_of_every_form() {
    let old = quick(Contract::V1_2);
    for (bundle, contracts) in [
        (
            bundle(),
            &[Contract::V1_9, Contract::V1_13, Contract::V1_14][..],
        ),
        (&old, &[Contract::V1_2, Contract::V1_13, Contract::V1_14]),
    ] {
        for contract in contracts {
            let input = crate::config::ConfigInput {
                cluster_name: "c1",
                endpoint: "https://10.0.0.1:6443",
                kubernetes_version: "1.33.4",
                contract: *contract,
                bundle,
                options: crate::config::ConfigOptions::default(),
            };
            let config = input
                .generate(crate::config::MachineType::ControlPlane)
                .unwrap();
            let recovered = SecretsBundle::from_config(&config).unwrap();
            let (left, right) = (recovered.to_yaml(), bundle.to_yaml());
            assert_eq!(left.expose_secret(), right.expose_secret(), "{contract}");
            let worker = input.generate(crate::config::MachineType::Worker).unwrap();
            assert!(SecretsBundle::from_config(&worker).is_err());
        }
    }
}

#[test]
fn a_bundle_of_talosctl_is_read_and_has_the_same_kinds_of_keys_as_ours() {
    let Some(peer) = crate::testing::Peer::find() else {
        return;
    };
    let text = peer.run(&["secrets", "--talos", "v1.12"]).unwrap();
    let theirs = SecretsBundle::from_yaml(&text).unwrap();
    let (left, right) = (theirs.to_yaml(), text);
    let read = |text: &str| crate::config::yaml::parse(text).unwrap().remove(0).node;
    assert!(read(left.expose_secret()) == read(&right));
    let shape = |bundle: &SecretsBundle| {
        let certificates = &bundle.certificates;
        [
            &certificates.etcd,
            &certificates.kubernetes,
            &certificates.aggregator,
            &certificates.talos,
        ]
        .map(|pair| {
            let authority = pair.authority().unwrap();
            let certificate = authority.certificate();
            let lifetime = certificate
                .not_after()
                .duration_since(certificate.not_before());
            (
                authority.key().algorithm(),
                certificate.organizations().to_vec(),
                lifetime,
            )
        })
    };
    assert_eq!(shape(&theirs), shape(bundle()));
}

#[test]
fn talosctl_s_client_configuration_is_read_and_is_what_ours_is() {
    let Some(peer) = crate::testing::Peer::find() else {
        return;
    };
    let secrets = peer.file("secrets.yaml", bundle().to_yaml().expose_secret());
    let text = peer
        .run(&[
            "talosconfig",
            "--secrets",
            &secrets,
            "--cluster",
            "c1",
            "--endpoint",
            "10.0.0.1,10.0.0.2",
        ])
        .unwrap();
    let theirs = crate::config::Talosconfig::parse(&text).unwrap();
    assert_eq!(theirs.context, "c1");
    assert_eq!(theirs.endpoints, ["10.0.0.1", "10.0.0.2"]);
    assert_eq!(
        theirs.certificate_authority,
        bundle().certificates.talos.certificate
    );
    let ours = bundle().talos_client(&["os:admin"], now()).unwrap();
    assert_eq!(theirs.client.key.algorithm(), ours.key.algorithm());
    assert_eq!(
        theirs.client.certificate.organizations(),
        ours.certificate.organizations()
    );
    let written = crate::config::Talosconfig {
        client: ours,
        ..theirs
    };
    let again = crate::config::Talosconfig::parse(written.to_yaml().expose_secret()).unwrap();
    assert_eq!(again.client, written.client);
}

#[test]
fn openssl_verifies_what_every_authority_of_a_bundle_signs() {
    let certificates = &bundle().certificates;
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    for pair in [
        &certificates.etcd,
        &certificates.kubernetes,
        &certificates.aggregator,
        &certificates.talos,
    ] {
        let authority = pair.authority().unwrap();
        let request = LeafRequest::client(Subject::new("client", ["group"]), now());
        let leaf = authority.issue(&request).unwrap();
        let output = std::process::Command::new("openssl")
            .args([
                "verify",
                "-purpose",
                "sslclient",
                "-attime",
                &now().as_second().to_string(),
                "-CAfile",
            ])
            .arg(file("ca.pem", &pair.certificate))
            .arg(file("leaf.pem", &leaf.certificate.to_pem()))
            .output();
        let Ok(output) = output else {
            println!("skipped: openssl was not found on PATH");
            return;
        };
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
