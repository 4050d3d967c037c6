//! What a provider can do beyond the minimum, as data.

use serde::{Deserialize, Serialize};

/// Optional abilities of a provider. The SDK adapts to them; nothing is probed by calling.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// Places machines by `Machine.spec.failureDomain`.
    pub failure_domains: bool,
    /// Knows how much room is left and says so before a machine is reserved.
    pub capacity: bool,
    /// Changes a running machine instead of replacing it.
    pub in_place: bool,
    /// Can say what it would do without doing it.
    pub preview: bool,
    /// Takes over machines that it did not make, by identity.
    pub adopt: bool,
}

impl Capabilities {
    /// The minimum: none of the optional abilities.
    pub const NONE: Self = Self {
        failure_domains: false,
        capacity: false,
        in_place: false,
        preview: false,
        adopt: false,
    };

    /// The same, with failure domains.
    #[must_use]
    pub const fn with_failure_domains(mut self) -> Self {
        self.failure_domains = true;
        self
    }

    /// The same, with knowledge of the room left.
    #[must_use]
    pub const fn with_capacity(mut self) -> Self {
        self.capacity = true;
        self
    }

    /// The same, with the ability to adopt.
    #[must_use]
    pub const fn with_adopt(mut self) -> Self {
        self.adopt = true;
        self
    }
}
