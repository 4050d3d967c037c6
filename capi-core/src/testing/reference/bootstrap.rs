//! Bootstrap: data that says which cluster to join.

use async_trait::async_trait;
use secrecy::SecretSlice;
use serde_json::json;

use super::{infrastructure::cluster_key, kinds::ReferenceConfig};
use crate::provider::{
    Bootstrap, BootstrapContext, BootstrapData, BootstrapRole, Progress, ProviderError,
    StatusFields,
};

/// The bootstrap provider of the reference set.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReferenceBootstrap;

#[async_trait]
impl Bootstrap for ReferenceBootstrap {
    type Config = ReferenceConfig;

    async fn generate(
        &self,
        cx: &BootstrapContext<ReferenceConfig>,
    ) -> Result<Progress<BootstrapData>, ProviderError> {
        let data = json!({
            "cluster": cluster_key(&cx.cluster).to_string(),
            "machine": cx.machine.metadata.name,
            "controlPlane": cx.role == BootstrapRole::ControlPlane,
            "greeting": cx.config.spec.greeting,
        });
        Ok(Progress::Ready(BootstrapData {
            value: SecretSlice::from(data.to_string().into_bytes()),
            format: None,
            status: StatusFields::new(),
        }))
    }
}
