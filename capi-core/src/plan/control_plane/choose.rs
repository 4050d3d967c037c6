//! Which machine goes, and where the next one is placed.
//!
//! Answers to `scale.go` and `util/failuredomains` of Cluster API.

use std::cmp::Reverse;

use jiff::Timestamp;

use super::{ControlPlaneFacts, Machine};

/// Failure domains for control plane machines, by name.
fn domains(facts: &ControlPlaneFacts) -> Vec<&str> {
    let offered = facts.cluster.failure_domains.iter();
    let mut names: Vec<&str> = offered
        .filter(|domain| domain.control_plane == Some(true))
        .map(|domain| domain.name.as_str())
        .collect();
    names.sort_unstable();
    names
}

/// Where the next machine goes: the failure domain with the fewest machines that are up to date
/// and stay, then with the fewest of all, then by name. `None` where there are no domains.
#[must_use]
pub fn place(facts: &ControlPlaneFacts, now: Timestamp) -> Option<String> {
    let outdated = facts.outdated(now);
    let fewest = domains(facts).into_iter().min_by_key(|domain| {
        let inside = facts
            .machines
            .iter()
            .filter(|m| m.failure_domain() == Some(*domain));
        let (mut good, mut all) = (0_usize, 0_usize);
        for machine in inside {
            all += 1;
            if !machine.is_deleting() && !outdated.contains(&machine.name()) {
                good += 1;
            }
        }
        (good, all, *domain)
    });
    fewest.map(str::to_owned)
}

/// The machine to remove: of those that are outdated and marked, else marked, else outdated with
/// sick components, else outdated, else of all; there the oldest of those in no known failure
/// domain, else the oldest in the fullest one.
#[must_use]
pub fn machine_to_remove<'a>(
    facts: &'a ControlPlaneFacts,
    outdated: &[&str],
) -> Option<&'a Machine> {
    let is_outdated = |machine: &Machine| outdated.contains(&machine.name());
    let is_sick = |machine: &Machine| {
        let health = facts.health_of(machine);
        health.components == Some(false) || health.member_healthy == Some(false)
    };
    let subsets: [&dyn Fn(&Machine) -> bool; 5] = [
        &|machine| is_outdated(machine) && machine.delete_first(),
        &|machine| machine.delete_first(),
        &|machine| is_outdated(machine) && is_sick(machine),
        &|machine| is_outdated(machine),
        &|_| true,
    ];
    let staying = || {
        facts
            .machines
            .iter()
            .filter(|machine| !machine.is_deleting())
    };
    let eligible: Vec<&Machine> = subsets
        .iter()
        .map(|chosen| {
            staying()
                .filter(|machine| chosen(machine))
                .collect::<Vec<_>>()
        })
        .find(|subset| !subset.is_empty())?;

    let domains = domains(facts);
    let known = |machine: &Machine| {
        machine
            .failure_domain()
            .is_some_and(|domain| domains.contains(&domain))
    };
    let oldest =
        |machines: Vec<&'a Machine>| machines.into_iter().min_by(|a, b| a.age().cmp(&b.age()));
    if domains.is_empty() {
        return oldest(eligible);
    }
    let misplaced: Vec<&Machine> = eligible
        .iter()
        .copied()
        .filter(|machine| !known(machine))
        .collect();
    if !misplaced.is_empty() {
        return oldest(misplaced);
    }
    let count = |domain: &str, machines: &[&Machine]| {
        machines
            .iter()
            .filter(|machine| machine.failure_domain() == Some(domain))
            .count()
    };
    let all: Vec<&Machine> = facts.machines.iter().collect();
    let fullest = domains.into_iter().min_by_key(|domain| {
        (
            Reverse(count(domain, &eligible)),
            Reverse(count(domain, &all)),
            *domain,
        )
    })?;
    oldest(
        eligible
            .into_iter()
            .filter(|machine| machine.failure_domain() == Some(fullest))
            .collect(),
    )
}
