//! `kill -9` of a manager at random moments, against an API server in another process.
//!
//! ```text
//! CAPI_KILLS=200 [CAPI_KILL_SEED=N] cargo test -p capi-examples --test processes -- --nocapture killed
//! ```
//!
//! A moment is so many writes after the last kill or change, and some milliseconds more, so that kills
//! hit every part of the work on a fast machine and on a slow one. The seed chooses the moments;
//! what a manager is doing then is up to the machine.

use std::time::Duration;

use capi_core::testing::{
    faults::Dice,
    reference::{ClusterShape, manifest},
};
use serde_json::json;

use crate::support::{CORE, Plane, Process, REFERENCE};

/// Kills in each part of a story.
const KILLS: u64 = 5;

struct Killer {
    plane: Plane,
    dice: Dice,
    manager: Process,
    started: u64,
    /// Moments at which it was killed: writes since the last kill or change.
    moments: Vec<usize>,
}

impl Killer {
    fn identity(&self) -> String {
        format!("manager-{}", self.started)
    }

    fn restart(&mut self) {
        self.started += 1;
        self.manager = self.plane.manager(&self.identity(), &[]);
    }

    fn writes(&self) -> usize {
        self.plane.writes(&self.identity())
    }

    /// Kills the manager that runs, at random moments, and starts another each time.
    async fn strike(&mut self) {
        for _ in 0..KILLS {
            let before = self.writes();
            let wanted = before + usize::try_from(self.dice.below(16)).expect("small");
            let after = self.dice.within(Duration::from_millis(8));
            // At rest there is nothing to wait for.
            let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
            while self.writes() < wanted && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(after).await;
            self.manager.kill();
            self.moments.push(self.writes() - before);
            self.restart();
        }
    }

    /// The inventory holds exactly the machines of the API server's objects.
    async fn compare(&self, machines: usize) {
        let objects = self
            .plane
            .list(&format!("{REFERENCE}/referencemachines"))
            .await;
        let text = |object: &serde_json::Value, pointer: &str| {
            object
                .pointer(pointer)
                .and_then(|text| text.as_str())
                .expect(pointer)
                .to_owned()
        };
        let expected = objects
            .iter()
            .map(|object| {
                (
                    text(object, "/metadata/name"),
                    text(object, "/metadata/uid"),
                )
            })
            .collect();
        let found = self.plane.inventory();
        assert_eq!(found, expected);
        assert_eq!(found.len(), machines);
        let names: Vec<String> = self
            .plane
            .list(&format!("{CORE}/machines"))
            .await
            .iter()
            .map(|machine| text(machine, "/metadata/name"))
            .collect();
        assert!(names.iter().eq(found.keys()), "{names:?}");
    }

    async fn story(&mut self, name: &str) {
        let workers = format!("{CORE}/machinedeployments/{name}-workers");
        let control_plane = format!("{REFERENCE}/referencecontrolplanes/{name}-control-plane");
        let cluster = format!("{CORE}/clusters/{name}");

        for object in manifest(&ClusterShape::new(name, 1, 2)) {
            self.plane.apply(&object).await;
        }
        self.strike().await;
        self.plane.settled(&control_plane, 1, "v1.33.0").await;
        self.plane.settled(&workers, 2, "v1.33.0").await;
        self.compare(3).await;

        let scale = |replicas: i32| json!({ "spec": { "replicas": replicas } });
        self.plane.patch(&control_plane, &scale(3)).await;
        self.plane.patch(&workers, &scale(5)).await;
        self.strike().await;
        self.plane.settled(&control_plane, 3, "v1.33.0").await;
        self.plane.settled(&workers, 5, "v1.33.0").await;
        self.plane.patch(&workers, &scale(3)).await;
        self.plane.settled(&workers, 3, "v1.33.0").await;
        self.compare(6).await;

        let version = json!({ "spec": { "version": "v1.34.0" } });
        let template = json!({ "spec": { "template": { "spec": { "version": "v1.34.0" } } } });
        self.plane.patch(&control_plane, &version).await;
        self.plane.patch(&workers, &template).await;
        self.strike().await;
        self.plane.settled(&control_plane, 3, "v1.34.0").await;
        self.plane.settled(&workers, 3, "v1.34.0").await;
        self.compare(6).await;

        self.plane.delete(&cluster).await;
        self.strike().await;
        self.plane
            .until("the cluster is gone", async || {
                self.plane
                    .list(&format!("{CORE}/clusters"))
                    .await
                    .is_empty()
            })
            .await;
        self.compare(0).await;
        assert_eq!(self.plane.files(), Vec::<String>::new());
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number, not {text}")),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_killed_at_any_moment_leaves_exactly_the_machines_that_are_wanted() {
    let kills = number("CAPI_KILLS").unwrap_or(20);
    let seed = number("CAPI_KILL_SEED").unwrap_or(1);
    println!("seed {seed}: CAPI_KILLS={kills} CAPI_KILL_SEED={seed}");
    let plane = Plane::start().await;
    let mut killer = Killer {
        manager: plane.manager("manager-0", &[]),
        plane,
        dice: Dice::new(seed),
        started: 0,
        moments: Vec::new(),
    };
    let stories = kills.div_ceil(4 * KILLS);
    for story in 0..stories {
        killer.story(&format!("c{story}")).await;
    }
    let audit = killer.plane.audit();
    let made = audit
        .iter()
        .filter(|request| request.resource == "machines" && request.code == 201)
        .count();
    // 3, 5 more, 6 in place of 6.
    println!(
        "{} kills in {stories} stories; writes since the last: {:?}; {made} Machines made",
        killer.moments.len(),
        killer.moments
    );
    let stories = usize::try_from(stories).expect("few");
    assert_eq!(made, 14 * stories, "no Machine is made that is not wanted");
}
