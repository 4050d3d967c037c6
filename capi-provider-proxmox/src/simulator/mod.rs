//! A simulated Proxmox VE datacenter.
//!
//! It answers Proxmox VE's HTTP API in Proxmox VE's own form and words: tasks that take time, locks, permissions,
//! parameter verification, capacity, and [faults](Fault) by plan. It is a service first: [`Simulator`] is a
//! [`Transport`], so a client reaches it without a socket and in virtual time. [`Simulator::serve`] puts it on loopback
//! with HTTPS. It runs no virtual machine; a [`VirtualMachineHost`] can.
//!
//! ```
//! use std::sync::Arc;
//!
//! use capi_core::clock::Clock;
//! use capi_provider_proxmox::client::{ApiToken, Client};
//! use capi_provider_proxmox::simulator::{Datacenter, Simulator};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
//! let clock = Clock::following_tokio("2026-01-01T00:00:00Z".parse()?);
//! let mut datacenter = Datacenter::example(3, 1);
//! datacenter.add_token("capi@pve!manager", "secret");
//! let simulator = Simulator::new(datacenter, clock.clone());
//!
//! let client = Client::builder("https://pve1:8006", ApiToken::new("capi@pve!manager", "secret")?, clock)
//!     .transport(Arc::new(simulator.clone()))
//!     .build()?;
//! assert_eq!(client.version().await?.release, "9.1");
//! assert_eq!(simulator.calls()["GET /version"], 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod agent;
mod faults;
mod guests;
mod host;
mod request;
mod routes;
mod server;
mod state;
mod storage;
mod tasks;
mod verify;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use capi_core::clock::Clock;
use http::header::AUTHORIZATION;
use http::{Method, Request, Response};
use jiff::Timestamp;

pub use faults::{Fault, Outcome};
pub use host::{
    GuestReport, NetworkDevice, ReportedInterface, VirtualMachine, VirtualMachineHost,
    VirtualMachineKey,
};
pub use server::{Server, ServerError};
pub use state::{
    CloudInit, Datacenter, GIB, Guest, GuestBehaviour, Latencies, Node, Power, Storage,
    StoredVolume, TemplateSpec, Token,
};
pub use tasks::{Effect, Task};

use self::host::HostEvent;
use self::request::{Failure, respond};
use crate::client::{Transport, TransportError};

/// How many calls are kept by [`Simulator::log`].
const LONGEST_LOG: usize = 100_000;

/// A simulated Proxmox VE datacenter. Clones are the same one.
#[derive(Clone)]
pub struct Simulator {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    /// Held while a host is told of events, so that it hears of them in order.
    telling: Mutex<Option<Arc<dyn VirtualMachineHost>>>,
    clock: Clock,
}

struct State {
    datacenter: Datacenter,
    faults: faults::Plan,
    calls: BTreeMap<String, u64>,
    log: Vec<CallRecord>,
}

/// A call that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallRecord {
    /// When it came.
    pub at: Timestamp,
    /// Its method.
    pub method: Method,
    /// Its path below `/api2/json`.
    pub path: String,
    /// Its parameters, sorted by name.
    pub parameters: Vec<(String, String)>,
    /// The status of the answer; 0 when the connection was broken.
    pub status: u16,
}

