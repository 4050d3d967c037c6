//! The quickstart as its users run it: a program with arguments, files and signals.
//!
//! The program is built by `cargo test` (of the workspace, or of this package without naming a
//! target), and by these tests themselves when it is missing or older than its sources.
//!
//! | variable | what for | unless set |
//! | --- | --- | --- |
//! | `QUICKSTART_KILLS` | how often the controllers are killed | 6 |
//! | `QUICKSTART_SEED` | when they are | 1 |
//! | `KUBEBUILDER_ASSETS` | a directory with kubectl | its test skips |
//! | `CAPI_UPSTREAM` | manifests of others | `../shared/upstream` |

// Programs are waited for in the machine's own time.
#![allow(clippy::disallowed_methods)]

mod again;
mod harness;
mod input;
mod kubectl;
mod manifests;
mod processes;
mod real;
mod whole;
