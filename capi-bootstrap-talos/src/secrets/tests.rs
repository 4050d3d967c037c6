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