impl fmt::Debug for Simulator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Simulator")
            .field("datacenter", &self.state().datacenter.name)
            .finish_non_exhaustive()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Simulator {
    /// Simulates `datacenter` in the time of `clock`. Must be called inside a tokio runtime: tasks that still run go on.
    #[must_use]
    pub fn new(datacenter: Datacenter, clock: Clock) -> Self {
        let state = State {
            datacenter,
            faults: faults::Plan::default(),
            calls: BTreeMap::new(),
            log: Vec::new(),
        };
        let simulator = Self {
            shared: Arc::new(Shared {
                state: Mutex::new(state),
                telling: Mutex::new(None),
                clock,
            }),
        };
        simulator.settle();
        simulator.wake_at_ends(None);
        simulator
    }

    /// Lets `host` run the virtual machines; it is told at once of those that are on.
    pub fn attach_host(&self, host: Arc<dyn VirtualMachineHost>) {
        let mut telling = locked(&self.shared.telling);
        let machines: Vec<VirtualMachine> = {
            let mut state = self.state();
            state.datacenter.events.clear();
            let datacenter = &state.datacenter;
            let on = datacenter
                .guests
                .iter()
                .filter(|(_, guest)| guest.power != Power::Stopped);
            on.filter_map(|(vmid, _)| datacenter.virtual_machine(*vmid))
                .collect()
        };
        for machine in machines {
            host.on_start(machine);
        }
        *telling = Some(host);
    }

    /// What the guest agent of a virtual machine tells from now on. Without effect when it is gone, off, or another one.
    pub fn report(&self, key: &VirtualMachineKey, report: GuestReport) {
        let mut state = self.state();
        if let Some(guest) = state.datacenter.guests.get_mut(&key.vmid)
            && guest.power != Power::Stopped
            && guest.uuid().as_deref() == Some(&key.uuid)
        {
            guest.report = Some(report);
        }
    }

    /// Plans a fault.
    pub fn fault(&self, fault: Fault) {
        self.state().faults.add(fault);
    }

    /// Forgets the faults that are planned.
    pub fn clear_faults(&self) {
        self.state().faults.clear();
    }

    /// Looks at the datacenter.
    pub fn inspect<T>(&self, look: impl FnOnce(&Datacenter) -> T) -> T {
        self.settle();
        look(&self.state().datacenter)
    }

    /// Changes the datacenter, as somebody else would do.
    pub fn change<T>(&self, change: impl FnOnce(&mut Datacenter) -> T) -> T {
        self.settle();
        let result = change(&mut self.state().datacenter);
        self.settle();
        result
    }

    /// The whole state, to be loaded again by [`Simulator::new`]. It holds secrets of tokens and of images.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn dump(&self) -> Result<String, serde_json::Error> {
        self.inspect(serde_json::to_string_pretty)
    }

    /// How often each endpoint was called, such as `POST /nodes/{node}/qemu/{vmid}/clone`.
    #[must_use]
    pub fn calls(&self) -> BTreeMap<String, u64> {
        self.state().calls.clone()
    }

    /// The calls in order, up to a hundred thousand.
    #[must_use]
    pub fn log(&self) -> Vec<CallRecord> {
        self.state().log.clone()
    }

    /// Forgets which calls were made.
    pub fn forget_calls(&self) {
        let mut state = self.state();
        state.calls.clear();
        state.log.clear();
    }

    /// The clock of this datacenter.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Answers one request.
    ///
    /// # Errors
    /// [`TransportError::Broken`] where a fault breaks the connection.
    pub async fn answer(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let latency = self.state().datacenter.latencies.call;
        self.pause(latency).await;
        let path = request
            .uri()
            .path()
            .trim_start_matches("/api2/json")
            .to_owned();
        let fault = self.state().faults.take(request.method(), &path);
        if let Some(Outcome::Delay(delay)) = &fault {
            self.pause(*delay).await;
        }
        let (mut response, takes) = match &fault {
            Some(Outcome::DropBefore) => {
                self.record(&request, &path, 0);
                return Err(TransportError::Broken("connection reset by peer".into()));
            }
            Some(Outcome::Status(status, text)) => (
                respond(Err(Failure::new(*status, text.clone()))),
                Duration::ZERO,
            ),
            // A deletion that waits for its task tells the failure itself.
            Some(Outcome::TaskFails(text))
                if request.method() == Method::DELETE && path.contains("/content/") =>
            {
                (
                    respond(Err(Failure::new(500, text.clone()))),
                    Duration::ZERO,
                )
            }
            Some(Outcome::HtmlPage) => (
                request::raw(
                    502,
                    "Bad Gateway",
                    "text/html",
                    Bytes::from_static(b"<html>Bad Gateway</html>"),
                ),
                Duration::ZERO,
            ),
            _ => self.carry_out(&request, fault.as_ref()),
        };
        self.tell_host();
        self.pause(takes).await;
        if matches!(fault, Some(Outcome::DropAfter)) {
            self.record(&request, &path, 0);
            return Err(TransportError::Broken("connection reset by peer".into()));
        }
        if matches!(fault, Some(Outcome::Truncated)) {
            let half = response.body().len() / 2;
            let cut = response.body().slice(..half);
            *response.body_mut() = cut;
        }
        self.record(&request, &path, response.status().as_u16());
        Ok(response)
    }

    fn carry_out(
        &self,
        request: &Request<Bytes>,
        fault: Option<&Outcome>,
    ) -> (Response<Bytes>, Duration) {
        let now = self.shared.clock.now();
        let mut guard = self.state();
        let datacenter = &mut guard.datacenter;
        datacenter.settle(now);
        let tasks_before = datacenter.task_count;
        let reply = authenticate(request, datacenter)
            .and_then(|user| request::parse(request, user, now))
            .and_then(|call| datacenter.handle(&call));
        let (result, takes) = match reply {
            Ok(answer) => (Ok(answer.data), answer.takes),
            Err(failure) => (Err(failure), Duration::ZERO),
        };
        let begun = result
            .as_ref()
            .ok()
            .and_then(|data| data.as_str())
            .filter(|_| datacenter.task_count > tasks_before)
            .map(str::to_owned);
        if let Some(upid) = begun {
            if let (Some(outcome), Some(task)) = (fault, datacenter.tasks.get_mut(&upid)) {
                match outcome {
                    Outcome::TaskFails(text) => task.failure = Some(text.clone()),
                    Outcome::TaskWarns(count) => task.warnings = *count,
                    Outcome::TaskHangs => task.ends = None,
                    Outcome::TaskVanishes => task.hidden = true,
                    _ => {}
                }
            }
            datacenter.settle(now);
            drop(guard);
            self.wake_at_ends(Some(&upid));
        }
        (respond(result), takes)
    }

    fn record(&self, request: &Request<Bytes>, path: &str, status: u16) {
        let at = self.shared.clock.now();
        let parameters = request::parse(request, String::new(), at)
            .map(|call| call.parameters)
            .unwrap_or_default();
        let mut state = self.state();
        *state
            .calls
            .entry(format!("{} {}", request.method(), endpoint(path)))
            .or_default() += 1;
        if state.log.len() < LONGEST_LOG {
            let parameters = parameters.into_iter().flat_map(|(name, values)| {
                values.into_iter().map(move |value| (name.clone(), value))
            });
            let record = CallRecord {
                at,
                method: request.method().clone(),
                path: path.to_owned(),
                parameters: parameters.collect(),
                status,
            };
            state.log.push(record);
        }
    }

    async fn pause(&self, duration: Duration) {
        if !duration.is_zero() {
            self.shared.clock.sleep(duration).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        locked(&self.shared.state)
    }

    fn settle(&self) {
        let now = self.shared.clock.now();
        self.state().datacenter.settle(now);
        self.tell_host();
    }

    /// Ends tasks at their time even when nobody calls, so that virtual machines start and stop by themselves.
    fn wake_at_ends(&self, only: Option<&str>) {
        let now = self.shared.clock.now();
        let waits: Vec<Duration> = {
            let state = self.state();
            let running = state
                .datacenter
                .tasks
                .values()
                .filter(|task| task.exit_status.is_none());
            running
                .filter(|task| only.is_none_or(|upid| upid == task.upid))
                .filter_map(|task| task.ends)
                .map(|ends| Duration::try_from(ends.duration_since(now)).unwrap_or(Duration::ZERO))
                .collect()
        };
        for wait in waits {
            let shared: Weak<Shared> = Arc::downgrade(&self.shared);
            let sleep = self.shared.clock.sleep(wait);
            tokio::spawn(async move {
                sleep.await;
                if let Some(shared) = shared.upgrade() {
                    Self { shared }.settle();
                }
            });
        }
    }

    fn tell_host(&self) {
        let telling = locked(&self.shared.telling);
        let events = std::mem::take(&mut self.state().datacenter.events);
        let Some(host) = telling.as_ref() else { return };
        for event in events {
            match event {
                HostEvent::Started(machine) => host.on_start(*machine),
                HostEvent::Stopped(key) => host.on_stop(key),
            }
        }
    }
}

