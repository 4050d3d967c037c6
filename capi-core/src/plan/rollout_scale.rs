//! How many machines each set of a MachineDeployment should have now: the arithmetic of a rollout.
//!
//! Decides replica counts from replica counts. Never decides which set is the current one, nor
//! which machine goes.
//!
//! Answers to `machinedeployment_rollout_rollingupdate.go`, `_ondelete.go` and `_sync.go` of
//! Cluster API.

use std::collections::BTreeMap;

use crate::api::{IntOrString, RolloutStrategy, RolloutStrategyType, Rounding};

/// One set, as far as counting goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SetCount {
    pub(super) name: String,
    pub(super) created: i64,
    /// `spec.replicas`.
    pub(super) spec: i32,
    /// Machines that exist, as far as anybody tells.
    pub(super) existing: i32,
    /// Machines that are surely available.
    pub(super) available: i32,
    /// Machines that may be available.
    pub(super) perhaps_available: i32,
    pub(super) up_to_date: i32,
    /// Its machines could be updated in place to those of the new set.
    pub(super) in_place: bool,
    /// What its annotations say of the deployment's size when it was last scaled.
    pub(super) desired_replicas: Option<i32>,
    pub(super) max_replicas: Option<i32>,
}

impl SetCount {
    /// Whether machines of it may be available, and may not be.
    pub(super) fn is_unsure(&self) -> bool {
        self.available != self.perhaps_available
    }

    fn age(&self) -> (i64, &str) {
        (self.created, &self.name)
    }
}

/// How many machines may be too many or missing during a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) surge: i32,
    pub(super) unavailable: i32,
}

/// A limit of a strategy that is no number and no percentage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.rollout.strategy.rollingUpdate: {0} is no number and no percentage")]
pub(super) struct BoundsError(String);

/// Both limits at once, because both must not end up as nothing: then one machine may be missing.
pub(super) fn bounds(strategy: &RolloutStrategy, replicas: i32) -> Result<Bounds, BoundsError> {
    if strategy.type_ != RolloutStrategyType::RollingUpdate {
        return Ok(Bounds {
            surge: 0,
            unavailable: 0,
        });
    }
    let scaled = |value: &Option<IntOrString>, default, rounding| match value {
        None => Ok(default),
        Some(value) => value
            .scaled(replicas, rounding)
            .map(|scaled| scaled.max(0))
            .ok_or_else(|| BoundsError(value.to_string())),
    };
    let surge = scaled(&strategy.rolling_update.max_surge, 1, Rounding::Up)?;
    let unavailable = scaled(&strategy.rolling_update.max_unavailable, 0, Rounding::Down)?;
    let unavailable = if surge == 0 && unavailable == 0 {
        1
    } else {
        unavailable
    };
    Ok(Bounds {
        surge,
        unavailable: unavailable.min(replicas.max(0)),
    })
}

/// The counts of a rollout, and what was decided so far.
pub(super) struct Scaling<'a> {
    pub(super) replicas: i32,
    pub(super) bounds: Bounds,
    pub(super) new: &'a SetCount,
    /// Oldest first.
    pub(super) old: Vec<&'a SetCount>,
    /// Machines of the deployment are being updated in place.
    pub(super) updating: bool,
    pub(super) intents: BTreeMap<String, i32>,
    pub(super) notes: BTreeMap<String, Vec<String>>,
    /// Old sets that hand their machines over instead of deleting them.
    pub(super) movers: Vec<String>,
}

impl<'a> Scaling<'a> {
    pub(super) fn new(
        replicas: i32,
        bounds: Bounds,
        new: &'a SetCount,
        mut old: Vec<&'a SetCount>,
        updating: bool,
    ) -> Self {
        old.sort_by(|a, b| a.age().cmp(&b.age()));
        Self {
            replicas,
            bounds,
            new,
            old,
            updating,
            intents: BTreeMap::new(),
            notes: BTreeMap::new(),
            movers: Vec::new(),
        }
    }

