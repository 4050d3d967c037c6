use std::io::Write as _;
use std::process::{Command, Stdio};

use base64::Engine as _;
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret as _;

use super::*;

fn now() -> Timestamp {
    "2026-01-02T03:04:05Z".parse().unwrap()
}

fn authority(algorithm: KeyAlgorithm) -> CertificateAuthority {
    CertificateAuthority::generate(algorithm, &Subject::organization("kubernetes"), now()).unwrap()
}

/// What openssl answers to `text` on its standard input; `None` where openssl is absent.
fn openssl(arguments: &[&str], input: &[u8]) -> Option<(bool, String)> {
    let mut child = match Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    {
        Ok(child) => child,
        Err(error) => {
            println!("skipped: openssl was not found on PATH: {error}");
            return None;
        }
    };
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    ))
}

#[test]
fn every_kind_of_key_survives_pem_with_the_label_of_its_form() {
    for (key, label) in [
        (
            PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(),
            "EC PRIVATE KEY",
        ),
        (
            PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap(),
            "ED25519 PRIVATE KEY",
        ),
        (PrivateKey::generate_rsa(2048).unwrap(), "RSA PRIVATE KEY"),
    ] {
        let pem = key.to_pem();
        let text = pem.expose_secret();
        assert!(
            text.starts_with(&format!("-----BEGIN {label}-----\n")),
            "{label}"
        );
        assert_eq!(PrivateKey::from_pem(text).unwrap(), key);
        assert!(!format!("{key:?}").contains(text.lines().nth(1).unwrap()));
        let pkcs8 = super::pem::write("PRIVATE KEY", &key.to_pkcs8_der());
        assert_eq!(PrivateKey::from_pem(&pkcs8).unwrap(), key);
    }
}

#[test]
fn an_ed25519_key_is_the_48_bytes_that_go_writes() {
    let key = PrivateKey::generate(KeyAlgorithm::Ed25519).unwrap();
    assert_eq!(key.to_pkcs8_der().len(), 48);
}

#[test]
fn openssl_reads_ec_and_rsa_keys() {
    for key in [
        PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(),
        PrivateKey::generate_rsa(2048).unwrap(),
    ] {
        let Some((success, text)) = openssl(
            &["pkey", "-check", "-noout"],
            key.to_pem().expose_secret().as_bytes(),
        ) else {
            return;
        };
        assert!(success, "{text}");
    }
}

#[test]
fn a_key_written_by_openssl_is_read() {
    for arguments in [
        &["ecparam", "-name", "prime256v1", "-genkey", "-noout"][..],
        &["genpkey", "-algorithm", "ed25519"][..],
        &[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ][..],
    ] {
        let Some((success, text)) = openssl(arguments, b"") else {
            return;
        };
        assert!(success, "{text}");
        PrivateKey::from_pem(&text).unwrap();
    }
}

#[test]
fn text_that_is_no_key_is_refused_without_showing_it() {
    for text in [
        "",
        "no pem",
        "-----BEGIN EC PRIVATE KEY-----\nAAAA",
        "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0\n-----END EC PRIVATE KEY-----\n",
        "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\n-----END RSA PRIVATE KEY-----\n",
        "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----\n",
    ] {
        let error = PrivateKey::from_pem(text).unwrap_err().to_string();
        assert!(!error.contains("c2VjcmV0"), "{error}");
    }
    assert!(PrivateKey::generate_rsa(1024).is_err());
}

#[test]
fn an_authority_has_the_extensions_that_nodes_ask_for() {
    let authority = authority(KeyAlgorithm::EcdsaP256);
    let certificate = authority.certificate();
    assert_eq!(certificate.not_before(), now());
    assert_eq!(
        certificate.not_after(),
        now() + SignedDuration::from_hours(87_600)
    );
    let Some((success, text)) = openssl(
        &["x509", "-noout", "-text"],
        certificate.to_pem().as_bytes(),
    ) else {
        return;
    };
    assert!(success, "{text}");
    for expected in [
        "Version: 3 (0x2)",
        "O = kubernetes",
        "ecdsa-with-SHA256",
        "X509v3 Basic Constraints: critical",
        "CA:TRUE",
        "X509v3 Key Usage: critical",
        "Digital Signature, Certificate Sign",
        "TLS Web Server Authentication, TLS Web Client Authentication",
        "X509v3 Subject Key Identifier",
    ] {
        assert!(
            text.replace("O=", "O = ").contains(expected),
            "{expected} in {text}"
        );
    }
    assert!(!text.contains("pathlen"), "{text}");
    assert!(!text.contains("Authority Key Identifier"), "{text}");
}

