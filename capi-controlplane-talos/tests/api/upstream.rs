//! Data of upstream that tests compare with; it lies beside the project and is never part of it.

use std::path::{Path, PathBuf};

use serde_json::Value;

/// The directory with upstream's data: `CAPI_UPSTREAM`, else `shared/upstream` beside the project.
pub(crate) fn directory() -> Option<PathBuf> {
    if let Some(directory) = std::env::var_os("CAPI_UPSTREAM") {
        return Some(directory.into());
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .map(|directory| directory.join("shared/upstream"))
        .find(|directory| directory.is_dir())
}

/// The documents of upstream's file `name`, or `None` (said on stdout) where there is none.
pub(crate) fn documents(name: &str) -> Option<Vec<Value>> {
    let Some(directory) = directory() else {
        println!("skipped: set CAPI_UPSTREAM to the directory with upstream's data");
        return None;
    };
    let text = std::fs::read_to_string(directory.join(name)).expect("upstream's file is readable");
    Some(serde_saphyr::from_multiple(&text).expect("upstream's file is YAML"))
}
