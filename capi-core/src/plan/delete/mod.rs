//! Taking things down: in which order a Cluster's objects go, and through which steps a Machine.

mod cluster;
pub mod machine;
