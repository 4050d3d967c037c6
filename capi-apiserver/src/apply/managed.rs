//! Who owns which fields: `metadata.managedFields` read and written.

use super::set::FieldSet;
use crate::json::{Object, Value};
use crate::schema::quote;

/// How many managers that only update are told apart; the oldest beyond that are merged.
pub(super) const MAX_UPDATERS: usize = 10;

/// The manager that the oldest updaters are merged into.
const ANCIENT: &str = "ancient-changes";

/// Whether a manager owns by applying or by any other write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    Apply,
    Update,
}

impl Operation {
    /// The name of the operation in an entry.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// The identity of a manager. An applier is the same in every version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) operation: Operation,
    pub(crate) api_version: String,
    pub(crate) subresource: String,
}

impl Manager {
    pub(crate) fn is(&self, other: &Manager) -> bool {
        self.name == other.name
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }
}

/// The manager as a conflict names it.
impl std::fmt::Display for Manager {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&quote(&self.name))?;
        if !self.subresource.is_empty() {
            write!(formatter, " with subresource {}", quote(&self.subresource))?;
        }
        if self.operation == Operation::Update {
            write!(formatter, " using {}", self.api_version)?;
        }
        Ok(())
    }
}

/// What one manager owns.
#[derive(Debug, Clone)]
pub(crate) struct Entry<'a> {
    pub(crate) manager: Manager,
    pub(crate) time: Option<String>,
    pub(crate) fields: FieldSet<'a>,
}

impl<'a> Entry<'a> {
    pub(super) fn read(entry: &'a Value<'_>) -> Option<Self> {
        let text = |name: &str| entry.get(name).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        if text("apiVersion").is_empty() || text("fieldsType") != "FieldsV1" {
            return None;
        }
        let fields = match entry.get("fieldsV1") {
            None | Some(Value::Null) => FieldSet::default(),
            Some(fields) => FieldSet::read(fields)?,
        };
        Some(Self {
            manager: Manager {
                name: text("manager").to_owned(),
                operation,
                api_version: text("apiVersion").to_owned(),
                subresource: text("subresource").to_owned(),
            },
            time: entry.get("time").and_then(Value::as_str).map(str::to_owned),
            fields,
        })
    }

    fn to_value(&self) -> Value<'static> {
        let mut object = Object::with_capacity(7);
        let operation = self.manager.operation.as_str();
        if !self.manager.name.is_empty() {
            object.push("manager", Value::from(self.manager.name.clone()));
        }
        object.push("operation", Value::from(operation));
        object.push("apiVersion", Value::from(self.manager.api_version.clone()));
        if let Some(time) = &self.time {
            object.push("time", Value::from(time.clone()));
        }
        object.push("fieldsType", Value::from("FieldsV1"));
        object.push("fieldsV1", self.fields.to_value());
        if !self.manager.subresource.is_empty() {
            object.push("subresource", Value::from(self.manager.subresource.clone()));
        }
        Value::Object(object)
    }
}

/// Reads `metadata.managedFields`. Entries that cannot be read make all of them unknown, as
/// upstream has it: the answer is then empty.
pub(crate) fn read<'a>(managed: Option<&'a Value<'_>>) -> Vec<Entry<'a>> {
    let entries = managed.and_then(Value::as_array).unwrap_or_default();
    entries
        .iter()
        .map(Entry::read)
        .collect::<Option<Vec<_>>>()
        .unwrap_or_default()
}

/// Whether a request asks to forget all managers: an empty list, or a list of one empty entry.
pub(crate) fn is_reset(managed: Option<&Value<'_>>) -> bool {
    match managed {
        Some(Value::Array(entries)) => match entries.as_slice() {
            [] => true,
            [Value::Object(entry)] => entry.is_empty(),
            _ => false,
        },
        _ => false,
    }
}

/// Writes the entries, in upstream's order: appliers first, then by time, name and version.
/// `None` when there are none.
pub(crate) fn write(mut entries: Vec<Entry<'_>>) -> Option<Value<'static>> {
    entries.sort_by(|left, right| {
        let (one, other) = (&left.manager, &right.manager);
        one.operation
            .cmp(&other.operation)
            .then_with(|| left.time.cmp(&right.time))
            .then_with(|| one.name.cmp(&other.name))
            .then_with(|| one.api_version.cmp(&other.api_version))
            .then_with(|| one.subresource.cmp(&other.subresource))
    });
    (!entries.is_empty()).then(|| Value::Array(entries.iter().map(Entry::to_value).collect()))
}

/// Merges the oldest updaters into one entry a version until no more than ten are left.
pub(crate) fn cap<'a>(mut entries: Vec<Entry<'a>>) -> Vec<Entry<'a>> {
    let mut updaters: Vec<usize> = (0..entries.len())
        .filter(|index| entries[*index].manager.operation == Operation::Update)
        .collect();
    let mut count = updaters.len();
    if count <= MAX_UPDATERS {
        return entries;
    }
    updaters.sort_by(|left, right| {
        let (one, other) = (&entries[*left], &entries[*right]);
        one.time
            .cmp(&other.time)
            .then_with(|| one.manager.name.cmp(&other.manager.name))
            .then_with(|| one.manager.api_version.cmp(&other.manager.api_version))
    });
    let mut buckets: Vec<(usize, Entry<'a>)> = Vec::new();
    let mut merged: Vec<usize> = Vec::new();
    for index in updaters {
        if count <= MAX_UPDATERS {
            break;
        }
        let entry = &mut entries[index];
        let fields = std::mem::take(&mut entry.fields);
        match buckets
            .iter_mut()
            .find(|(_, bucket)| bucket.manager.api_version == entry.manager.api_version)
        {
            None => {
                // The first of a version becomes the bucket only when a second one joins it.
                let mut bucket = entry.clone();
                bucket.fields = fields;
                buckets.push((index, bucket));
            }
            Some((first, bucket)) => {
                ANCIENT.clone_into(&mut bucket.manager.name);
                bucket.manager.subresource.clear();
                bucket.time.clone_from(&entry.time);
                bucket.fields = std::mem::take(&mut bucket.fields).union(fields);
                merged.push(index);
                merged.push(*first);
                count -= 1;
            }
        }
    }
    for (first, bucket) in buckets {
        if merged.contains(&first) {
            match entries
                .iter()
                .position(|entry| entry.manager.is(&bucket.manager))
            {
                // An older bucket of that version is there already.
                Some(place) if !merged.contains(&place) || place == first => {
                    entries[place] = bucket;
                }
                Some(_) | None => entries.push(bucket),
            }
        } else {
            entries[first] = bucket;
        }
    }
    let mut index = 0;
    entries.retain(|entry| {
        let keep = !merged.contains(&index) || entry.manager.name == ANCIENT;
        index += 1;
        keep
    });
    entries.retain(|entry| !entry.fields.is_empty());
    entries
}
