//! What a schema says about one member of an object when nothing else of it changes.

use super::{Path, Schema, prune::Unknown};
use crate::json::Value;

impl Schema {
    /// Whether a change of the member `name` can be judged without the rest of a resource: no rule
    /// looks at both.
    #[must_use]
    pub fn judges_alone(&self, name: &str) -> bool {
        self.own_rules().next().is_none() && self.property(name).is_some()
    }

    /// Whether a rule somewhere compares with what was before.
    #[must_use]
    pub const fn compares_with_before(&self) -> bool {
        self.within.transitions
    }

    /// The members besides `name` whose rules compare with what was before, so that they speak of
    /// what did not change too.
    pub fn members_in_transition(&self, name: &str) -> impl Iterator<Item = &str> {
        self.properties
            .iter()
            .filter(move |(known, schema)| known.as_ref() != name && schema.within.transitions)
            .map(|(known, _)| known.as_ref())
    }

    /// Whether a member that did not change may stay as it is.
    #[must_use]
    pub fn lets_stay(&self, name: &str, value: &Value<'_>) -> bool {
        self.property(name).is_none_or(|schema| {
            schema
                .check_member_rules(&Path::new(name), value, Some(value))
                .is_empty()
        })
    }

    /// Prunes and defaults the member `name`. False when something in it is not known.
    pub fn complete_member<'a>(&'a self, name: &str, value: &mut Value<'a>) -> bool {
        let Some(schema) = self.property(name) else {
            return false;
        };
        let mut unknown = Unknown::default();
        schema.prune_at(value, false, &Path::new(name), &mut unknown);
        if !unknown.is_empty() {
            return false;
        }
        schema.prune_nulls(value, false);
        schema.default(value);
        true
    }

    /// Whether a changed member `name` is valid.
    #[must_use]
    pub fn accepts_member(&self, name: &str, value: &Value<'_>, old: Option<&Value<'_>>) -> bool {
        let Some(schema) = self.property(name) else {
            return false;
        };
        let path = Path::new(name);
        !schema.has_fault(&path, value, old)
            && schema.check_member_rules(&path, value, old).is_empty()
    }
}
