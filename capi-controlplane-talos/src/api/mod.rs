//! The kind of the Talos control plane provider: what its objects look like on the API server.

mod control_plane;

pub use control_plane::*;
