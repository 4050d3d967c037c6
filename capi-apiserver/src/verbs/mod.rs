//! The verbs: one file each, on what they share (reading bodies, shaping objects, committing).

pub(crate) mod commit;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod fields;
pub(crate) mod list;
pub(crate) mod metadata;
pub(crate) mod patch;
pub(crate) mod read;
pub(crate) mod scale;
pub(crate) mod shape;
pub(crate) mod status;
pub(crate) mod subresource;
pub(crate) mod update;
pub(crate) mod watch;
