//! Recorded decisions: everything that a planner of many was given, to be planned again later, in
//! another process or another version.
//!
//! Decides nothing: it is a list of rows, the table of their texts, and the facts beside them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    machine_set::{self, MachineSetFacts, MachineSetPlan},
    naming::Seed,
    rollout::{self, MachineDeploymentFacts, MachineDeploymentPlan},
    row::{MachineRow, Symbols},
    survey::Survey,
    tally::Tally,
};
use crate::api::MachineDeletionOrder;

/// Machines as a planner saw them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Machines {
    /// What most names begin with.
    pub prefix: String,
    /// The policy of deletion.
    pub order: MachineDeletionOrder,
    /// Texts of the rows.
    pub symbols: Symbols,
    /// The machines by name.
    pub rows: Vec<MachineRow>,
}

impl Machines {
    /// The machines of a tally, with a table that holds their texts only.
    #[must_use]
    pub fn of(tally: &Tally) -> Self {
        let mut symbols = Symbols::default();
        let rows = tally
            .rows()
            .into_iter()
            .map(|row| row.translated(tally.symbols(), &mut symbols))
            .collect();
        Self {
            prefix: tally.prefix().to_owned(),
            order: tally.order().clone(),
            symbols,
            rows,
        }
    }

    /// The tally of the machines at a time. Its names are those of the [table](Self::symbols).
    #[must_use]
    pub fn tally(&self, now: Timestamp) -> Tally {
        let mut tally = Tally::with_symbols(&self.prefix, self.order.clone(), self.symbols.clone());
        tally.advance(now);
        for row in &self.rows {
            tally.fold(*row);
        }
        tally
    }
}

/// What one decision was made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot<Facts> {
    /// When.
    pub now: Timestamp,
    /// Where names come from.
    pub seed: Seed,
    /// The object and its surroundings.
    pub facts: Facts,
    /// The machines.
    pub machines: Machines,
}

impl Snapshot<MachineSetFacts> {
    /// Makes the decision again. Machines in the plan are named by the snapshot's table.
    #[must_use]
    pub fn plan(&self) -> MachineSetPlan {
        machine_set::plan(&self.facts, &self.machines.tally(self.now), self.now)
    }
}

impl Snapshot<MachineDeploymentFacts> {
    /// Makes the decision again.
    #[must_use]
    pub fn plan(&self) -> MachineDeploymentPlan {
        let machines = &self.machines;
        let survey = Survey::of(&machines.symbols, &machines.rows, self.now);
        rollout::plan(&self.facts, &survey, self.seed, self.now)
    }
}
