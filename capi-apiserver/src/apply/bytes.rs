//! `metadata.managedFields` kept as bytes: a write that changes one member of an object touches the
//! entry of its manager and those that own something below that member; the others are copied.

use std::{borrow::Cow, ops::Range};

use super::{
    Write, known,
    managed::{Entry, MAX_UPDATERS, Manager, Operation},
    set::FieldSet,
    take,
    typed::{self, Comparison, Type},
};
use crate::{
    json::{Value, parse, write_string},
    peek::{self, Members},
};

/// One entry, of which only the head has been read.
struct Raw<'a> {
    text: &'a [u8],
    name: &'a str,
    operation: Operation,
    api_version: &'a str,
    subresource: &'a str,
    time: Option<Range<usize>>,
    fields: &'a [u8],
    /// What its manager owns of the member that is written, encoded.
    owned: Option<&'a [u8]>,
}

/// An entry as it is to be stored.
struct Kept<'a> {
    entry: Raw<'a>,
    time: Option<&'a str>,
    text: Cow<'a, [u8]>,
}

impl<'a> Kept<'a> {
    /// Upstream's order of managers.
    fn order(&self) -> (Operation, Option<&'a str>, &'a str, &'a str, &'a str) {
        let entry = &self.entry;
        let (name, version) = (entry.name, entry.api_version);
        (entry.operation, self.time, name, version, entry.subresource)
    }
}

impl<'a> Raw<'a> {
    /// Reads the entry that begins at `start`, and tells where it ends. `element` is the member that
    /// is written, as a name in `fieldsV1`.
    fn read(text: &'a [u8], start: usize, element: &str) -> Option<(Self, usize)> {
        let mut entry = Self {
            text: &[],
            name: "",
            operation: Operation::Update,
            api_version: "",
            subresource: "",
            time: None,
            fields: b"{}",
            owned: None,
        };
        let mut operation = None;
        let mut members = Members::begin(text, start);
        while let Some((name, place)) = members.enter() {
            if name == b"fieldsV1" {
                let mut fields = Members::begin(text, place);
                for (name, place) in fields.by_ref() {
                    if name == element.as_bytes() {
                        entry.owned = Some(&text[place]);
                    }
                }
                let end = fields.end()?;
                entry.fields = &text[place..end];
                members.leave(end);
                continue;
            }
            let end = members.pass()?;
            let value = &text[place..end];
            match name {
                b"manager" => entry.name = peek::plain_string(value)?,
                b"apiVersion" => entry.api_version = peek::plain_string(value)?,
                b"subresource" => entry.subresource = peek::plain_string(value)?,
                b"time" => entry.time = Some(place - start..end - start),
                b"operation" => {
                    operation = match value {
                        br#""Apply""# => Some(Operation::Apply),
                        br#""Update""# => Some(Operation::Update),
                        _ => None,
                    }
                }
                b"fieldsType" if value == br#""FieldsV1""# => {}
                _ => return None,
            }
        }
        let end = members.end()?;
        entry.text = &text[start..end];
        entry.operation = operation?;
        Some((entry, end))
    }

    fn time(&self) -> Option<&'a str> {
        self.time
            .clone()
            .and_then(|time| peek::plain_string(&self.text[time]))
    }

    /// The entry without what changed, and with what its manager now owns. `None` inside when
    /// nothing is left; outside when it cannot be read.
    fn changed(
        &self,
        comparison: &Comparison<'_>,
        own: Option<(&FieldSet<'_>, &str)>,
    ) -> Option<Option<Vec<u8>>> {
        let value = parse(self.text).ok()?.value;
        let mut entry = Entry::read(&value)?;
        take(&mut entry, comparison);
        if let Some((own, now)) = own {
            let rest = std::mem::take(&mut entry.fields);
            return Some(Some(encoded(
                &entry.manager,
                Some(now),
                &own.clone().union(rest),
            )));
        }
        let Entry {
            manager,
            time,
            fields,
        } = entry;
        Some((!fields.is_empty()).then(|| encoded(&manager, time.as_deref(), &fields)))
    }

    /// The entry at another time.
    fn timed(&self, now: &str) -> Option<Vec<u8>> {
        let place = self.time.clone()?;
        let mut text = Vec::with_capacity(self.text.len());
        text.extend_from_slice(&self.text[..place.start]);
        write_string(now, &mut text);
        text.extend_from_slice(&self.text[place.end..]);
        Some(text)
    }
}

fn encoded(manager: &Manager, time: Option<&str>, fields: &FieldSet<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    let mut member = |name: &str, value: &str| {
        out.push(if out.is_empty() { b'{' } else { b',' });
        write_string(name, &mut out);
        out.push(b':');
        write_string(value, &mut out);
    };
    if !manager.name.is_empty() {
        member("manager", &manager.name);
    }
    member("operation", manager.operation.as_str());
    member("apiVersion", &manager.api_version);
    if let Some(time) = time {
        member("time", time);
    }
    member("fieldsType", "FieldsV1");
    out.extend_from_slice(b",\"fieldsV1\":");
    fields.write_to(false, &mut out);
    if !manager.subresource.is_empty() {
        out.extend_from_slice(b",\"subresource\":");
        write_string(&manager.subresource, &mut out);
    }
    out.push(b'}');
    out
}

