//! The management API server, embedded or somebody's, and the kinds that it serves.

use std::path::Path;

use capi_core::{
    admission::Admission,
    api::convert::{self, Conversion},
    clock::Clock,
    embedded::{self, ApiServer, User, https::Https},
    runtime::{Manager, ObjectKey, custom_resource_definitions},
};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use crate::directory::{AuditLog, Directory, Error};

/// The management API server.
pub(crate) struct Plane {
    pub(crate) client: kube::Client,
    /// Whether it converts between versions by itself.
    pub(crate) converts: bool,
    https: Option<Https>,
}

impl Plane {
    /// Starts an embedded one on 127.0.0.1.
    pub(crate) async fn start(
        directory: &Directory,
        port: u16,
        clock: Clock,
    ) -> Result<Self, Error> {
        let builder = ApiServer::builder()
            .clock(clock)
            .audit(AuditLog::create(directory)?);
        let server = embedded::install_with(builder, definitions(), &conversions(), &admissions())
            .build()?;
        let client = embedded::client(&server);
        let https = server
            .https()
            .listen(([127, 0, 0, 1], port).into())
            .start()
            .await
            .map_err(|error| format!("--port {port}: {}", crate::with_causes(&error)))?;
        let kubeconfig = https.kubeconfig(&User::admin())?;
        directory.write("kubeconfig", kubeconfig.expose_secret().as_bytes())?;
        Ok(Self {
            client,
            converts: true,
            https: Some(https),
        })
    }

    /// Uses the one that a kubeconfig names.
    pub(crate) async fn connect(path: &Path, converts: bool) -> Result<Self, Error> {
        let kubeconfig = kube::config::Kubeconfig::read_from(path)
            .map_err(|error| format!("--kubeconfig {}: {error}", path.display()))?;
        let options = kube::config::KubeConfigOptions::default();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options).await?;
        Ok(Self {
            client: kube::Client::try_from(config)?,
            converts,
            https: None,
        })
    }

    /// Installs the definitions, of which only the stored versions are served: this server has
    /// nobody to convert others.
    pub(crate) async fn install(&self) -> Result<(), Error> {
        let manager = Manager::builder(self.client.clone()).build();
        let writer = manager.runtime().writer();
        let kind = custom_resource_definitions();
        for mut definition in definitions() {
            if let Some(versions) = definition["spec"]["versions"].as_array_mut() {
                versions.retain(|version| version["storage"] == true);
            }
            if let Some(spec) = definition["spec"].as_object_mut() {
                spec.remove("conversion");
            }
            let name = definition["metadata"]["name"].as_str().unwrap_or_default();
            let key = ObjectKey::new("", name);
            writer.apply(&kind, &key, "quickstart", &definition).await?;
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn url(&self) -> Option<String> {
        self.https.as_ref().map(Https::url)
    }
}

/// All kinds of this library.
pub(crate) fn definitions() -> Vec<Value> {
    capi_core::api::crds()
        .into_iter()
        .chain(capi_provider_proxmox::api::crds())
        .chain(capi_bootstrap_talos::api::crds())
        .chain(capi_controlplane_talos::api::crds())
        .collect()
}

fn admissions() -> Vec<Admission> {
    [
        capi_provider_proxmox::admission::admissions(),
        capi_bootstrap_talos::admission::admissions(),
        capi_controlplane_talos::admission::admissions(),
    ]
    .concat()
}

fn conversions() -> Vec<Conversion> {
    [
        capi_core::api::conversions(),
        capi_provider_proxmox::api::conversions(),
        capi_bootstrap_talos::api::conversions(),
    ]
    .concat()
}

/// An object in the version that is stored.
pub(crate) fn to_stored_version(object: Value) -> Result<Value, Error> {
    let all = conversions();
    let api_version = object["apiVersion"].as_str().unwrap_or_default();
    let group = api_version.split('/').next().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default();
    let Some(conversion) = convert::find(&all, group, kind) else {
        return Ok(object);
    };
    let stored = conversion.hub.api_version();
    let shown = format!(
        "{kind} {}",
        object["metadata"]["name"].as_str().unwrap_or_default()
    );
    conversion
        .convert(object, &stored, &definitions())
        .map_err(|error| format!("{shown}: {error}").into())
}
