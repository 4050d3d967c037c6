//! Whom a call of the machine API is for: the node that was dialled, or others through it.

use http::HeaderMap;
use tonic::Status;

use super::{answers::Node, life::Me, state};

/// The nodes that a call is for.
pub(super) enum Targets {
    /// One, that answers for itself.
    One(Node),
    /// Those that were asked for by address, as far as they answer.
    Many(Vec<(String, Option<Node>)>),
}

impl Targets {
    /// The only target.
    pub(super) fn only(self) -> Result<Node, Status> {
        match self {
            Self::One(node) => Ok(node),
            Self::Many(mut many) => match (many.len(), many.pop()) {
                (1, Some((_, Some(node)))) => Ok(node),
                (1, Some((host, None))) => {
                    Err(Status::unavailable(format!("{host} does not answer")))
                }
                _ => Err(Status::invalid_argument(
                    "this call is simulated for one node at a time",
                )),
            },
        }
    }

    /// Whether all of them have LifecycleService and ImageService.
    pub(super) fn have_lifecycle(&self) -> bool {
        match self {
            Self::One(node) => node.has_lifecycle(),
            Self::Many(many) => many
                .iter()
                .flat_map(|(_, node)| node)
                .all(Node::has_lifecycle),
        }
    }
}

/// Reads the metadata `node` and `nodes`. Only control plane nodes pass calls on.
pub(super) async fn targets(
    here: Node,
    service: &str,
    headers: &HeaderMap,
) -> Result<Targets, Status> {
    let values = |name: &str| -> Vec<String> {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|host| host.trim().to_owned())
            .filter(|host| !host.is_empty())
            .collect()
    };
    let (node, nodes) = (values("node"), values("nodes"));
    match (node.as_slice(), nodes.is_empty()) {
        _ if here.maintenance => Ok(Targets::One(here)),
        ([], true) => Ok(Targets::One(here)),
        ([host], _) => match find(&here, host)? {
            Some(node) => Ok(Targets::One(node)),
            None => {
                let inner = &here.me.inner;
                inner.clock.sleep(inner.options.latencies.unreachable).await;
                Err(Status::unavailable(format!("{host} does not answer")))
            }
        },
        ([_, _, ..], _) => Err(Status::invalid_argument("`node` must name one node")),
        ([], false) if service != "machine.MachineService" => Err(Status::invalid_argument(
            format!("one-2-many proxying is not supported for {service}"),
        )),
        ([], false) => nodes
            .into_iter()
            .map(|host| Ok((host.clone(), find(&here, &host)?)))
            .collect::<Result<_, _>>()
            .map(Targets::Many),
    }
}

