//! Owner references: which are the same, which are wanted.
//!
//! Two references mean the same owner when group, kind and name are equal. Version and uid do not
//! count, because after a move to another management cluster every uid is another.

use crate::contract::{OwnerReference, object::group_of};

/// Whether both mean the same owner.
#[must_use]
pub fn same_owner(a: &OwnerReference, b: &OwnerReference) -> bool {
    a.group() == b.group() && a.kind == b.kind && a.name == b.name
}

/// Whether one of `references` means the object `name` of this kind.
#[must_use]
pub fn is_owned_by(references: &[OwnerReference], group: &str, kind: &str, name: &str) -> bool {
    references
        .iter()
        .any(|r| r.group() == group && r.kind == kind && r.name == name)
}

/// Whether one of `references` means an object of this kind.
#[must_use]
pub fn has_owner_of_kind(references: &[OwnerReference], group: &str, kind: &str) -> bool {
    references
        .iter()
        .any(|r| r.group() == group && r.kind == kind)
}

/// Whether `wanted` is there as it is: same version, kind, name, uid, and controller or not.
#[must_use]
pub fn has_exact(references: &[OwnerReference], wanted: &OwnerReference) -> bool {
    references.iter().any(|r| {
        r.api_version == wanted.api_version
            && r.kind == wanted.kind
            && r.name == wanted.name
            && r.uid == wanted.uid
            && r.is_controller() == wanted.is_controller()
    })
}

/// Sets `wanted`, in the place of a reference to the same owner, else at the end.
pub fn ensure(references: &mut Vec<OwnerReference>, wanted: OwnerReference) {
    match references.iter_mut().find(|r| same_owner(r, &wanted)) {
        Some(found) => *found = wanted,
        None => references.push(wanted),
    }
}

/// Removes references to an object of this kind, whatever its name.
pub fn remove_kind(references: &mut Vec<OwnerReference>, group: &str, kind: &str) {
    references.retain(|r| !(r.group() == group && r.kind == kind));
}

/// Gives an object from one owner to another: replaces the reference with exactly the uid
/// `source_uid`, else appends. Strict on purpose, so that an owner that was deleted and created
/// anew under the same name is told apart.
pub fn replace_by_uid(
    references: &mut Vec<OwnerReference>,
    source_uid: &str,
    target: OwnerReference,
) {
    match references.iter_mut().find(|r| r.uid == source_uid) {
        Some(found) => *found = target,
        None => references.push(target),
    }
}

/// Another owner controls the object, so that it cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is already controlled by {kind} {name}; remove that owner reference to let it be adopted")]
pub struct AlreadyControlled {
    /// Kind of the other owner.
    pub kind: String,
    /// Name of the other owner.
    pub name: String,
}

/// Makes `owner` the controller of the object with these references.
///
/// # Errors
/// When another owner is its controller.
pub fn set_controller(
    references: &mut Vec<OwnerReference>,
    mut owner: OwnerReference,
) -> Result<(), AlreadyControlled> {
    if let Some(other) = references
        .iter()
        .find(|r| r.is_controller() && !same_owner(r, &owner))
    {
        return Err(AlreadyControlled {
            kind: other.kind.clone(),
            name: other.name.clone(),
        });
    }
    owner.controller = Some(true);
    owner.block_owner_deletion = Some(true);
    ensure(references, owner);
    Ok(())
}

/// Whether an `apiVersion` is of `group`.
#[must_use]
pub fn in_group(api_version: &str, group: &str) -> bool {
    group_of(api_version) == group
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(api_version: &str, kind: &str, name: &str, uid: &str) -> OwnerReference {
        OwnerReference {
            api_version: api_version.into(),
            kind: kind.into(),
            name: name.into(),
            uid: uid.into(),
            ..OwnerReference::default()
        }
    }

    #[test]
    fn an_owner_is_known_by_group_kind_and_name_and_its_entry_is_overwritten_in_place() {
        let mut list = vec![
            reference("cluster.x-k8s.io/v1beta1", "Cluster", "a", "old"),
            reference("v1", "Secret", "s", "1"),
        ];
        ensure(
            &mut list,
            reference("cluster.x-k8s.io/v1beta2", "Cluster", "a", "new"),
        );
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].uid, "new");
        assert_eq!(list[0].api_version, "cluster.x-k8s.io/v1beta2");
        ensure(
            &mut list,
            reference("cluster.x-k8s.io/v1beta2", "Cluster", "b", "b"),
        );
        assert_eq!(list.len(), 3);
        assert!(is_owned_by(&list, "cluster.x-k8s.io", "Cluster", "b"));
        assert!(!is_owned_by(&list, "other.io", "Cluster", "b"));
    }

    #[test]
    fn exact_means_version_uid_and_controller_too() {
        let wanted = OwnerReference {
            controller: Some(true),
            ..reference("g/v1", "K", "a", "1")
        };
        let close = [
            reference("g/v2", "K", "a", "1"),
            reference("g/v1", "K", "a", "2"),
            reference("g/v1", "K", "a", "1"),
        ];
        assert!(!has_exact(&close, &wanted));
        assert!(has_exact(std::slice::from_ref(&wanted), &wanted));
        // An explicit false is the same as none.
        let plain = reference("g/v1", "K", "a", "1");
        let explicit = OwnerReference {
            controller: Some(false),
            ..plain.clone()
        };
        assert!(has_exact(&[explicit], &plain));
    }

    #[test]
    fn an_object_with_another_controller_is_not_taken() {
        let mut list = vec![OwnerReference {
            controller: Some(true),
            ..reference("g/v1", "Other", "o", "1")
        }];
        let error = set_controller(&mut list, reference("g/v1", "K", "a", "2")).unwrap_err();
        assert!(error.to_string().contains("Other o"));
        let mut list = vec![reference("g/v1", "K", "a", "old")];
        set_controller(&mut list, reference("g/v1", "K", "a", "2")).unwrap();
        assert_eq!(list.len(), 1);
        assert!(list[0].is_controller());
        assert_eq!(list[0].block_owner_deletion, Some(true));
    }

    #[test]
    fn handing_over_matches_by_uid_only() {
        let mut list = vec![reference("g/v1", "MachineSet", "old", "1")];
        replace_by_uid(&mut list, "1", reference("g/v1", "MachineSet", "new", "2"));
        assert_eq!(list, [reference("g/v1", "MachineSet", "new", "2")]);
        replace_by_uid(&mut list, "1", reference("g/v1", "MachineSet", "x", "3"));
        assert_eq!(list.len(), 2);
    }
}