    fn all(&self) -> impl Iterator<Item = &'a SetCount> {
        self.old.clone().into_iter().chain([self.new])
    }

    /// What a set will have: what was decided, else what it has.
    pub(super) fn wanted(&self, set: &SetCount) -> i32 {
        self.intents.get(&set.name).copied().unwrap_or(set.spec)
    }

    fn intend(&mut self, set: &SetCount, replicas: i32) {
        self.intents.insert(set.name.clone(), replicas);
    }

    fn note(&mut self, set: &str, note: impl Into<String>) {
        let notes = self.notes.entry(set.to_owned()).or_default();
        let note = note.into();
        if !notes.contains(&note) {
            notes.push(note);
        }
    }

    /// Rolling replacement within bounds.
    pub(super) fn rolling_update(&mut self) {
        self.grow_new(self.replicas.saturating_add(self.bounds.surge), "maxSurge");
        self.shrink_old();
        self.prefer_in_place();
        self.break_deadlock();
    }

    /// Replacement by hand: the new set only fills what somebody deleted.
    pub(super) fn on_delete(&mut self) {
        self.grow_new(self.replicas, "");
        self.follow_deletions();
    }

    fn grow_new(&mut self, limit: i32, surge: &str) {
        let (new, replicas) = (self.new, self.replicas);
        if new.spec == replicas {
            return;
        }
        if new.spec > replicas {
            self.note(
                &new.name,
                "scale down to align MachineSet spec.replicas to MachineDeployment spec.replicas",
            );
            self.intend(new, replicas);
            return;
        }
        let total: i32 = self
            .all()
            .map(|set| set.spec.max(set.existing))
            .fold(0, i32::saturating_add);
        if total >= limit {
            return;
        }
        let count = (limit - total).min(replicas - new.spec);
        let surge = match surge {
            "" => String::new(),
            surge => format!(" + {} {surge}", self.bounds.surge),
        };
        self.note(
            &new.name,
            format!("{total} current Machines < {replicas} MachineDeployment spec.replicas{surge}"),
        );
        self.intend(new, new.spec + count);
    }

    fn shrink_old(&mut self) {
        if self.old.iter().all(|set| set.spec == 0) {
            return;
        }
        let minimum = (self.replicas - self.bounds.unavailable).max(0);
        let total = self.all().map(|set| set.spec).fold(0, i32::saturating_add);
        let available = self
            .all()
            .map(|set| set.available)
            .fold(0, i32::saturating_add);
        // Machines that earlier decisions, or those of now, let go although they still exist.
        let pending = self
            .all()
            .map(|set| (set.existing - set.spec.min(self.wanted(set))).max(0))
            .fold(0, i32::saturating_add);
        // Unavailable machines of the new set slow the rollout down, so that a broken template
        // does not take everything with it.
        let broken = (self.new.spec - self.new.available).max(0);
        let budget = (total - pending - minimum - broken).max(0);
        if budget == 0 {
            return;
        }
        let (budget, available) = self.shrink_pass(budget, available, minimum, true);
        self.shrink_pass(budget, available, minimum, false);
    }

    /// Takes machines from old sets, oldest first, as far as the budget and availability allow.
    /// The worst is assumed: that available machines go first.
    fn shrink_pass(
        &mut self,
        mut budget: i32,
        mut available: i32,
        minimum: i32,
        only_unavailable: bool,
    ) -> (i32, i32) {
        for set in self.old.clone() {
            if budget <= 0 {
                break;
            }
            let replicas = self.wanted(set);
            if replicas <= 0 {
                continue;
            }
            let candidates = if only_unavailable {
                (replicas - set.perhaps_available).max(0)
            } else {
                replicas
            };
            let mut count = candidates.min(budget);
            if count == 0 {
                continue;
            }
            let before = available;
            if set.perhaps_available > 0 {
                let mut deleted = (set.existing - (replicas - count).max(0)).max(0);
                if deleted > 0 {
                    if available - minimum < deleted {
                        let allowed = (available - minimum).max(0);
                        let revised = (set.existing - allowed).min(replicas);
                        count = (replicas - revised).max(0);
                        deleted = (set.existing - revised).max(0);
                    }
                    available -= set.perhaps_available.min(deleted);
                }
            }
            if count > 0 {
                self.note(
                    &set.name,
                    if before == available {
                        "scale down to align to existing Machines or scale down by removing \
                         unavailable replicas (and no available replicas exist on the MachineSet)"
                            .to_owned()
                    } else {
                        format!(
                            "{before} available replicas > {minimum} minimum available replicas"
                        )
                    },
                );
                self.intend(set, (replicas - count).max(0));
                budget = (budget - count).max(0);
            }
        }
        (budget, available)
    }

    /// Lets old sets hand machines over where they can be updated in place, and then does without
    /// the surge: one machine at most is made, and only when nothing else goes on.
    fn prefer_in_place(&mut self) {
        if self.new.spec >= self.replicas {
            return;
        }
        let movers: Vec<String> = self
            .old
            .iter()
            .filter(|set| set.existing > 0 && set.in_place)
            .map(|set| set.name.clone())
            .collect();
        if movers.is_empty() {
            return;
        }
        for mover in &movers {
            let note = format!(
                "should scale down by moving Machines to MachineSet {}",
                self.new.name
            );
            self.note(mover, note);
        }
        self.movers = movers;
        let wanted = self.wanted(self.new);
        if wanted <= self.new.spec {
            return;
        }
        let total = self
            .all()
            .map(|set| self.wanted(set).max(set.existing))
            .fold(0, i32::saturating_add);
        let exceeding = (total - self.replicas).max(0);
        let grows = wanted - self.new.spec;
        let surge_used = grows.min(exceeding);
        if surge_used <= 0 {
            return;
        }
        let grows = (grows - surge_used).max(0);
        let new = self.new;
        if grows == 0 && !self.progresses() {
            self.note(
                &new.name,
                "surge 1 allowed to create availability for in-place updates",
            );
            self.intend(new, new.spec + 1);
            return;
        }
        self.note(
            &new.name,
            format!("surge {surge_used} dropped to prioritize in-place updates"),
        );
        if grows == 0 {
            self.intents.remove(&new.name);
        } else {
            self.intend(new, new.spec + grows);
        }
    }

    fn progresses(&self) -> bool {
        let new = self.new;
        new.spec != new.existing
            || new.spec != new.up_to_date
            || new.spec != new.available
            || self.updating
            || self
                .old
                .iter()
                .any(|set| set.spec < set.existing || self.wanted(set) < set.spec)
    }

    /// Unavailable machines of old sets would block a rollout for ever where everything else is
    /// at rest: one goes, against the bounds.
    fn break_deadlock(&mut self) {
        let existing = self
            .old
            .iter()
            .map(|set| set.existing)
            .fold(0, i32::saturating_add);
        let available = self
            .old
            .iter()
            .map(|set| set.perhaps_available)
            .fold(0, i32::saturating_add);
        if existing == 0 || existing == available {
            return;
        }
        let moving = self.all().any(|set| set.spec != set.existing) || !self.intents.is_empty();
        if moving || self.new.available != self.new.existing {
            return;
        }
        let stuck = self
            .old
            .iter()
            .find(|set| set.perhaps_available != set.existing && set.spec != 0);
        if let Some(set) = stuck.copied() {
            self.note(
                &set.name,
                "scaling down by 1 to unblock rollout stuck due to unavailable Machine on oldMS",
            );
            self.intend(set, (set.spec - 1).max(0));
        }
    }

    fn follow_deletions(&mut self) {
        let old_total = self
            .old
            .iter()
            .map(|set| set.spec)
            .fold(0, i32::saturating_add);
        if old_total == 0 {
            return;
        }
        let mut surplus = (old_total + self.wanted(self.new) - self.replicas).max(0);
        for set in self.old.clone() {
            let deleted = (set.spec - set.existing).max(0);
            if set.spec > 0 && deleted > 0 {
                self.note(&set.name, "scale down to align to existing Machines");
                self.intend(set, (set.spec - deleted).max(0));
                surplus -= deleted;
            }
        }
        for set in self.old.clone() {
            let replicas = self.wanted(set);
            let count = replicas.min(surplus);
            if count > 0 {
                self.note(
                    &set.name,
                    "scale down to align MachineSet spec.replicas to MachineDeployment spec.replicas",
                );
                self.intend(set, replicas - count);
                surplus -= count;
            }
        }
    }
}