#[test]
fn a_client_certificate_is_for_client_authentication_only_and_verifies() {
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
        let authority = authority(algorithm);
        let leaf = authority
            .issue(&LeafRequest::client(
                Subject::organization("os:admin"),
                now(),
            ))
            .unwrap();
        assert_eq!(leaf.key.algorithm(), algorithm);
        assert_eq!(leaf.certificate.organizations(), ["os:admin"]);
        assert_eq!(leaf.certificate.common_name(), None);
        assert_eq!(
            leaf.certificate.not_after(),
            now() + SignedDuration::from_hours(8_760)
        );
        assert!(leaf.certificate.is_signed_by(authority.certificate()));
        let directory =
            std::env::temp_dir().join(format!("capi-pki-{}-{algorithm:?}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        let file = directory.join("ca.pem");
        std::fs::write(&file, authority.certificate().to_pem()).unwrap();
        let at = now().as_second().to_string();
        let answer = openssl(
            &[
                "verify",
                "-attime",
                &at,
                "-purpose",
                "sslclient",
                "-x509_strict",
                "-CAfile",
                &file.to_string_lossy(),
            ],
            leaf.certificate.to_pem().as_bytes(),
        );
        std::fs::remove_dir_all(&directory).unwrap();
        let Some((success, text)) = answer else {
            return;
        };
        assert!(success, "{text}");
        let (_, text) = openssl(
            &["x509", "-noout", "-text"],
            leaf.certificate.to_pem().as_bytes(),
        )
        .unwrap();
        assert!(text.contains("TLS Web Client Authentication\n"), "{text}");
        assert!(!text.contains("Server Authentication"), "{text}");
        assert!(!text.contains("CA:TRUE"), "{text}");
        assert!(text.contains("Authority Key Identifier"), "{text}");
    }
}

#[test]
fn an_authority_with_an_empty_name_signs() {
    let authority =
        CertificateAuthority::generate(KeyAlgorithm::EcdsaP256, &Subject::default(), now())
            .unwrap();
    let names = [
        SubjectAltName::parse("10.0.0.1"),
        SubjectAltName::parse("node.example"),
    ];
    let leaf = authority
        .issue(&LeafRequest::server(
            Subject::new("front-proxy", [""; 0]),
            names,
            now(),
        ))
        .unwrap();
    assert!(leaf.certificate.is_signed_by(authority.certificate()));
}

#[test]
fn a_certificate_of_another_authority_is_told_apart() {
    let [one, other] = [
        authority(KeyAlgorithm::Ed25519),
        authority(KeyAlgorithm::Ed25519),
    ];
    let leaf = one
        .issue(&LeafRequest::client(Subject::default(), now()))
        .unwrap();
    assert!(!leaf.certificate.is_signed_by(other.certificate()));
    assert!(matches!(
        CertificateAuthority::new(one.certificate().clone(), other.key().clone()),
        Err(PkiError::Mismatch(_))
    ));
}

#[test]
fn an_rsa_authority_signs_p256_leaves() {
    let key = PrivateKey::generate_rsa(2048).unwrap();
    let authority =
        CertificateAuthority::self_signed(key, &Subject::organization("kubernetes"), now())
            .unwrap();
    let leaf = authority
        .issue(&LeafRequest::client(Subject::default(), now()))
        .unwrap();
    assert_eq!(leaf.key.algorithm(), KeyAlgorithm::EcdsaP256);
    assert!(leaf.certificate.is_signed_by(authority.certificate()));
}

#[test]
fn a_client_certificate_is_renewed_after_half_of_its_life() {
    let authority = authority(KeyAlgorithm::Ed25519);
    let leaf = authority
        .issue(&LeafRequest::client(Subject::default(), now()))
        .unwrap();
    let half = SignedDuration::from_hours(8_760 / 2);
    assert!(!leaf.certificate.is_past_half_life(now() + half));
    assert!(
        leaf.certificate
            .is_past_half_life(now() + half + SignedDuration::from_secs(1))
    );
    assert!(leaf.certificate.is_past_half_life(now() + half * 3));
}

#[test]
fn a_kubeconfig_names_cluster_user_and_context_as_cluster_api_does_and_tells_its_expiry() {
    let authority = authority(KeyAlgorithm::EcdsaP256);
    let issued = authority
        .issue(&LeafRequest::client(
            Subject::new("kubernetes-admin", ["system:masters"]),
            now(),
        ))
        .unwrap();
    let expiry = issued.certificate.not_after();
    let kubeconfig = Kubeconfig::admin(
        "c1",
        "https://[fd00::1]:6443",
        &authority.certificate().to_pem(),
        KubeconfigCredentials::Certificate(issued),
    );
    let text = kubeconfig.render();
    let text = text.expose_secret();
    let value: serde_json::Value = serde_saphyr::from_str(text).unwrap();
    assert_eq!(value["current-context"], "c1-admin@c1");
    assert_eq!(value["contexts"][0]["context"]["user"], "c1-admin");
    assert_eq!(
        value["clusters"][0]["cluster"]["server"],
        "https://[fd00::1]:6443"
    );
    let data = value["users"][0]["user"]["client-key-data"]
        .as_str()
        .unwrap();
    let key = base64::engine::general_purpose::STANDARD
        .decode(data)
        .unwrap();
    assert!(key.starts_with(b"-----BEGIN EC PRIVATE KEY-----"));
    assert_eq!(Kubeconfig::expiry(text).unwrap(), Some(expiry));
    assert_eq!(
        Kubeconfig::server_of(text).unwrap().as_deref(),
        Some("https://[fd00::1]:6443")
    );
    assert!(!format!("{kubeconfig:?}").contains("PRIVATE"));
}

#[test]
fn a_kubeconfig_without_certificates_has_no_expiry_and_other_text_is_refused() {
    assert_eq!(
        Kubeconfig::expiry("users: [{name: a, user: {token: x}}]").unwrap(),
        None
    );
    let error = Kubeconfig::expiry("users: {a: [secret")
        .unwrap_err()
        .to_string();
    assert!(!error.contains("secret"), "{error}");
}
