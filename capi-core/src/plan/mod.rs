//! Decisions: pure functions from facts to a [`Plan`].
//!
//! A planner does no I/O, reads no clock, draws no random number and knows no Kubernetes crate. It
//! is given facts, the time and, where it makes names, a [`Seed`](naming::Seed); it answers with
//! what is to be changed, what is waited for, and when to look again. The same planner serves the
//! controller, the simulation, and the commands that explain and predict.
//!
//! | module | decides |
//! | --- | --- |
//! | [`condition`] | how conditions are set, ordered, mirrored, summarised, aggregated |
//! | [`action`] | nothing: the vocabulary of plans |
//! | [`naming`] | names of machines and sets, label values |
//! | [`ownership`] | which owner references match, which are wanted |
//! | [`version`] | order of Kubernetes versions, counts by version |
//! | [`cluster`], [`machine`] | the life of one Cluster, of one Machine |
//! | [`delete`] | the order in which a Cluster and a Machine are taken down |
//! | [`node`] | which Node a Machine is, and what it writes there |
//! | [`drain`], [`volumes`] | which pods leave a Node now, later, never; which volumes hold it |
//! | [`row`], [`tally`], [`survey`] | what of many machines matters, and what they have in common |
//! | [`machine_set`], [`preflight`] | how many machines a MachineSet has, which ones go |
//! | [`rollout`] | how machines move from old MachineSets of a MachineDeployment to the new one |
//! | [`control_plane`] | which control plane machine is made, joined, replaced, removed next |
//! | [`defaults`] | what nobody set in a MachineSet or MachineDeployment |
//! | [`snapshot`] | nothing: what a decision was made from, to make it again |
//! | [`paused`], [`up_to_date`] | who is paused; what makes a machine outdated |

pub mod action;
mod aggregate;
mod census;
pub mod cluster;
pub mod condition;
pub mod control_plane;
pub mod defaults;
pub mod delete;
mod deployment_status;
mod desired_set;
pub mod drain;
mod external;
mod legacy;
pub mod lookup;
pub mod machine;
pub mod machine_set;
mod machine_set_status;
pub mod naming;
pub mod node;
pub mod ownership;
pub mod paused;
pub mod preflight;
mod propagation;
pub mod rollout;
mod rollout_scale;
pub mod row;
mod set_remediation;
pub mod set_status;
pub mod snapshot;
pub mod survey;
pub mod tally;
pub mod up_to_date;
pub mod version;
pub mod volumes;

pub use action::{
    Action, ActionFailure, Blocked, Event, EventType, MetadataChange, ObjectRef, Plan,
};

#[cfg(test)]
mod set_tests;
#[cfg(test)]
mod upstream_tests;
