//! Tests of the planners of many, over a small world of sets and machines that obeys their plans.

mod machine_set;
#[cfg(feature = "yaml")]
mod recorded;
mod rollout;
mod rollout_modes;
mod tally;
mod world;
