//! The suite of IPAM providers: calls of the trait, with what is in use kept as a host keeps it.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use kube_core::Resource as _;
use serde_json::Value;

use super::{
    EPOCH, Flaw, Options, Report, Verdict,
    direct::{decoded, flaw, until, well_formed},
    ports::Ports,
};
use crate::{
    api::{ContractVersionedObjectReference, IPAddressClaim, IPAddressClaimSpec},
    clock::Clock,
    provider::{Allocation, ClaimContext, Ipam, PoolUse, Progress},
};

/// What the suite makes a pool from.
#[derive(Clone, Debug)]
pub struct IpamOptions {
    /// `spec` of a pool.
    pub pool: Value,
    /// How many addresses that pool gives.
    pub size: usize,
    /// A `spec` of a pool that gives none because it is wrong, if there is such a one.
    pub invalid_pool: Option<Value>,
}

struct Bench<P: Ipam> {
    provider: P,
    clock: Clock,
    ports: Ports,
    pool: Arc<P::Pool>,
    used: PoolUse,
}

/// How long an outside system may take for one address.
const PATIENCE: Duration = Duration::from_secs(600);

impl<P: Ipam> Bench<P> {
    fn new(provider: P, pool: &Value) -> Result<Self, Flaw> {
        Ok(Self {
            provider,
            clock: Clock::following_tokio(EPOCH),
            ports: Ports::new(&Options::new(Vec::new())),
            pool: decoded::<P::Pool>("pool", pool)?,
            used: PoolUse::default(),
        })
    }

    fn context(&self, name: &str) -> ClaimContext<P::Pool> {
        let pool_ref = ContractVersionedObjectReference {
            api_group: P::Pool::group(&()).into_owned(),
            kind: P::Pool::kind(&()).into_owned(),
            name: "pool".to_owned(),
        };
        let mut claim = IPAddressClaim::new(
            name,
            IPAddressClaimSpec {
                cluster_name: None,
                pool_ref,
            },
        );
        claim.metadata.namespace = Some("default".to_owned());
        ClaimContext {
            context: self.ports.context(&self.clock, name),
            cluster: None,
            claim: Arc::new(claim),
            pool: Arc::clone(&self.pool),
            used: Arc::new(self.used.clone()),
        }
    }

    async fn allocate(&self, name: &str) -> Result<Allocation, Flaw> {
        let cx = self.context(name);
        until(&self.clock, PATIENCE, || self.provider.allocate(&cx)).await
    }

    /// Allocates, and writes it down.
    async fn take(&mut self, name: &str) -> Result<Allocation, Flaw> {
        let given = self.allocate(name).await?;
        if !self.used.insert(given.address, &format!("default/{name}")) {
            return Err(format!("{} is given to two claims", given.address).into());
        }
        Ok(given)
    }

    async fn give_back(&mut self, name: &str, given: &Allocation) -> Verdict {
        let cx = self.context(name);
        let release = || self.provider.release(&cx, given.address);
        until(&self.clock, PATIENCE, release).await?;
        self.used.remove(given.address, &format!("default/{name}"));
        Ok(())
    }

    /// A call with nothing left to give.
    async fn exhausted(&self, name: &str) -> Verdict {
        match self.provider.allocate(&self.context(name)).await {
            Ok(Progress::Waiting(wait)) => well_formed(&wait.reason, &wait.message),
            Ok(Progress::Ready(given)) => {
                Err(format!("{} is given beyond the pool", given.address).into())
            }
            Err(error) => Err(flaw(&error)),
        }
    }
}

/// Runs the suite on an IPAM provider: `conformance::ipam(MyIpam::default, options).await`.
/// `provider` is called once for each check, and for each restart in it.
pub async fn ipam<P: Ipam>(provider: impl Fn() -> P, options: IpamOptions) -> Report {
    let mut report = Report::default();
    let bench = || Bench::new(provider(), &options.pool);
    let name = |index: usize| format!("claim-{index}");

    let verdict = async {
        let mut bench = bench()?;
        let mut seen = BTreeSet::new();
        for index in 0..options.size {
            let given = bench.take(&name(index)).await?;
            let longest = if given.address.is_ipv4() { 32 } else { 128 };
            if given.prefix > longest {
                return Err(format!("{} has a prefix of {}", given.address, given.prefix).into());
            }
            if given.gateway == Some(given.address) {
                return Err(format!("{} is its own gateway", given.address).into());
            }
            seen.insert(given.address);
        }
        match seen.len() == options.size {
            true => Ok(()),
            false => Err(Flaw::Failed("an address is given twice".to_owned())),
        }
    };
    report.add("each claim gets an address of its own", verdict.await);

    let verdict = async {
        let bench = bench()?;
        let first = bench.allocate("a").await?;
        let second = bench.allocate("a").await?;
        match first == second {
            true => Ok(()),
            false => Err(format!("{first:?}, and then {second:?}").into()),
        }
    };
    let rule = "an answer that was not written is given again";
    report.add(rule, verdict.await);

    let verdict = async {
        let mut bench = bench()?;
        let given = bench.take("a").await?;
        bench.provider = provider();
        let other = bench.take("b").await?;
        let again = bench.allocate("a").await;
        match (given.address == other.address, again) {
            (true, _) => Err(format!("{} is given again", other.address).into()),
            (false, Ok(_) | Err(Flaw::Failed(_))) => Ok(()),
            (false, Err(skipped)) => Err(skipped),
        }
    };
    let rule = "after a restart no address that is in use is given";
    report.add(rule, verdict.await);

    let verdict = async {
        let mut bench = bench()?;
        for index in 0..options.size {
            bench.take(&name(index)).await?;
        }
        bench.exhausted("one-too-many").await
    };
    report.add("a claim of an empty pool waits", verdict.await);

    let verdict = async {
        let mut bench = bench()?;
        let mut last = None;
        for index in 0..options.size {
            last = Some((name(index), bench.take(&name(index)).await?));
        }
        let Some((holder, given)) = last else {
            return Err(Flaw::Skipped("the pool gives no address"));
        };
        bench.give_back(&holder, &given).await?;
        bench.give_back(&holder, &given).await?;
        let next = bench.take("next").await?;
        match next.address == given.address {
            true => Ok(()),
            false => Err(format!("{} is not given again", given.address).into()),
        }
    };
    let rule = "an address that was given back, also twice, is given again";
    report.add(rule, verdict.await);

    let verdict = async {
        let mut bench = bench()?;
        bench.take("a").await?;
        let (first, second) = (
            bench.provider.pool_status(&bench.pool, &bench.used),
            bench.provider.pool_status(&bench.pool, &bench.used),
        );
        match first == second {
            true => Ok(()),
            false => Err(Flaw::Failed("it changes though nothing did".to_owned())),
        }
    };
    report.add("the status of a pool follows from its use", verdict.await);

    let verdict = async {
        let Some(pool) = &options.invalid_pool else {
            return Err(Flaw::Skipped("the options name no wrong pool"));
        };
        let bench = Bench::new(provider(), pool)?;
        match bench.provider.allocate(&bench.context("a")).await {
            Ok(answer) => Err(format!("the answer is {answer:?}").into()),
            Err(error) => well_formed(error.reason(), &error.to_string()),
        }
    };
    report.add("a wrong pool is an error, and gives nothing", verdict.await);
    report
}
