//! Whose member is whose: members of etcd matched with machines, and what a removal leaves.
//!
//! Decides from what nodes said; asks nobody.

use crate::client::{EtcdMember, EtcdMemberId};

/// A machine as far as membership is concerned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineIdentity {
    /// Names under which its member may be known: host name, node name, machine name.
    pub names: Vec<String>,
    /// The member that the machine itself says it is; certain, where it answered.
    pub member: Option<EtcdMemberId>,
}

/// Members matched with machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The member of each machine, in their order.
    pub of: Vec<Option<EtcdMember>>,
    /// Members that belong to no machine. One that has no name yet may still be anybody's and is
    /// not among them.
    pub foreign: Vec<EtcdMember>,
}

/// Whether two names mean the same host: equal first labels, in any case. A node may be known
/// by its short name here and by a fully qualified one there.
#[must_use]
pub fn same_host(one: &str, other: &str) -> bool {
    let label = |name: &str| {
        name.split('.')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    !label(one).is_empty() && label(one) == label(other)
}

impl Membership {
    /// Matches members with machines as sets: first by the id that a machine says it has, then by
    /// name. A member belongs to one machine at most, and a machine has one member at most.
    #[must_use]
    pub fn of(members: &[EtcdMember], machines: &[MachineIdentity]) -> Self {
        let mut left: Vec<&EtcdMember> = members.iter().collect();
        let mut take = |found: &dyn Fn(&EtcdMember) -> bool| {
            let index = left.iter().position(|member| found(member))?;
            Some(left.remove(index).clone())
        };
        let mut of: Vec<Option<EtcdMember>> = machines
            .iter()
            .map(|machine| {
                let id = machine.member?;
                take(&|member: &EtcdMember| member.id == id)
            })
            .collect();
        for (machine, slot) in machines.iter().zip(&mut of) {
            // one that said who it is, and is no member, is not known by name either
            if slot.is_none() && machine.member.is_none() {
                *slot = take(&|member: &EtcdMember| {
                    machine
                        .names
                        .iter()
                        .any(|name| same_host(name, &member.hostname))
                });
            }
        }
        let foreign = left
            .into_iter()
            .filter(|member| !member.hostname.is_empty())
            .cloned();
        Self {
            foreign: foreign.collect(),
            of,
        }
    }
}

/// Whether etcd keeps its quorum when `leaving` goes, with `living` voters known to be alive.
#[must_use]
pub fn removal_keeps_quorum(
    members: &[EtcdMember],
    leaving: EtcdMemberId,
    living: &[EtcdMemberId],
) -> bool {
    let left: Vec<EtcdMemberId> = members
        .iter()
        .filter(|member| !member.is_learner && member.id != leaving)
        .map(|member| member.id)
        .collect();
    let alive = left.iter().filter(|id| living.contains(id)).count();
    !left.is_empty() && alive > left.len() / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u64, name: &str) -> EtcdMember {
        EtcdMember::new(id, name, false)
    }

    fn machine(names: &[&str], member: Option<u64>) -> MachineIdentity {
        MachineIdentity {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            member: member.map(EtcdMemberId),
        }
    }

    #[test]
    fn members_are_matched_by_first_label_on_both_sides_and_in_any_case() {
        for (member_name, machine_name) in [
            ("CP-1", "cp-1"),
            ("cp-1", "cp-1.example.com"),
            ("cp-1.example.com", "cp-1"),
            ("a.b.c", "A.b.c"),
        ] {
            let matched =
                Membership::of(&[member(1, member_name)], &[machine(&[machine_name], None)]);
            assert_eq!(
                matched.of[0].as_ref().map(|m| m.id.0),
                Some(1),
                "{member_name} {machine_name}"
            );
            assert!(matched.foreign.is_empty());
        }
    }

    #[test]
    fn a_member_that_has_not_started_is_nobodys_and_not_foreign() {
        let matched = Membership::of(&[member(1, "")], &[machine(&[""], None)]);
        assert_eq!(matched.of, [None]);
        assert!(matched.foreign.is_empty());
    }

    #[test]
    fn what_a_machine_says_of_itself_wins_over_names() {
        let members = [member(1, "old"), member(2, "new")];
        let machines = [machine(&["old"], Some(2)), machine(&["old"], None)];
        let matched = Membership::of(&members, &machines);
        assert_eq!(matched.of[0].as_ref().map(|m| m.id.0), Some(2));
        assert_eq!(matched.of[1].as_ref().map(|m| m.id.0), Some(1));
    }

    #[test]
    fn a_machine_whose_member_was_removed_has_none_though_a_name_is_equal() {
        let matched = Membership::of(&[member(1, "a")], &[machine(&["a"], Some(9))]);
        assert_eq!(matched.of, [None]);
        assert_eq!(matched.foreign.len(), 1);
    }

    #[test]
    fn a_member_without_a_machine_is_foreign() {
        let matched = Membership::of(
            &[member(1, "a"), member(2, "gone")],
            &[machine(&["a"], None)],
        );
        assert_eq!(matched.foreign, [member(2, "gone")]);
    }

    #[test]
    fn a_removal_must_leave_a_living_majority() {
        let ids = |ids: &[u64]| ids.iter().map(|id| EtcdMemberId(*id)).collect::<Vec<_>>();
        let voters = |count: u64| (1..=count).map(|id| member(id, "x")).collect::<Vec<_>>();
        for (voters_there, leaving, living, keeps) in [
            (1, 1, vec![1], false),
            (2, 2, vec![1], true),
            (2, 2, vec![2], false),
            (3, 3, vec![1, 2], true),
            (3, 3, vec![1], false),
            (3, 1, vec![1, 2], false),
            (5, 5, vec![1, 2, 3], true),
            (5, 5, vec![1, 2], false),
        ] {
            let kept =
                removal_keeps_quorum(&voters(voters_there), EtcdMemberId(leaving), &ids(&living));
            assert_eq!(
                kept, keeps,
                "{leaving} of {voters_there} leaves, {living:?} live"
            );
        }
        let mut with_learner = voters(1);
        with_learner.push(EtcdMember::new(2, "learner", true));
        assert!(removal_keeps_quorum(
            &with_learner,
            EtcdMemberId(2),
            &ids(&[1])
        ));
    }

    proptest::proptest! {
        #[test]
        fn every_member_is_one_machines_or_foreign_or_nameless(
            members in proptest::collection::btree_map(0_u64..20, "[a-c]{0,1}", 0..8),
            machines in proptest::collection::vec(("[a-d]", proptest::option::of(0_u64..20)), 0..6),
        ) {
            let members: Vec<_> = members.iter().map(|(id, name)| member(*id, name)).collect();
            let machines: Vec<_> = machines.iter().map(|(name, id)| machine(&[name.as_str()], *id)).collect();
            let matched = Membership::of(&members, &machines);
            proptest::prop_assert_eq!(matched.of.len(), machines.len());
            let mut seen: Vec<u64> = matched.of.iter().flatten().chain(&matched.foreign).map(|m| m.id.0).collect();
            let nameless = members.iter().filter(|m| m.hostname.is_empty() && !seen.contains(&m.id.0)).count();
            seen.sort_unstable();
            seen.dedup();
            proptest::prop_assert_eq!(seen.len() + nameless, members.len());
        }
    }
}
