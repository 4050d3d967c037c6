//! A cluster's secrets, machine configurations made of them, and a datacenter with machines.

use std::{net::IpAddr, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use capi_bootstrap_talos::{
    config::{ConfigInput, ConfigOptions, Contract, MachineType},
    secrets::SecretsBundle,
};
use capi_controlplane_talos::{
    client::{ClientError, Credentials, Endpoint, Role, Settings, TalosClient},
    simulator::{Datacenter, MachineFacts, Options, Seed},
};
use capi_core::{
    clock::Clock,
    pki::{CertificateAuthority, KeyAlgorithm, PrivateKey},
};
use secrecy::{ExposeSecret as _, SecretString};

pub(crate) const ENDPOINT: &str = "https://10.0.0.100:6443";

/// The secrets of a cluster.
pub(crate) struct Keys {
    pub(crate) name: String,
    pub(crate) bundle: SecretsBundle,
    pub(crate) os: CertificateAuthority,
    pub(crate) kubernetes: CertificateAuthority,
}

impl Keys {
    pub(crate) fn new(name: &str, clock: &Clock) -> Self {
        let service_account = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("a key");
        let bundle = SecretsBundle::generate_with(Contract::V1_13, clock.now(), &service_account)
            .expect("a bundle");
        Self {
            name: name.to_owned(),
            os: bundle.certificates.talos.authority().expect("an authority"),
            kubernetes: bundle
                .certificates
                .kubernetes
                .authority()
                .expect("an authority"),
            bundle,
        }
    }

    /// A machine configuration of `kind` (`controlplane` or `worker`).
    pub(crate) fn config(&self, kind: &str, cni: &str) -> String {
        self.config_for(Contract::V1_13, kind, cni)
    }

    pub(crate) fn config_for(&self, contract: Contract, kind: &str, cni: &str) -> String {
        let input = ConfigInput {
            cluster_name: &self.name,
            endpoint: ENDPOINT,
            kubernetes_version: "1.34.1",
            contract,
            bundle: &self.bundle,
            options: ConfigOptions::default(),
        };
        let kind = match kind {
            "controlplane" => MachineType::ControlPlane,
            _ => MachineType::Worker,
        };
        let text = input.generate(kind).expect("a configuration").to_yaml();
        let text = text.expose_secret();
        match cni {
            "none" => text.replace("dnsDomain: ", "cni: {name: none}\n        dnsDomain: "),
            _ => text.to_owned(),
        }
    }

    /// A talosconfig of the admin.
    pub(crate) fn talosconfig(&self, clock: &Clock) -> SecretString {
        let issued = self
            .bundle
            .talos_client(&[Role::Admin.as_str()], clock.now())
            .expect("a certificate");
        SecretString::from(format!(
            "context: {0}\ncontexts:\n  {0}:\n    endpoints: []\n    ca: {1}\n    crt: {2}\n    key: {3}\n",
            self.name,
            STANDARD.encode(self.os.certificate().to_pem()),
            STANDARD.encode(issued.certificate.to_pem()),
            STANDARD.encode(issued.key.to_pem().expose_secret()),
        ))
    }
}

/// A datacenter with the secrets of one cluster, and a client of its nodes.
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
        MachineFacts::new(uuid(number), format!("machine-{number}")).seed(Seed::Files {
            user_data,
            meta_data: format!("local-hostname: node-{number}\n"),
            network_config: format!(
                "version: 2\nethernets:\n  eth0:\n    addresses: [{}/24]\n",
                address(number)
            ),
        })
    }

    /// Powers a control plane node on.
    pub(crate) fn control_plane(&self, number: u8) {
        self.datacenter
            .boot(self.facts(number, self.keys.config("controlplane", "flannel")));
    }

    pub(crate) fn worker(&self, number: u8) {
        self.datacenter
            .boot(self.facts(number, self.keys.config("worker", "flannel")));
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
