//! A management cluster's ports in memory, for calls of a provider without a host.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use secrecy::SecretSlice;
use serde_json::Value;

use super::Options;
use crate::{
    clock::Clock,
    provider::{
        AddressFacts, AddressRequest, Addresses, Context, NamedSecret, Objects, Progress,
        ProviderError, SecretRequest, Secrets, Slots,
    },
};

#[derive(Default)]
struct State {
    secrets: BTreeMap<String, NamedSecret>,
    claims: Vec<Option<String>>,
    slots: BTreeMap<(String, String), String>,
    objects: BTreeMap<String, Value>,
}

/// What all contexts share.
#[derive(Clone, Default)]
pub(super) struct Ports(Arc<Mutex<State>>);

impl Ports {
    pub(super) fn new(options: &Options) -> Self {
        let ports = Self::default();
        for (name, data) in &options.secrets {
            let data = data
                .iter()
                .map(|(key, value)| (key.clone(), SecretSlice::from(value.clone())))
                .collect();
            let secret = NamedSecret {
                name: name.clone(),
                labels: BTreeMap::new(),
                data,
            };
            ports.state().secrets.insert(name.clone(), secret);
        }
        ports
    }

    /// The context of one object's calls.
    pub(super) fn context(&self, clock: &Clock, holder: &str) -> Context {
        let port = Arc::new(Port {
            ports: self.clone(),
            holder: holder.to_owned(),
        });
        Context::new(clock.clone(), port.clone(), port.clone(), port.clone()).with_objects(port)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Port {
    ports: Ports,
    holder: String,
}

#[async_trait]
impl Secrets for Port {
    async fn get(
        &self,
        _namespace: &str,
        name: &str,
    ) -> Result<Option<NamedSecret>, ProviderError> {
        Ok(self.ports.state().secrets.get(name).cloned())
    }

    async fn create(&self, request: SecretRequest) -> Result<NamedSecret, ProviderError> {
        let mut state = self.ports.state();
        let stored = state.secrets.entry(request.name.clone());
        Ok(stored.or_insert_with(|| named(request)).clone())
    }

    async fn put(&self, request: SecretRequest) -> Result<(), ProviderError> {
        self.ports
            .state()
            .secrets
            .insert(request.name.clone(), named(request));
        Ok(())
    }
}

fn named(request: SecretRequest) -> NamedSecret {
    NamedSecret {
        name: request.name,
        labels: BTreeMap::new(),
        data: request.data,
    }
}

#[async_trait]
impl Addresses for Port {
    async fn claim(
        &self,
        request: AddressRequest,
    ) -> Result<Progress<AddressFacts>, ProviderError> {
        let mut state = self.ports.state();
        let known = state
            .claims
            .iter()
            .position(|claim| claim.as_ref() == Some(&request.name));
        let index = known.unwrap_or_else(|| {
            state.claims.push(Some(request.name));
            state.claims.len() - 1
        });
        // Of the range that documentation may use.
        let host = u8::try_from(index + 2).map_err(|_| {
            ProviderError::transient("PoolExhausted", "the suite has no more addresses")
        })?;
        Ok(Progress::Ready(AddressFacts {
            address: IpAddr::V4(Ipv4Addr::new(203, 0, 113, host)),
            prefix: 24,
            gateway: Some(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1))),
        }))
    }

    async fn release(&self, name: &str) -> Result<Progress<()>, ProviderError> {
        for claim in &mut self.ports.state().claims {
            if claim.as_deref() == Some(name) {
                *claim = None;
            }
        }
        Ok(Progress::Ready(()))
    }
}

impl Slots for Port {
    fn take(&self, scope: &str, slot: &str) -> bool {
        let mut state = self.ports.state();
        let key = (scope.to_owned(), slot.to_owned());
        state
            .slots
            .entry(key)
            .or_insert_with(|| self.holder.clone())
            == &self.holder
    }

    fn give_back(&self, scope: &str, slot: &str) {
        let mut state = self.ports.state();
        let key = (scope.to_owned(), slot.to_owned());
        if state.slots.get(&key) == Some(&self.holder) {
            state.slots.remove(&key);
        }
    }
}

#[async_trait]
impl Objects for Port {
    async fn ensure(&self, object: Value) -> Result<(), ProviderError> {
        let name = format!("{}/{}", object["kind"], object["metadata"]["name"]);
        self.ports.state().objects.insert(name, object);
        Ok(())
    }
}
