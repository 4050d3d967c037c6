//! A cluster's keys, machine configurations made of them, and a datacenter with machines.

use std::{net::IpAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use capi_controlplane_talos::{
    client::{ClientError, Credentials, Endpoint, Role, Settings, TalosClient},
    simulator::{Datacenter, MachineFacts, Options, Seed},
};
use capi_core::{
    clock::Clock,
    pki::{CertificateAuthority, KeyAlgorithm, Subject},
};
use secrecy::ExposeSecret as _;

/// The keys of a cluster.
pub(crate) struct Keys {
    pub(crate) id: String,
    pub(crate) os: CertificateAuthority,
    pub(crate) kubernetes: CertificateAuthority,
}

impl Keys {
    pub(crate) fn new(id: &str, clock: &Clock) -> Self {
        let authority = |algorithm, name: &str| {
            CertificateAuthority::generate(algorithm, &Subject::organization(name), clock.now())
                .expect("an authority")
        };
        Self {
            id: id.to_owned(),
            os: authority(KeyAlgorithm::Ed25519, "talos"),
            kubernetes: authority(KeyAlgorithm::EcdsaP256, "kubernetes"),
        }
    }

    fn pair(authority: &CertificateAuthority, with_key: bool) -> String {
        let key = if with_key {
            authority.key().to_pem().expose_secret().to_owned()
        } else {
            String::new()
        };
        let encode = |text: &str| STANDARD.encode(text);
        format!(
            "{{crt: \"{}\", key: \"{}\"}}",
            encode(&authority.certificate().to_pem()),
            encode(&key)
        )
    }

    /// A machine configuration of `kind` (`controlplane` or `worker`).
    pub(crate) fn config(&self, kind: &str, endpoint: &str, cni: &str) -> String {
        let with_key = kind == "controlplane";
        format!(
            "version: v1alpha1\nmachine:\n  type: {kind}\n  token: abcdef.0123456789abcdef\n  ca: {}\n  kubelet:\n    image: ghcr.io/siderolabs/kubelet:v1.34.1\ncluster:\n  id: {}\n  secret: c2VjcmV0\n  controlPlane:\n    endpoint: {endpoint}\n  clusterName: {}\n  network:\n    cni:\n      name: {cni}\n  token: abcdef.0123456789abcdef\n  ca: {}\n",
            Self::pair(&self.os, with_key),
            self.id,
            self.id,
            Self::pair(&self.kubernetes, with_key),
        )
    }

    /// A talosconfig of the admin.
    pub(crate) fn talosconfig(&self, clock: &Clock) -> String {
        let request = capi_core::pki::LeafRequest::client(
            Subject::organization(Role::Admin.as_str()),
            clock.now(),
        );
        let issued = self.os.issue(&request).expect("a certificate");
        format!(
            "context: {0}\ncontexts:\n  {0}:\n    endpoints: []\n    ca: {1}\n    crt: {2}\n    key: {3}\n",
            self.id,
            STANDARD.encode(self.os.certificate().to_pem()),
            STANDARD.encode(issued.certificate.to_pem()),
            STANDARD.encode(issued.key.to_pem().expose_secret()),
        )
    }
}

/// A datacenter with the keys of one cluster, and a client of its nodes.
pub(crate) struct Lab {
    pub(crate) clock: Clock,
    pub(crate) keys: Keys,
    pub(crate) datacenter: Datacenter,
}

pub(crate) fn uuid(number: u8) -> String {
    format!("00000000-0000-4000-8000-0000000000{number:02x}")
}

pub(crate) fn address(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

impl Lab {
    /// Everything in virtual time, reached through memory.
    pub(crate) fn virtual_time() -> Self {
        let epoch = "2026-01-01T00:00:00Z".parse().expect("a timestamp");
        Self::with(Clock::following_tokio(epoch), Options::default())
    }

    pub(crate) fn with(clock: Clock, options: Options) -> Self {
        let keys = Keys::new("lab", &clock);
        let datacenter = Datacenter::new(options, clock.clone());
        Self {
            clock,
            keys,
            datacenter,
        }
    }

    pub(crate) fn facts(&self, number: u8, user_data: String) -> MachineFacts {
        MachineFacts::new(uuid(number), format!("machine-{number}"))
            .seed(Seed::Files {
                user_data,
                meta_data: format!("local-hostname: node-{number}\n"),
                network_config: format!(
                    "version: 2\nethernets:\n  eth0:\n    addresses: [{}/24]\n",
                    address(number)
                ),
            })
            .macs([])
    }

    /// Powers a control plane node on.
    pub(crate) fn control_plane(&self, number: u8) {
        let config = self
            .keys
            .config("controlplane", "https://10.0.0.100:6443", "flannel");
        self.datacenter.boot(self.facts(number, config));
    }

    pub(crate) fn worker(&self, number: u8) {
        let config = self
            .keys
            .config("worker", "https://10.0.0.100:6443", "flannel");
        self.datacenter.boot(self.facts(number, config));
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings::with_connector(self.clock.clone(), self.datacenter.connector())
    }

    pub(crate) async fn connect_as(
        &self,
        number: u8,
        role: Role,
    ) -> Result<TalosClient, ClientError> {
        let credentials = Credentials::issue(&self.keys.os, role, &self.clock)?;
        TalosClient::connect(
            Endpoint::from(address(number)),
            &credentials,
            &self.settings(),
        )
        .await
    }

    /// The admin's client of a node, as soon as its machine API listens.
    pub(crate) async fn client(&self, number: u8) -> TalosClient {
        loop {
            match self.connect_as(number, Role::Admin).await {
                Ok(client) => return client,
                Err(ClientError::Connect { .. }) => {
                    self.clock.sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("node {number}: {error}"),
            }
        }
    }

    /// A cluster of control plane nodes 1 to `count`, whose etcd has them all as voters.
    pub(crate) async fn cluster(&self, count: u8) -> TalosClient {
        for number in 1..=count {
            self.control_plane(number);
        }
        let first = self.client(1).await;
        first.bootstrap().await.expect("bootstrap");
        loop {
            let members = first.etcd_members(false).await.unwrap_or_default();
            if members.len() == usize::from(count)
                && members
                    .iter()
                    .all(|member| !member.is_learner && !member.hostname.is_empty())
            {
                return first;
            }
            self.clock.sleep(Duration::from_millis(50)).await;
        }
    }
}
