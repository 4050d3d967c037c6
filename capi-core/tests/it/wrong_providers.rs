//! Providers that are wrong in one way each, and the rule of the conformance suite that says so.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use capi_core::{
    api::{ApiEndpoint, MachineAddress, MachineAddressType},
    clock::Clock,
    provider::{
        ClusterContext, ClusterFacts, Infrastructure, MachineContext, MachineFacts, Progress,
        ProviderError, Recorded, StatusFields,
    },
    testing::{
        conformance::{self, Options, Outside},
        reference::{self, ReferenceCluster, ReferenceIdentity, ReferenceMachine},
    },
};
use serde_json::json;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Defect {
    None,
    EndpointChanges,
    ClusterMustExist,
    ReserveMakes,
    ReserveIgnoresSlots,
    ForgetsIdentity,
    LiesAboutReady,
    MakesTwo,
    FactsChange,
    WordsForReason,
    NeverReturns,
    NeverUp,
    RemembersInProcess,
    NotCancelSafe,
    NeverFinishesDestroy,
    DestroyLies,
    DestroyMustExist,
    DestroyForgetsHalf,
    DestroysAll,
    DestroysForeign,
    AdoptsForeign,
    MakesAnew,
    GivesUpEarly,
    WrongIsTransient,
    ChangesProviderId,
    StatusNeverRests,
    DiesBadly,
}

/// The defects, and the rule that each one breaks.
const PLANTED: [(Defect, &str); 27] = [
    (
        Defect::EndpointChanges,
        "the cluster's infrastructure comes up, and a second call changes nothing",
    ),
    (
        Defect::ClusterMustExist,
        "removing a cluster's infrastructure that never was is success",
    ),
    (Defect::ReserveMakes, "reserving changes nothing outside"),
    (
        Defect::ReserveIgnoresSlots,
        "two machines reserved at once have two identities",
    ),
    (
        Defect::ForgetsIdentity,
        "an identity that was written is read again as it was",
    ),
    (
        Defect::LiesAboutReady,
        "a machine comes up, and a second call changes nothing",
    ),
    (
        Defect::MakesTwo,
        "a machine comes up, and a second call changes nothing",
    ),
    (
        Defect::FactsChange,
        "a machine comes up, and a second call changes nothing",
    ),
    (
        Defect::WordsForReason,
        "a machine comes up, and a second call changes nothing",
    ),
    (
        Defect::NeverReturns,
        "a machine comes up, and a second call changes nothing",
    ),
    (
        Defect::NeverUp,
        "a machine comes up, and a second call changes nothing",
    ),
    (
        Defect::RemembersInProcess,
        "after a restart the same machine is adopted",
    ),
    (
        Defect::NotCancelSafe,
        "a call to bring up a machine, dropped at any await, is finished by a later one",
    ),
    (
        Defect::NeverFinishesDestroy,
        "a machine goes, and a second call is success",
    ),
    (
        Defect::DestroyLies,
        "a machine goes, and a second call is success",
    ),
    (
        Defect::DestroyMustExist,
        "removing a machine that was never made is success",
    ),
    (
        Defect::DestroyForgetsHalf,
        "a call to remove a machine, dropped at any await, is finished by a later one",
    ),
    (
        Defect::DestroysAll,
        "removing one machine leaves the others",
    ),
    (
        Defect::DestroysForeign,
        "what bears another mark is not removed",
    ),
    (
        Defect::AdoptsForeign,
        "what bears another mark is not taken for ours",
    ),
    (
        Defect::MakesAnew,
        "a machine that was ready and vanished is terminal, and not made again",
    ),
    (
        Defect::GivesUpEarly,
        "a machine that vanished before it was ready is made again",
    ),
    (
        Defect::WrongIsTransient,
        "a wrong spec is invalid, and nothing is made",
    ),
    (
        Defect::ChangesProviderId,
        "the host brings it up with the fields of both contract versions",
    ),
    (
        Defect::StatusNeverRests,
        "nothing is written when nothing changed, also across a restart",
    ),
    (
        Defect::DiesBadly,
        "a manager killed before any call goes on where it was",
    ),
    (Defect::DestroyLies, "deletion leaves nothing"),
];

