//! How TalosConfig and TalosConfigTemplate in v1alpha3 become v1beta1, and back.

use Rule::{Flag, Move, NotEmpty, OnlyOlder};
use capi_core::api::convert::{Conversion, Keep, KeepOlder, Rule, Spoke};

use super::{TALOS_CONFIG, TALOS_CONFIG_TEMPLATE};

const CONFIG: &[Rule] = &[
    Flag("status.ready", "status.initialization.dataSecretCreated"),
    Move("status.conditions", "status.deprecated.v1beta.conditions"),
    Move(
        "status.failureReason",
        "status.deprecated.v1beta.failureReason",
    ),
    Move(
        "status.failureMessage",
        "status.deprecated.v1beta.failureMessage",
    ),
    Move("status.v1beta2Status.conditions", "status.conditions"),
    NotEmpty("status.dataSecretName"),
    OnlyOlder("status.talosConfig"),
];

/// The conversions of this crate's kinds.
///
/// Other than upstream's, `ready` is heeded also when no annotation holds the newer form.
#[must_use]
pub fn conversions() -> &'static [Conversion] {
    const CONVERSIONS: &[Conversion] = &[
        Conversion {
            hub: TALOS_CONFIG,
            spokes: &[v1alpha3(CONFIG, Keep::Always)],
        },
        Conversion {
            hub: TALOS_CONFIG_TEMPLATE,
            spokes: &[v1alpha3(&[], Keep::WhenNeeded)],
        },
    ];
    CONVERSIONS
}

const fn v1alpha3(rules: &'static [Rule], keep: Keep) -> Spoke {
    Spoke {
        version: "v1alpha3",
        rules,
        keep,
        keep_older: KeepOlder::Fields,
    }
}
