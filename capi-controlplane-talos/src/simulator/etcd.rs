//! The etcd of a simulated cluster: membership, leader and quorum. Whether a member lives is told
//! by the caller; nothing here waits.

use std::collections::{BTreeMap, BTreeSet};

/// A member of etcd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Member {
    /// UUID of the machine whose disk holds its data.
    pub(super) machine: String,
    pub(super) hostname: String,
    pub(super) address: String,
    pub(super) learner: bool,
    /// Has run once: before, other members know no name of it.
    pub(super) started: bool,
}

/// Why etcd did not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EtcdError {
    NoQuorum,
    NotFound,
    OnlyMember,
    /// What is left would have no quorum.
    NotEnoughStarted,
}

#[derive(Debug, Default)]
pub(super) struct Etcd {
    pub(super) members: BTreeMap<u64, Member>,
    leader: Option<u64>,
    pub(super) term: u64,
    pub(super) index: u64,
    /// Members whose machine runs and whose etcd runs.
    live: BTreeSet<u64>,
}

impl Etcd {
    pub(super) fn voters(&self) -> impl Iterator<Item = u64> {
        self.members
            .iter()
            .filter(|(_, member)| !member.learner)
            .map(|(id, _)| *id)
    }

    pub(super) fn leader(&self) -> Option<u64> {
        self.leader
    }

    /// How many voters live.
    pub(super) fn alive(&self) -> usize {
        self.voters().filter(|id| self.live.contains(id)).count()
    }

    pub(super) fn has_quorum(&self) -> bool {
        let (voters, live) = self.voters().fold((0, 0), |(n, l), id| {
            (n + 1, l + usize::from(self.live.contains(&id)))
        });
        voters > 0 && live > voters / 2
    }

    /// Takes note of who lives now, and elects a leader if there is none that lives.
    pub(super) fn settle(&mut self, live: BTreeSet<u64>) {
        self.live = live;
        let lives = |id: &u64| self.live.contains(id);
        if !self.has_quorum() {
            self.leader = None;
        } else if !self
            .leader
            .is_some_and(|id| lives(&id) && self.voters().any(|v| v == id))
        {
            let next = self.voters().find(lives);
            self.leader = next;
            self.term += 1;
            self.index += 1;
        }
    }

    /// Adds a member; a learner unless it is the first.
    pub(super) fn add(&mut self, id: u64, member: Member) {
        self.members.insert(id, member);
        self.index += 1;
    }

    /// Whether a further learner may join.
    pub(super) fn accepts_learner(&self) -> bool {
        self.has_quorum() && self.members.values().all(|member| !member.learner)
    }

    /// Makes a learner a voter.
    pub(super) fn promote(&mut self, id: u64) {
        if let Some(member) = self.members.get_mut(&id) {
            member.learner = false;
            self.index += 1;
        }
    }

    /// Takes a member out.
    pub(super) fn remove(&mut self, id: u64) -> Result<(), EtcdError> {
        if !self.has_quorum() {
            return Err(EtcdError::NoQuorum);
        }
        let member = self.members.get(&id).ok_or(EtcdError::NotFound)?;
        if !member.learner {
            let left: Vec<u64> = self.voters().filter(|voter| *voter != id).collect();
            let living = left
                .iter()
                .filter(|voter| self.live.contains(voter))
                .count();
            if left.is_empty() {
                return Err(EtcdError::OnlyMember);
            }
            if living <= left.len() / 2 {
                return Err(EtcdError::NotEnoughStarted);
            }
        }
        self.members.remove(&id);
        self.index += 1;
        let live = std::mem::take(&mut self.live);
        self.settle(live);
        Ok(())
    }

    /// Hands leadership over. The new leader; `None` if `id` was not the leader.
    pub(super) fn forfeit(&mut self, id: u64) -> Result<Option<u64>, EtcdError> {
        if self.voters().count() < 2 {
            return Err(EtcdError::OnlyMember);
        }
        if !self.has_quorum() {
            return Err(EtcdError::NoQuorum);
        }
        if self.leader != Some(id) {
            return Ok(None);
        }
        let next = self
            .voters()
            .find(|voter| *voter != id && self.live.contains(voter));
        self.leader = next;
        self.term += 1;
        Ok(self.leader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(voters: u64) -> Etcd {
        let mut etcd = Etcd::default();
        for id in 1..=voters {
            let member = Member {
                machine: format!("m{id}"),
                hostname: format!("n{id}"),
                address: String::new(),
                learner: false,
                started: true,
            };
            etcd.add(id, member);
        }
        etcd.settle((1..=voters).collect());
        etcd
    }

    #[test]
    fn quorum_is_a_majority_of_voters_that_live() {
        for (voters, dead, quorum) in [
            (1, 0, true),
            (1, 1, false),
            (2, 1, false),
            (3, 1, true),
            (3, 2, false),
            (5, 2, true),
            (5, 3, false),
        ] {
            let mut etcd = cluster(voters);
            etcd.settle((1 + dead..=voters).collect());
            assert_eq!(etcd.has_quorum(), quorum, "{dead} of {voters} dead");
            assert_eq!(etcd.leader().is_some(), quorum, "{dead} of {voters} dead");
        }
        assert!(!Etcd::default().has_quorum());
    }

    #[test]
    fn a_learner_does_not_count() {
        let mut etcd = cluster(1);
        etcd.add(
            2,
            Member {
                learner: true,
                ..etcd.members[&1].clone()
            },
        );
        assert!(etcd.has_quorum());
        assert!(!etcd.accepts_learner(), "one learner at a time");
        etcd.promote(2);
        etcd.settle([1].into());
        assert!(!etcd.has_quorum());
    }

    #[test]
    fn a_removal_that_would_lose_quorum_is_refused() {
        let mut etcd = cluster(3);
        etcd.settle([1, 2].into());
        assert_eq!(
            etcd.remove(1),
            Err(EtcdError::NotEnoughStarted),
            "2 and the dead 3 would be left"
        );
        assert_eq!(etcd.remove(3), Ok(()));
        assert_eq!(etcd.remove(3), Err(EtcdError::NotFound));
        assert_eq!(cluster(1).remove(1), Err(EtcdError::OnlyMember));
        let mut lost = cluster(3);
        lost.settle([1].into());
        assert_eq!(lost.remove(3), Err(EtcdError::NoQuorum));
    }

    #[test]
    fn a_leader_hands_over_to_one_that_lives() {
        let mut etcd = cluster(3);
        assert_eq!(etcd.leader(), Some(1));
        etcd.settle([1, 3].into());
        assert_eq!(etcd.forfeit(3), Ok(None), "not the leader");
        assert_eq!(etcd.forfeit(1), Ok(Some(3)));
        assert_eq!(cluster(1).forfeit(1), Err(EtcdError::OnlyMember));
    }
}
