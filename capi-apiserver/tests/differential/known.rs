//! Differences that are meant, with their reasons.

pub(crate) const DIFFERENCES: &[(&str, &str)] = &[
    (
        "the kind is explained",
        "descriptions of metadata are in our words: upstream's texts are not copied",
    ),
    (
        "all fields are explained",
        "the type of fieldsV1 has no name of its own",
    ),
    (
        "a node has taints",
        "no admission adds a taint that only the node lifecycle controller would remove",
    ),
];
