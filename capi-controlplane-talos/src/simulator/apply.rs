//! ApplyConfiguration of a simulated node.

use std::{sync::Arc, time::Duration};

use tonic::Status;

use super::{config::NodeConfig, life::Me};
use crate::client::wire;

const REBOOT: i32 = 0;
const AUTO: i32 = 1;
const NO_REBOOT: i32 = 2;
const STAGED: i32 = 3;
const TRY: i32 = 4;
const DEFAULT_TRIAL: Duration = Duration::from_secs(60);

pub(super) fn apply(
    me: &Me,
    request: &wire::ApplyConfigurationRequest,
    maintenance: bool,
) -> Result<wire::ApplyConfiguration, Status> {
    let invalid = |message: String| Status::invalid_argument(message);
    let text = std::str::from_utf8(&request.data).map_err(|e| invalid(e.to_string()))?;
    let config = Arc::new(NodeConfig::read(text, me.contract()).map_err(invalid)?);
    let mode = match request.mode {
        REBOOT if maintenance => NO_REBOOT,
        REBOOT => return Err(Status::unimplemented("apply with reboot is not supported")),
        AUTO => NO_REBOOT,
        mode @ (NO_REBOOT | STAGED | TRY) => mode,
        other => return Err(invalid(format!("incorrect mode {other}"))),
    };
    let warnings = config.warnings.clone();
    let details = if request.dry_run {
        "Dry run summary:\nno changes are shown by a simulated node\n".to_owned()
    } else {
        change(
            me,
            mode,
            config,
            request.try_mode_timeout.as_ref(),
            maintenance,
        )?
        .to_owned()
    };
    Ok(wire::ApplyConfiguration {
        metadata: None,
        warnings,
        mode,
        mode_details: details,
    })
}

fn change(
    me: &Me,
    mode: i32,
    config: Arc<NodeConfig>,
    timeout: Option<&wire::Duration>,
    maintenance: bool,
) -> Result<&'static str, Status> {
    let applied = me
        .node(|node| {
            node.boot.applied += 1;
            match mode {
                STAGED => {
                    node.disk.staged = Some(config);
                    return (
                        node.boot.applied,
                        "Staged configuration to be applied after the next reboot",
                    );
                }
                TRY => node.boot.active = Some(config),
                _ => {
                    node.disk.config = Some(config.clone());
                    node.disk.staged = None;
                    if !maintenance {
                        node.boot.active = Some(config);
                    }
                }
            }
            (node.boot.applied, "Applied configuration without a reboot")
        })
        .ok_or_else(|| Status::unavailable("the machine is off"))?;
    if mode == TRY {
        let timeout = timeout
            .and_then(|t| {
                Some(Duration::new(
                    u64::try_from(t.seconds).ok()?,
                    u32::try_from(t.nanos).ok()?,
                ))
            })
            .unwrap_or(DEFAULT_TRIAL);
        let me = me.clone();
        tokio::spawn(async move {
            me.inner.clock.sleep(timeout).await;
            me.node(|node| {
                if node.boot.applied == applied.0 {
                    node.boot.active = node.disk.config.clone();
                }
            });
        });
    }
    Ok(applied.1)
}