#[async_trait]
impl Transport for Simulator {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        self.answer(request).await
    }
}

fn authenticate(request: &Request<Bytes>, datacenter: &Datacenter) -> Result<String, Failure> {
    let header = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let Some(token) = header.and_then(|header| header.strip_prefix("PVEAPIToken=")) else {
        return Err(Failure::new(401, "No ticket"));
    };
    let (name, secret) = token
        .split_once('=')
        .ok_or_else(|| Failure::new(401, "no tokenid specified"))?;
    let known = datacenter
        .tokens
        .get(name)
        .ok_or_else(|| Failure::new(401, format!("no such token '{name}'")))?;
    // Compared as digests, so that the time tells nothing about the secret.
    let digest = |text: &str| ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    if digest(&known.secret).as_ref() != digest(secret).as_ref() {
        return Err(Failure::new(401, "invalid token value!"));
    }
    Ok(name.to_owned())
}

/// A path with its names replaced by what they are.
fn endpoint(path: &str) -> String {
    let mut parts: Vec<&str> = path.split('/').collect();
    let after = |parts: &[&str], word: &str| {
        parts
            .iter()
            .position(|part| *part == word)
            .map(|index| index + 1)
    };
    for (word, name) in [
        ("nodes", "{node}"),
        ("qemu", "{vmid}"),
        ("storage", "{storage}"),
        ("tasks", "{upid}"),
    ] {
        if let Some(part) = after(&parts, word).and_then(|index| parts.get_mut(index)) {
            *part = name;
        }
    }
    if let Some(index) = after(&parts, "content").filter(|index| *index < parts.len()) {
        parts.truncate(index);
        parts.push("{volume}");
    }
    parts.join("/")
}
