//! Reads the API server and the datacenter back: nothing of ours is left.

use std::time::Duration;

use capi_examples::objects;
use capi_provider_proxmox::provider::inventory;

use crate::{datacenter::Contents, directory::Error, steps::Run, tree::TREE};

/// How long a garbage collector may take, in real time: that of Kubernetes learns of new kinds each 30 s.
const COLLECTION: Duration = Duration::from_secs(120);

/// Between two looks at what is left.
const LOOK: Duration = Duration::from_millis(100);

impl Run<'_> {
    /// Proves that nothing of ours is left, and that what was there before still is.
    pub(crate) async fn prove(&mut self) -> Result<(), Error> {
        // Secrets and pools go with their owners, by a garbage collector that comes when it comes.
        let ended = tokio::time::timeout(COLLECTION, async {
            while !self.remains().await?.is_empty() {
                tokio::time::sleep(LOOK).await;
            }
            Ok::<_, Error>(())
        });
        let left = match ended.await {
            Ok(read) => {
                read?;
                Vec::new()
            }
            Err(_) => self.remains().await?,
        };
        if let Some(lab) = self.lab {
            self.directory
                .write("pve.json", lab.proxmox.dump()?.as_bytes())?;
        }
        if !left.is_empty() {
            return Err(format!("left behind:\n  {}", left.join("\n  ")).into());
        }
        self.view.say(
            "read back: no virtual machine, image, address or secret of ours is left; what was \
             there before stays",
        );
        Ok(())
    }

    /// What is there of ours. An error when something of somebody else is gone.
    async fn remains(&self) -> Result<Vec<String>, Error> {
        let mut left = Vec::new();
        for branch in &TREE {
            // What a user applied beside the Cluster and nobody owns stays.
            let path = branch.collection(&self.namespace);
            for object in objects::list(self.client(), &path).await? {
                let metadata = &object["metadata"];
                let ours = branch.depth >= 2
                    && metadata["labels"]["cluster.x-k8s.io/cluster-name"] == self.name.as_str();
                if ours || branch.depth == 0 && metadata["name"] == self.name.as_str() {
                    let name = metadata["name"].as_str().unwrap_or_default();
                    left.push(format!("{} {name}", branch.kind));
                }
            }
        }
        let secrets = format!("/api/v1/namespaces/{}/secrets", self.namespace);
        for secret in objects::list(self.client(), &secrets).await? {
            let metadata = &secret["metadata"];
            if metadata["labels"]["cluster.x-k8s.io/cluster-name"] == self.name.as_str() {
                let name = metadata["name"].as_str().unwrap_or_default();
                left.push(format!("Secret {name}"));
            }
        }
        for belonging in inventory(self.proxmox, &self.namespace, &self.name).await? {
            left.push(format!(
                "virtual machine {} {} on {}",
                belonging.vmid, belonging.name, belonging.node
            ));
        }
        if let Some(before) = &self.before {
            let after = Contents::read(self.proxmox).await?;
            let gone: Vec<String> = before
                .guests
                .difference(&after.guests)
                .map(|vmid| format!("guest {vmid}"))
                .chain(before.images.difference(&after.images).cloned())
                .collect();
            if !gone.is_empty() {
                return Err(format!("of somebody else, and gone: {}", gone.join(", ")).into());
            }
            let more = after.guests.difference(&before.guests);
            left.extend(more.map(|vmid| format!("guest {vmid}")));
            let more = after.images.difference(&before.images);
            left.extend(more.map(|image| format!("image {image}")));
        }
        Ok(left)
    }
}
