//! IP address management in the cluster: pools of ranges, of which claims get the lowest free
//! address. Answers to the in-cluster IPAM provider, on its CustomResourceDefinitions.

mod pool;
mod provider;
mod range_set;

pub use pool::{AddressPool, PoolError};
pub use provider::{InClusterIpam, InClusterPool, REQUESTED_ADDRESS, RESERVATIONS};
pub use range_set::{AddressRange, RangeSet, RangeSyntaxError};
