//! The server through `kube::Client`, at the level of requests, and over HTTPS.

mod assembled;
mod built_in;
mod fixture;
mod https;
mod lists_and_watches;
mod living_path;
mod status_patches;
mod surface;