/// Rules that are the host's to keep: no provider can break them alone.
const OF_THE_HOST: [&str; 2] = [
    "the identity is recorded before anything is made",
    "nothing is called while paused",
];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    mark: String,
    complete: bool,
    going: bool,
}

type Hosts = BTreeMap<u32, Host>;

/// Where the machines are.
struct World {
    clock: Clock,
    defect: Defect,
    hosts: Arc<Mutex<Hosts>>,
    calls: Arc<AtomicU16>,
}

impl Outside for World {
    type Provider = Wrong;

    fn provider(&self) -> Wrong {
        Wrong {
            clock: self.clock.clone(),
            defect: self.defect,
            hosts: Arc::clone(&self.hosts),
            calls: Arc::clone(&self.calls),
            made_here: Mutex::default(),
        }
    }

    fn machines(&self) -> Vec<ReferenceIdentity> {
        let identity = |(number, host): (&u32, &Host)| ReferenceIdentity {
            number: *number,
            mark: host.mark.clone(),
        };
        lock(&self.hosts).iter().map(identity).collect()
    }

    fn vanish(&self, machine: &ReferenceIdentity) {
        lock(&self.hosts).remove(&machine.number);
    }

    fn usurp(&self, machine: &ReferenceIdentity) -> bool {
        let stranger = Host {
            mark: "a-stranger".to_owned(),
            complete: true,
            going: false,
        };
        lock(&self.hosts).insert(machine.number, stranger);
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Wrong {
    clock: Clock,
    defect: Defect,
    hosts: Arc<Mutex<Hosts>>,
    calls: Arc<AtomicU16>,
    made_here: Mutex<BTreeSet<u32>>,
}

impl Wrong {
    fn has(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    /// A call outside takes a while.
    async fn call(&self) {
        self.clock.sleep(Duration::from_millis(50)).await;
    }

    fn make(&self, number: u32, mark: &str) {
        let host = Host {
            mark: mark.to_owned(),
            complete: false,
            going: false,
        };
        lock(&self.hosts).insert(number, host);
        lock(&self.made_here).insert(number);
    }

    fn wait(&self, reason: &'static str) -> Progress<MachineFacts> {
        Progress::waiting("machine", reason, "It is on its way").after(Duration::from_secs(1))
    }
}

#[async_trait]
impl Infrastructure for Wrong {
    type Cluster = ReferenceCluster;
    type Machine = ReferenceMachine;
    type Identity = ReferenceIdentity;

    fn slots(&self, identity: &ReferenceIdentity) -> Vec<(String, String)> {
        vec![("machine".to_owned(), identity.number.to_string())]
    }

    async fn ensure_cluster(
        &self,
        _cx: &ClusterContext<ReferenceCluster>,
    ) -> Result<Progress<ClusterFacts>, ProviderError> {
        self.call().await;
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        let port = if self.has(Defect::EndpointChanges) {
            7000 + calls
        } else {
            6443
        };
        Ok(Progress::Ready(ClusterFacts {
            control_plane_endpoint: Some(ApiEndpoint {
                host: "127.0.0.1".to_owned(),
                port: port.into(),
            }),
            ..ClusterFacts::default()
        }))
    }

    async fn destroy_cluster(
        &self,
        _cx: &ClusterContext<ReferenceCluster>,
    ) -> Result<Progress<()>, ProviderError> {
        self.call().await;
        if self.has(Defect::ClusterMustExist) && self.calls.load(Ordering::SeqCst) == 0 {
            return Err(ProviderError::invalid("NoCluster", "there is no cluster"));
        }
        Ok(Progress::Ready(()))
    }

    async fn reserve(
        &self,
        cx: &MachineContext<ReferenceCluster, ReferenceMachine>,
    ) -> Result<Progress<ReferenceIdentity>, ProviderError> {
        self.call().await;
        if cx.infrastructure.spec.size.as_deref() == Some("enormous") {
            return Err(if self.has(Defect::WrongIsTransient) {
                ProviderError::transient("NoSuchSize", "there is no such size")
            } else {
                ProviderError::invalid("NoSuchSize", "there is no such size")
            });
        }
        let careless = self.has(Defect::ReserveIgnoresSlots);
        let mark = if careless {
            "the-same".to_owned()
        } else {
            cx.infrastructure.metadata.uid.clone().unwrap_or_default()
        };
        let slots = cx.context.slots();
        let free = |number: &u32| {
            !lock(&self.hosts).contains_key(number)
                && (careless || slots.take("machine", &number.to_string()))
        };
        let number = (1..100).find(free).unwrap_or(100);
        if self.has(Defect::ReserveMakes) {
            self.make(number, &mark);
        }
        Ok(Progress::Ready(ReferenceIdentity { number, mark }))
    }

    async fn ensure(
        &self,
        _cx: &MachineContext<ReferenceCluster, ReferenceMachine>,
        recorded: &Recorded<ReferenceIdentity>,
    ) -> Result<Progress<MachineFacts>, ProviderError> {
        let ReferenceIdentity { number, mark } = &recorded.identity;
        if self.has(Defect::NeverReturns) {
            std::future::pending::<()>().await;
        }
        self.call().await;
        if self.has(Defect::LiesAboutReady) {
            return Ok(Progress::Ready(MachineFacts::default()));
        }
        let found = lock(&self.hosts).get(number).cloned();
        let unknown = self.has(Defect::RemembersInProcess) || self.has(Defect::DiesBadly);
        match found {
            Some(host) if host.mark != *mark && !self.has(Defect::AdoptsForeign) => {
                return Err(ProviderError::refused("Foreign", "it bears another mark"));
            }
            Some(_) if unknown && !lock(&self.made_here).contains(number) => {
                // It cannot be mine, since I did not make it: another beside it.
                self.make(number + 100, mark);
                lock(&self.made_here).insert(*number);
            }
            Some(host) if self.has(Defect::NotCancelSafe) && !host.complete => {
                self.make(number + 100, mark);
            }
            Some(_) => {}
            None if recorded.was_ready && !self.has(Defect::MakesAnew) => {
                return Err(ProviderError::terminal("Vanished", "it was ready"));
            }
            None if self.has(Defect::GivesUpEarly) && self.calls.load(Ordering::SeqCst) > 500 => {
                return Err(ProviderError::terminal("Vanished", "it was begun"));
            }
            None => {
                self.make(*number, mark);
                if self.has(Defect::MakesTwo) {
                    self.make(number + 100, mark);
                }
                self.calls.fetch_add(501, Ordering::SeqCst);
            }
        }
        self.call().await;
        if self.has(Defect::WordsForReason) && !recorded.was_ready {
            let complete = lock(&self.hosts).get(number).is_some_and(|h| h.complete);
            if let Some(host) = lock(&self.hosts).get_mut(number) {
                host.complete = true;
            }
            if !complete {
                return Ok(self.wait("on its way"));
            }
        }
        if self.has(Defect::NeverUp) {
            return Ok(self.wait("OnItsWay"));
        }
        if let Some(host) = lock(&self.hosts).get_mut(number) {
            host.complete = true;
        }
        let last = if self.has(Defect::FactsChange) || self.has(Defect::StatusNeverRests) {
            self.calls.fetch_add(1, Ordering::SeqCst) % 200
        } else {
            7
        };
        Ok(Progress::Ready(MachineFacts {
            addresses: vec![MachineAddress {
                type_: MachineAddressType::InternalIp,
                address: format!("198.51.100.{last}"),
            }],
            ..MachineFacts::default()
        }))
    }

    async fn destroy(
        &self,
        _cx: &MachineContext<ReferenceCluster, ReferenceMachine>,
        recorded: &Recorded<ReferenceIdentity>,
    ) -> Result<Progress<()>, ProviderError> {
        let ReferenceIdentity { number, mark } = &recorded.identity;
        self.call().await;
        if self.has(Defect::DestroyLies) {
            return Ok(Progress::Ready(()));
        }
        if self.has(Defect::DestroysAll) {
            lock(&self.hosts).clear();
            return Ok(Progress::Ready(()));
        }
        let found = lock(&self.hosts).get(number).cloned();
        match found {
            None if self.has(Defect::DestroyMustExist) => {
                return Err(ProviderError::invalid("NoMachine", "there is no machine"));
            }
            None => return Ok(Progress::Ready(())),
            Some(host) if host.mark != *mark && !self.has(Defect::DestroysForeign) => {
                return Err(ProviderError::refused("Foreign", "it bears another mark"));
            }
            Some(host) if host.going && self.has(Defect::DestroyForgetsHalf) => {
                // Somebody is at it already, surely.
                return Ok(Progress::Ready(()));
            }
            Some(_) => {}
        }
        if let Some(host) = lock(&self.hosts).get_mut(number) {
            host.going = true;
        }
        self.call().await;
        if self.has(Defect::NeverFinishesDestroy) {
            return Ok(Progress::waiting("machine", "Going", "It is on its way")
                .after(Duration::from_secs(5)));
        }
        lock(&self.hosts).remove(number);
        Ok(Progress::Ready(()))
    }

    fn read_identity(
        &self,
        machine: &ReferenceMachine,
    ) -> Result<Option<ReferenceIdentity>, ProviderError> {
        let Some(text) = machine.spec.provider_id.as_deref() else {
            return Ok(None);
        };
        let parts = text
            .strip_prefix("reference://")
            .and_then(|rest| rest.split_once('/'))
            .and_then(|(number, mark)| Some((number.parse().ok()?, mark.to_owned())));
        let Some((number, mark)) = parts else {
            return Err(ProviderError::invalid("NoIdentity", "it is no identity"));
        };
        if self.has(Defect::ForgetsIdentity) {
            return Ok(None);
        }
        let ready = lock(&self.hosts)
            .get(&number)
            .is_some_and(|h: &Host| h.complete);
        let number = if self.has(Defect::ChangesProviderId) && ready {
            number + 1
        } else {
            number
        };
        Ok(Some(ReferenceIdentity { number, mark }))
    }

    fn write_identity(
        &self,
        _identity: &ReferenceIdentity,
    ) -> Result<(StatusFields, StatusFields), ProviderError> {
        Ok((StatusFields::new(), StatusFields::new()))
    }
}

fn world(defect: Defect) -> impl Fn(Clock) -> World {
    move |clock| World {
        clock,
        defect,
        hosts: Arc::default(),
        calls: Arc::default(),
    }
}

fn options() -> Options {
    let mut options = Options::new(reference::crds()).invalid_machine(json!({"size": "enormous"}));
    options.patience = Duration::from_secs(120);
    options
}

#[tokio::test(start_paused = true)]
async fn a_provider_without_defect_conforms_and_every_rule_can_be_broken() {
    let report = conformance::infrastructure(world(Defect::None), options()).await;
    report.assert_conforms();
    for check in &report.checks {
        assert_eq!(
            check.outcome,
            conformance::Outcome::Passed,
            "{}",
            check.rule
        );
        assert!(
            OF_THE_HOST.contains(&check.rule)
                || PLANTED.iter().any(|(_, rule)| *rule == check.rule),
            "no wrong provider breaks the rule {:?}",
            check.rule
        );
    }
}

#[tokio::test(start_paused = true)]
async fn each_planted_defect_breaks_its_rule() {
    for (defect, rule) in PLANTED {
        let report = conformance::infrastructure(world(defect), options().only(rule)).await;
        let failures: Vec<_> = report.failures().collect();
        assert_eq!(failures, [rule], "{defect:?}:\n{report}");
    }
}