/// Scaling of a paused deployment: in proportion, without rolling anything out.
///
/// Answers to `scale` of `machinedeployment_sync.go`.
pub(super) fn proportional(
    replicas: i32,
    existing: i32,
    bounds: Bounds,
    rolling: bool,
    new: Option<&SetCount>,
    old: &[&SetCount],
) -> BTreeMap<String, i32> {
    let all: Vec<&SetCount> = old.iter().copied().chain(new).collect();
    let mut active: Vec<&SetCount> = all.iter().copied().filter(|set| set.spec > 0).collect();
    let only = match active.as_slice() {
        [] => new.or_else(|| old.iter().copied().max_by(|a, b| a.age().cmp(&b.age()))),
        [one] => Some(*one),
        _ => None,
    };
    let mut intents = BTreeMap::new();
    if let Some(set) = only {
        intents.insert(set.name.clone(), replicas);
        return intents;
    }
    let saturated = new.is_some_and(|new| {
        new.spec == replicas && new.desired_replicas == Some(replicas) && new.available == replicas
    });
    if saturated {
        let old = active
            .iter()
            .filter(|set| new.is_none_or(|new| new.name != set.name));
        intents.extend(old.map(|set| (set.name.clone(), 0)));
        return intents;
    }
    if !rolling || active.is_empty() {
        return intents;
    }
    let total = active
        .iter()
        .map(|set| set.spec)
        .fold(0, i32::saturating_add);
    let allowed = if replicas > 0 {
        replicas.saturating_add(bounds.surge)
    } else {
        0
    };
    let to_add = allowed - total;
    if to_add == 0 {
        return intents;
    }
    active.sort_by(|a, b| {
        let by_age = if to_add > 0 {
            b.age().cmp(&a.age())
        } else {
            a.age().cmp(&b.age())
        };
        b.spec.cmp(&a.spec).then(by_age)
    });
    let mut added = 0;
    for set in &active {
        let allowed = to_add - added;
        let share = if allowed == 0 {
            0
        } else {
            let share = share(set, replicas, bounds.surge, existing);
            if to_add > 0 {
                share.min(allowed)
            } else {
                share.max(allowed)
            }
        };
        intents.insert(set.name.clone(), set.spec + share);
        added += share;
    }
    if let Some(largest) = active.first()
        && let Some(intent) = intents.get_mut(&largest.name)
    {
        *intent = (*intent + to_add - added).max(0);
    }
    intents
}

/// By how much a set grows or shrinks to keep its share of a deployment of another size.
fn share(set: &SetCount, replicas: i32, surge: i32, existing: i32) -> i32 {
    if replicas == 0 {
        return -set.spec;
    }
    let before = i64::from(set.max_replicas.unwrap_or(existing));
    if before <= 0 {
        return 0;
    }
    let product = i64::from(set.spec) * (i64::from(replicas) + i64::from(surge));
    // Rounded half away from zero; all of it is positive.
    let size = (2 * product + before) / (2 * before);
    i32::try_from(size).unwrap_or(i32::MAX) - set.spec
}
