//! Talos objects of manifests that people wrote are read without loss.

use capi_bootstrap_talos::api::{TalosConfigTemplate, conversions};
use capi_controlplane_talos::api::TalosControlPlane;
use capi_core::api::{convert, crd};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::upstream;

fn read<T: Serialize + DeserializeOwned>(object: &Value) -> T {
    let typed: T = serde_json::from_value(object.clone()).expect("the object is read");
    let written = serde_json::to_value(&typed).expect("the object is written");
    assert_eq!(
        crd::remainder(&crd::normal(object), &crd::normal(&written)),
        None
    );
    typed
}

#[test]
fn the_talos_objects_of_manifests_in_use_are_known_wholly() {
    let mut seen = (0, 0);
    for file in [
        "manifests/coffee-cluster.yaml",
        "manifests/talos-worker-template.yaml",
    ] {
        let Some(documents) = upstream::documents(file) else {
            return;
        };
        for document in documents {
            match document["kind"].as_str() {
                Some("TalosControlPlane") => {
                    let control_plane: TalosControlPlane = read(&document);
                    assert_eq!(control_plane.spec.replicas, Some(3));
                    assert_eq!(control_plane.spec.version, "v1.33.0");
                    assert_eq!(
                        control_plane
                            .spec
                            .control_plane_config
                            .controlplane
                            .config_patches
                            .len(),
                        8
                    );
                    seen.0 += 1;
                }
                Some("TalosConfigTemplate") => {
                    let group = "bootstrap.cluster.x-k8s.io";
                    let conversion = convert::find(conversions(), group, "TalosConfigTemplate")
                        .expect("the kind");
                    let hub = conversion
                        .convert(document, &conversion.hub.api_version(), &())
                        .expect("well-formed");
                    let template: TalosConfigTemplate = read(&hub);
                    assert_eq!(template.spec.template.spec.generate_type.as_str(), "worker");
                    seen.1 += 1;
                }
                _ => {}
            }
        }
    }
    assert_eq!(seen, (1, 2));
}
