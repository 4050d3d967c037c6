//! The server through `kube::Client`, in process.

mod fixture;
mod living_path;