/// A node of the same cluster by address or host name; `None` when it does not answer.
fn find(here: &Node, host: &str) -> Result<Option<Node>, Status> {
    let is = |node: &state::Node| {
        node.boot.hostname == host || node.addresses.iter().any(|a| a.to_string() == host)
    };
    let (local, forwards) = here
        .me
        .look(|node| (is(node), node.is_control_plane()))
        .unwrap_or_default();
    if local {
        return Ok(Some(Node {
            me: here.me.clone(),
            maintenance: false,
        }));
    }
    if !forwards {
        return Err(Status::permission_denied("no request forwarding"));
    }
    let uuid = here.me.inner.read(|state| {
        let key = state.nodes.get(&*here.me.uuid)?.cluster();
        let found = state
            .nodes
            .iter()
            .find(|(_, node)| is(node) && node.cluster() == key && node.service_runs("apid"));
        found.map(|(uuid, _)| uuid.clone())
    });
    let me = uuid.and_then(|uuid| Me::of(&here.me.inner, &uuid));
    Ok(me.map(|me| Node {
        me,
        maintenance: false,
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capi_bootstrap_talos::{
        config::{ConfigInput, ConfigOptions, Contract, MachineType},
        secrets::SecretsBundle,
    };
    use capi_core::{
        clock::Clock,
        pki::{KeyAlgorithm, PrivateKey},
    };
    use secrecy::ExposeSecret as _;
    use tonic::Code;

    use crate::{
        client::{
            ClientError, Credentials, Endpoint, Role, Settings, TalosClient,
            wire::{self, Answer},
        },
        simulator::{Datacenter, MachineFacts, Options, Seed},
    };

    /// Two control plane nodes and a worker, at 10.0.0.1 to 10.0.0.3.
    async fn nodes() -> (Datacenter, [TalosClient; 3]) {
        let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse().expect("a timestamp"));
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).expect("a key");
        let bundle = SecretsBundle::generate_with(Contract::V1_13, clock.now(), &key);
        let bundle = bundle.expect("a bundle");
        let datacenter = Datacenter::new(Options::default(), clock.clone());
        let credentials = Credentials::issue(
            &bundle.certificates.talos.authority().expect("an authority"),
            Role::Admin,
            &clock,
        );
        let credentials = credentials.expect("credentials");
        let mut clients = Vec::new();
        let kinds = [
            MachineType::ControlPlane,
            MachineType::ControlPlane,
            MachineType::Worker,
        ];
        for (number, kind) in (1_u8..).zip(kinds) {
            let input = ConfigInput {
                cluster_name: "lab",
                endpoint: "https://10.0.0.100:6443",
                kubernetes_version: "1.34.1",
                contract: Contract::V1_13,
                bundle: &bundle,
                options: ConfigOptions::default(),
            };
            let config = input.generate(kind).expect("a configuration").to_yaml();
            let facts = MachineFacts::new(format!("uuid-{number}"), "machine")
                .addresses([[10, 0, 0, number].into()])
                .seed(Seed::Files {
                    user_data: config.expose_secret().to_owned(),
                    meta_data: format!("local-hostname: node-{number}"),
                    network_config: String::new(),
                });
            datacenter.boot(facts);
            let settings = Settings::with_connector(clock.clone(), datacenter.connector());
            let endpoint: Endpoint = format!("10.0.0.{number}").parse().expect("an endpoint");
            let client = loop {
                match TalosClient::connect(endpoint.clone(), &credentials, &settings).await {
                    Ok(client) => break client,
                    Err(_) => clock.sleep(Duration::from_millis(50)).await,
                }
            };
            clients.push(client);
        }
        (datacenter, clients.try_into().expect("three"))
    }

    fn code(result: Result<impl Sized, ClientError>) -> Option<Code> {
        result.err().and_then(|error| error.code())
    }

    #[tokio::test(start_paused = true)]
    async fn a_control_plane_node_passes_a_call_on_and_a_worker_does_not() {
        let (datacenter, [first, _, worker]) = nodes().await;
        for host in ["10.0.0.3", "node-3"] {
            let through = first.for_node(host).expect("a host");
            assert_eq!(through.hostname().await.expect("hostname"), "node-3");
        }
        let itself = worker.for_node("10.0.0.3").expect("a host");
        assert_eq!(itself.hostname().await.expect("hostname"), "node-3");
        let other = worker.for_node("10.0.0.1").expect("a host");
        assert_eq!(code(other.hostname().await), Some(Code::PermissionDenied));
        let two = first.for_node("10.0.0.2,10.0.0.3").expect("text");
        assert_eq!(code(two.hostname().await), Some(Code::InvalidArgument));
        datacenter.power_off("uuid-3");
        let gone = first.for_node("10.0.0.3").expect("a host");
        assert_eq!(code(gone.hostname().await), Some(Code::Unavailable));
        assert!(first.for_node("bad\nname").is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_to_many_is_answered_for_each_with_its_own_error() {
        let (datacenter, [first, ..]) = nodes().await;
        datacenter.power_off("uuid-2");
        let all = first
            .routed("nodes", "10.0.0.1,10.0.0.2,10.0.0.3")
            .expect("hosts");
        let answer: Answer<wire::Hostname> = all
            .unary(
                "/machine.MachineService/",
                Duration::from_secs(5),
                "Hostname",
                wire::Empty {},
            )
            .await
            .expect("an answer");
        let rows: Vec<(String, String, bool)> = answer
            .messages
            .into_iter()
            .map(|message| {
                let metadata = message.metadata.unwrap_or_default();
                (
                    metadata.hostname,
                    message.hostname,
                    metadata.error.is_empty(),
                )
            })
            .collect();
        let row = |host: &str, name: &str, fine| (host.to_owned(), name.to_owned(), fine);
        assert_eq!(
            rows,
            [
                row("10.0.0.1", "node-1", true),
                row("10.0.0.2", "", false),
                row("10.0.0.3", "node-3", true),
            ]
        );
        let error = first
            .routed("nodes", "10.0.0.2")
            .expect("a host")
            .hostname()
            .await;
        assert_eq!(
            code(error),
            Some(Code::Unavailable),
            "an error within an answer is an error"
        );
        assert_eq!(
            code(all.nodename().await),
            Some(Code::InvalidArgument),
            "not for resources"
        );
    }
}
