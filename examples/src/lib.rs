//! What the examples share: a datacenter that is simulated, as URLs and credentials, and a small
//! client for objects of any kind.

pub mod lab;
pub mod objects;
