//! How the older served versions of this crate's kinds become the stored ones, and back.

mod cluster;
mod ipam;
mod machine;
mod pool;

use super::convert::{Conversion, Keep, KeepOlder, Spoke};
use super::{
    CLUSTER, GLOBAL_IN_CLUSTER_IP_POOL, IN_CLUSTER_IP_POOL, IP_ADDRESS, IP_ADDRESS_CLAIM, MACHINE,
    MACHINE_DEPLOYMENT, MACHINE_DRAIN_RULE, MACHINE_HEALTH_CHECK, MACHINE_SET,
};

/// The conversions of this crate's kinds.
#[must_use]
pub fn conversions() -> &'static [Conversion] {
    const CONVERSIONS: &[Conversion] = &[
        Conversion {
            hub: CLUSTER,
            spokes: &[v1beta1(cluster::CLUSTER, Keep::Always)],
        },
        Conversion {
            hub: MACHINE,
            spokes: &[v1beta1(machine::MACHINE, Keep::Always)],
        },
        Conversion {
            hub: MACHINE_SET,
            spokes: &[v1beta1(machine::MACHINE_SET, Keep::WhenNeeded)],
        },
        Conversion {
            hub: MACHINE_DEPLOYMENT,
            spokes: &[v1beta1(machine::MACHINE_DEPLOYMENT, Keep::Always)],
        },
        Conversion {
            hub: MACHINE_HEALTH_CHECK,
            spokes: &[v1beta1(machine::MACHINE_HEALTH_CHECK, Keep::WhenNeeded)],
        },
        Conversion {
            hub: MACHINE_DRAIN_RULE,
            spokes: &[v1beta1(&[], Keep::WhenNeeded)],
        },
        Conversion {
            hub: IP_ADDRESS,
            spokes: &[
                v1beta1(&[], Keep::WhenNeeded),
                v1alpha1(&[], Keep::WhenNeeded),
            ],
        },
        Conversion {
            hub: IP_ADDRESS_CLAIM,
            spokes: &[
                v1beta1(ipam::V1BETA1, Keep::WhenNeeded),
                v1alpha1(ipam::V1ALPHA1, Keep::Always),
            ],
        },
        Conversion {
            hub: IN_CLUSTER_IP_POOL,
            spokes: &[POOL_V1ALPHA1],
        },
        Conversion {
            hub: GLOBAL_IN_CLUSTER_IP_POOL,
            spokes: &[POOL_V1ALPHA1],
        },
    ];
    CONVERSIONS
}

const POOL_V1ALPHA1: Spoke = Spoke {
    version: "v1alpha1",
    rules: pool::V1ALPHA1,
    keep: Keep::WhenNeeded,
    keep_older: KeepOlder::Spec,
};

const fn v1beta1(rules: &'static [super::convert::Rule], keep: Keep) -> Spoke {
    Spoke {
        version: "v1beta1",
        rules,
        keep,
        keep_older: KeepOlder::Fields,
    }
}

const fn v1alpha1(rules: &'static [super::convert::Rule], keep: Keep) -> Spoke {
    Spoke {
        version: "v1alpha1",
        rules,
        keep,
        keep_older: KeepOlder::Fields,
    }
}
