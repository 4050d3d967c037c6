//! The script: what a user and a controller do with a kind, step by step, with kubectl.

mod changes;
mod lifetimes;
mod objects;
mod others;

use serde_json::Value;

use crate::{definition::Definition, transcript::Transcript};

/// Runs every step.
pub(crate) fn run(t: &mut Transcript, d: &Definition) {
    objects::definitions(t, d);
    objects::explain(t, d);
    objects::create_and_read(t, d);
    objects::strict_and_invalid(t, d);
    changes::patches(t, d);
    changes::server_side_apply(t, d);
    changes::client_side_apply(t, d);
    changes::status_scale_wait(t, d);
    lifetimes::lists_and_watches(t, d);
    lifetimes::deletion(t, d);
    others::built_in(t, d);
    others::bad_input(t, d);
    lifetimes::namespaces(t, d);
    lifetimes::last(t, d);
}

fn apply(t: &mut Transcript, name: &str, arguments: &str, object: &Value) {
    let arguments: Vec<&str> = arguments.split(' ').collect();
    t.with_input(name, &arguments, &object.to_string());
}
