//! The client and the simulated nodes together: over memory in virtual time, and over sockets
//! with Talos' own client.

mod fixture;
mod kubernetes;
mod machine_api;
mod peer;
mod provider;
mod secrecy;
