//! Leader election by a Lease, as client-go does it: whoever holds the Lease and renews it in
//! time is the one that writes.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Error, ObjectKey, PolicyRule, ResourceType, Writer};
use crate::clock::Clock;

/// Which Lease, and how long.
#[derive(Clone, Debug)]
pub struct LeaseConfig {
    /// Namespace of the Lease.
    pub namespace: String,
    /// Its name; upstream's core manager uses `controller-leader-election-capi`.
    pub name: String,
    /// Who this manager is: unique per process.
    pub identity: String,
    /// Others wait so long after the last renewal that they saw.
    pub lease_duration: Duration,
    /// The holder gives up when it could not renew for so long. Less than `lease_duration`.
    pub renew_deadline: Duration,
    /// Between two attempts.
    pub retry_period: Duration,
}

impl LeaseConfig {
    /// Upstream's times (15 s, 10 s, 2 s) for the Lease of its core manager in `namespace`.
    pub fn new(namespace: impl Into<String>, identity: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            name: "controller-leader-election-capi".to_owned(),
            identity: identity.into(),
            lease_duration: Duration::from_secs(15),
            renew_deadline: Duration::from_secs(10),
            retry_period: Duration::from_secs(2),
        }
    }

    /// What the holder of a Lease may do: read it, make it, renew it.
    #[must_use]
    pub fn rbac() -> Vec<PolicyRule> {
        let verbs = ["get", "create", "update"];
        vec![PolicyRule::new("coordination.k8s.io", ["leases"], verbs)]
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeaseObject {
    api_version: String,
    kind: String,
    metadata: serde_json::Map<String, serde_json::Value>,
    #[serde(default)]
    spec: LeaseSpec,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LeaseSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    holder_identity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_duration_seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acquire_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    renew_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_transitions: Option<u64>,
}

pub(crate) struct Elector {
    writer: Writer,
    /// What may write only while the Lease is ours.
    led: Writer,
    clock: Clock,
    config: LeaseConfig,
    resource: ResourceType,
    key: ObjectKey,
    /// The state of the Lease that was seen last, and when it was first seen: clocks of other
    /// machines are never compared with ours.
    observed: Option<(LeaseSpec, Timestamp)>,
}

impl Elector {
    pub(crate) fn new(writer: Writer, clock: Clock, config: LeaseConfig) -> Self {
        let key = ObjectKey::new(config.namespace.as_str(), config.name.as_str());
        let resource = ResourceType::new("coordination.k8s.io", "v1", "Lease", "leases", true);
        Self {
            writer: writer.for_anyone(),
            led: writer,
            clock,
            config,
            resource,
            key,
            observed: None,
        }
    }

    /// Ends once the Lease is ours.
    pub(crate) async fn acquire(&mut self) {
        loop {
            match self.attempt(true).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::debug!(error = %error.full_message(), "lease not acquired");
                }
            }
            self.clock.sleep(self.config.retry_period).await;
        }
    }

    /// Renews the Lease; ends when it is lost.
    pub(crate) async fn keep(&mut self) {
        let mut renewed = self.clock.now();
        loop {
            self.clock.sleep(self.config.retry_period).await;
            let too_long = self.clock.sleep(self.config.retry_period);
            let attempt = tokio::select! {
                biased;
                attempt = self.attempt(true) => attempt,
                () = too_long => {
                    Err(Error::Missing("no answer in time".to_owned()))
                }
            };
            match attempt {
                Ok(true) => renewed = self.clock.now(),
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(error = %error.full_message(), "lease not renewed");
                }
            }
            let silent = self.clock.now().duration_since(renewed);
            if Duration::try_from(silent).unwrap_or_default() >= self.config.renew_deadline {
                return;
            }
        }
    }

    /// Gives the Lease up, so that another can have it at once.
    pub(crate) async fn release(&mut self) {
        if let Err(error) = self.attempt(false).await {
            tracing::debug!(error = %error.full_message(), "lease not released");
        }
    }

    /// One attempt to hold (or give up) the Lease; whether it is ours after it.
    async fn attempt(&mut self, hold: bool) -> Result<bool, Error> {
        let now = self.clock.now();
        let Some(found) = self.writer.get(&self.resource, &self.key).await? else {
            if !hold {
                return Ok(false);
            }
            let spec = self.spec(None, now);
            let mut metadata = serde_json::Map::new();
            metadata.insert("name".to_owned(), self.config.name.clone().into());
            metadata.insert("namespace".to_owned(), self.config.namespace.clone().into());
            let lease = LeaseObject {
                api_version: "coordination.k8s.io/v1".to_owned(),
                kind: "Lease".to_owned(),
                metadata,
                spec: spec.clone(),
            };
            self.writer
                .create(&self.resource, &self.config.namespace, &lease)
                .await?;
            self.observed = Some((spec, now));
            self.leads_since(now);
            return Ok(true);
        };
        let mut lease: LeaseObject = serde_json::from_slice(found.bytes())
            .map_err(|source| Error::decode("Lease", source))?;
        if self
            .observed
            .as_ref()
            .is_none_or(|(spec, _)| *spec != lease.spec)
        {
            self.observed = Some((lease.spec.clone(), now));
        }
        let holder = lease.spec.holder_identity.as_deref().unwrap_or_default();
        let ours = holder == self.config.identity;
        if !ours && (!hold || !holder.is_empty()) {
            let seen = self.observed.as_ref().map_or(now, |(_, seen)| *seen);
            let lasts = lease
                .spec
                .lease_duration_seconds
                .map_or(self.config.lease_duration, Duration::from_secs);
            let age = Duration::try_from(now.duration_since(seen)).unwrap_or_default();
            if !hold || age < lasts {
                return Ok(false);
            }
        }
        lease.spec = if hold {
            self.spec(Some(&lease.spec), now)
        } else {
            LeaseSpec {
                holder_identity: Some(String::new()),
                lease_duration_seconds: Some(1),
                ..lease.spec
            }
        };
        // The resource version in the metadata makes this fail when somebody else was faster.
        self.writer
            .replace(&self.resource, &self.key, &lease)
            .await?;
        self.observed = Some((lease.spec, now));
        if hold {
            self.leads_since(now);
        }
        Ok(hold)
    }

    /// The Lease was renewed by a request that was sent at this time: others count from later on.
    fn leads_since(&self, sent: Timestamp) {
        let until = sent.checked_add(self.config.renew_deadline);
        self.led.lead_until(until.unwrap_or(Timestamp::MAX));
    }

    fn spec(&self, before: Option<&LeaseSpec>, now: Timestamp) -> LeaseSpec {
        let time = format!("{now:.6}");
        let kept =
            before.filter(|spec| spec.holder_identity.as_deref() == Some(&*self.config.identity));
        let transitions = before.map_or(0, |spec| {
            spec.lease_transitions.unwrap_or(0) + u64::from(kept.is_none())
        });
        LeaseSpec {
            holder_identity: Some(self.config.identity.clone()),
            lease_duration_seconds: Some(self.config.lease_duration.as_secs()),
            acquire_time: kept
                .and_then(|spec| spec.acquire_time.clone())
                .or_else(|| Some(time.clone())),
            renew_time: Some(time),
            lease_transitions: Some(transitions),
        }
    }
}
