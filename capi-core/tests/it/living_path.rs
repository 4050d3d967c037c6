//! The main job, end to end: a cluster comes up through the traits, and goes.

use capi_core::{
    controllers,
    testing::reference::{
        self, ClusterShape, ReferenceBootstrap, ReferenceControlPlaneProvider,
        ReferenceInfrastructure, Settings,
    },
};

use crate::support::{Plane, Running, condition};

const CORE: &str = "/apis/cluster.x-k8s.io/v1beta2/namespaces/default";
const REFERENCE: &str = "/apis/reference.capi.dev/v1/namespaces/default";

/// All controllers, with the reference providers.
pub(crate) fn everything(plane: &Plane) -> Running {
    let datacenter = &plane.datacenter;
    let mut all = controllers::core();
    all.extend(controllers::infrastructure(ReferenceInfrastructure::new(datacenter.clone())));
    all.extend(controllers::bootstrap(ReferenceBootstrap));
    all.extend(controllers::control_plane(ReferenceControlPlaneProvider::new(datacenter.clone())));
    plane.run(all)
}

#[tokio::test(start_paused = true)]
async fn a_cluster_comes_up_and_is_deleted_without_a_trace() {
    let plane = Plane::new(Settings::default());
    let running = everything(&plane);
    for object in reference::manifest(&ClusterShape::new("demo", 1, 1)) {
        plane.apply(&object).await;
    }
    let cluster = format!("{CORE}/clusters/demo");
    plane
        .until(&cluster, |cluster| {
            cluster.is_some_and(|cluster| condition(cluster, "Available").as_deref() == Some("True"))
        })
        .await;
    assert_eq!(plane.datacenter.machines().len(), 2);

    plane.delete(&cluster).await;
    plane.until(&cluster, |cluster| cluster.is_none()).await;
    assert!(plane.datacenter.machines().is_empty());
    for collection in
        [format!("{CORE}/machines"), format!("{REFERENCE}/referencemachines")]
    {
        let left = plane.get(&collection).await.expect("a list");
        assert_eq!(left["items"].as_array().map(Vec::len), Some(0), "{collection}");
    }
    drop(running);
}
