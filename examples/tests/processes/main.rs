//! Processes of their own: the examples as a user starts them, killed as an operating system
//! kills them. `cargo test -p capi-examples` builds them first.

mod embed;
mod kills;
mod leadership;
mod output;
mod plane;
mod support;