/// Whether an encoded set holds all of `fields`. A set in another order than ours is taken not to,
/// and is then read.
fn holds(set: &[u8], fields: &FieldSet<'_>) -> bool {
    let mut members = peek::members(set);
    let mut name = Vec::new();
    fields.nodes().iter().all(|node| {
        name.clear();
        node.element.write_name(&mut name);
        let Some((_, place)) = members.find(|(known, _)| *known == name) else {
            return false;
        };
        let below = &set[place];
        let is_member = || below == b"{}" || peek::member(below, ".").is_some();
        (!node.member || is_member())
            && (node.children.nodes().is_empty() || holds(below, &node.children))
    })
}

/// The same as [`update_member`] where nothing changes but the time of the writer's own entry: it owns
/// all that changed, and nobody else owns any of the member.
fn retimed(
    managers: &[u8],
    name: &'static str,
    old: &Value<'_>,
    new: &Value<'_>,
    write: &Write<'_>,
) -> Option<Vec<u8>> {
    let element = format!("f:{name}");
    let mut entries = Vec::with_capacity(MAX_UPDATERS);
    let mut mine = None;
    let mut next = Some(1);
    while let Some(start) = next.filter(|start| managers.get(*start) == Some(&b'{')) {
        let (entry, end) = Raw::read(managers, start, &element)?;
        next = (managers.get(end) == Some(&b',')).then_some(end + 1);
        if entry.api_version != write.api_version {
            return None;
        }
        if entry.owned.is_some() {
            let is_mine = entry.name == write.manager
                && entry.operation == Operation::Update
                && entry.subresource == write.subresource;
            if mine.is_some() || !is_mine {
                return None;
            }
            mine = Some(entries.len());
        }
        entries.push(entry);
    }
    let entry = entries.get(mine?)?;
    let kind = Type::Resource(write.schema).member(name).0?;
    if !known::changed(kind, old, new, entry.owned?)? {
        return None;
    }
    let text = entry.timed(write.now)?;
    let kept = entries.into_iter().enumerate().map(|(index, entry)| {
        let is_mine = Some(index) == mine;
        let time = if is_mine {
            Some(write.now)
        } else {
            entry.time()
        };
        let text = if is_mine { &text[..] } else { entry.text };
        Kept {
            entry,
            time,
            text: Cow::Borrowed(text),
        }
    });
    joined(kept.collect(), managers.len())
}

/// The managers in their order, encoded; `None` when there are too many of them.
fn joined(mut kept: Vec<Kept<'_>>, length: usize) -> Option<Vec<u8>> {
    let updaters = kept
        .iter()
        .filter(|kept| kept.entry.operation == Operation::Update);
    if updaters.count() > MAX_UPDATERS {
        return None;
    }
    kept.sort_by(|left, right| left.order().cmp(&right.order()));
    let mut out = Vec::with_capacity(length + 64);
    for (index, kept) in kept.iter().enumerate() {
        out.push(if index == 0 { b'[' } else { b',' });
        out.extend_from_slice(&kept.text);
    }
    out.push(b']');
    Some(out)
}

/// What becomes of encoded managers by a write that changed the member `name` of an object and
/// nothing else: the same as [`super::update`] makes of them.
///
/// `None` when that takes more than looking at this member: other versions, too many managers, or
/// managers that are not as the server writes them.
pub(crate) fn update_member(
    managers: &[u8],
    name: &'static str,
    old: Option<&Value<'_>>,
    new: &Value<'_>,
    write: &Write<'_>,
) -> Option<Vec<u8>> {
    if let Some(old) = old
        && let Some(managers) = retimed(managers, name, old, new, write)
    {
        return Some(managers);
    }
    let comparison = typed::compare_member(Type::Resource(write.schema), name, old, Some(new));
    let own = comparison.modified.clone().union(comparison.added.clone());
    let element = format!("f:{name}");
    let mut kept = Vec::new();
    let mut mine = false;
    let mut next = Some(1);
    while let Some(start) = next.filter(|start| managers.get(*start) == Some(&b'{')) {
        let (entry, end) = Raw::read(managers, start, &element)?;
        next = (managers.get(end) == Some(&b',')).then_some(end + 1);
        if entry.api_version != write.api_version {
            return None;
        }
        let is_mine = entry.name == write.manager
            && entry.operation == Operation::Update
            && entry.subresource == write.subresource
            && !own.is_empty();
        mine |= is_mine;
        let (time, text) = if is_mine {
            let text = if comparison.removed.is_empty() && holds(entry.fields, &own) {
                entry.timed(write.now)?
            } else {
                entry.changed(&comparison, Some((&own, write.now)))??
            };
            (Some(write.now), Cow::Owned(text))
        } else if entry.owned.is_some() {
            let Some(text) = entry.changed(&comparison, None)? else {
                continue;
            };
            (entry.time(), Cow::Owned(text))
        } else {
            (entry.time(), Cow::Borrowed(entry.text))
        };
        kept.push(Kept { entry, time, text });
    }
    if kept.is_empty() {
        return None;
    }
    if !mine && !own.is_empty() {
        let manager = Manager {
            name: write.manager.to_owned(),
            operation: Operation::Update,
            api_version: write.api_version.to_owned(),
            subresource: write.subresource.to_owned(),
        };
        kept.push(Kept {
            entry: Raw {
                text: &[],
                name: write.manager,
                operation: Operation::Update,
                api_version: write.api_version,
                subresource: write.subresource,
                time: None,
                fields: &[],
                owned: None,
            },
            time: Some(write.now),
            text: Cow::Owned(encoded(&manager, Some(write.now), &own)),
        });
    }
    joined(kept, managers.len())
}
