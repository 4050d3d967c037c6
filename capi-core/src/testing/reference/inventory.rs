//! The machines of a datacenter, found by number, by cluster and name, and by what is free, each in
//! a time that does not grow with the datacenter.

use std::collections::{BTreeMap, BTreeSet};

use super::datacenter::MachineRecord;

pub(super) struct Inventory {
    machines: BTreeMap<u32, MachineRecord>,
    /// Numbers by cluster, then by name of the Machine.
    names: BTreeMap<String, BTreeMap<String, BTreeSet<u32>>>,
    /// What numbers no machine has, as ranges that do not touch: the last of each by its first.
    free: BTreeMap<u32, u32>,
}

impl Default for Inventory {
    fn default() -> Self {
        Self {
            machines: BTreeMap::new(),
            names: BTreeMap::new(),
            free: BTreeMap::from([(1, u32::MAX)]),
        }
    }
}

impl Inventory {
    pub(super) fn get(&self, number: u32) -> Option<&MachineRecord> {
        self.machines.get(&number)
    }

    pub(super) fn contains(&self, number: u32) -> bool {
        self.machines.contains_key(&number)
    }

    pub(super) fn len(&self) -> usize {
        self.machines.len()
    }

    /// All, by number.
    pub(super) fn iter(&self) -> impl Iterator<Item = &MachineRecord> {
        self.machines.values()
    }

    /// Those of a cluster, by name.
    pub(super) fn of_cluster(&self, cluster: &str) -> impl Iterator<Item = &MachineRecord> {
        let numbers = self.names.get(cluster).into_iter();
        let numbers = numbers.flat_map(BTreeMap::values).flatten();
        numbers.filter_map(|number| self.machines.get(number))
    }

    /// Those of a cluster that bear a name.
    pub(super) fn named(&self, cluster: &str, name: &str) -> impl Iterator<Item = &MachineRecord> {
        let named = self.names.get(cluster).and_then(|names| names.get(name));
        let numbers = named.into_iter().flatten();
        numbers.filter_map(|number| self.machines.get(number))
    }

    /// Numbers that no machine has, from the smallest.
    pub(super) fn free(&self) -> impl Iterator<Item = u32> {
        let ranges = self.free.iter();
        ranges.flat_map(|(first, last)| *first..=*last)
    }

    fn occupy(&mut self, number: u32) {
        let Some((&first, &last)) = self.free.range(..=number).next_back() else {
            return;
        };
        if last < number {
            return;
        }
        self.free.remove(&first);
        if first < number {
            self.free.insert(first, number - 1);
        }
        if number < last {
            self.free.insert(number + 1, last);
        }
    }

    fn vacate(&mut self, number: u32) {
        let (mut first, mut last) = (number, number);
        if let Some((&before, &end)) = self.free.range(..number).next_back()
            && end.checked_add(1) == Some(number)
        {
            first = before;
        }
        if let Some(end) = number
            .checked_add(1)
            .and_then(|after| self.free.remove(&after))
        {
            last = end;
        }
        self.free.insert(first, last);
    }

    pub(super) fn insert(&mut self, record: MachineRecord) {
        let number = record.number;
        self.remove(number);
        self.occupy(number);
        self.names
            .entry(record.cluster.clone())
            .or_default()
            .entry(record.name.clone())
            .or_default()
            .insert(number);
        self.machines.insert(number, record);
    }

    pub(super) fn remove(&mut self, number: u32) -> Option<MachineRecord> {
        let record = self.machines.remove(&number)?;
        self.vacate(number);
        if let Some(names) = self.names.get_mut(&record.cluster) {
            if let Some(numbers) = names.get_mut(&record.name) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    names.remove(&record.name);
                }
            }
            if names.is_empty() {
                self.names.remove(&record.cluster);
            }
        }
        Some(record)
    }
}

impl FromIterator<MachineRecord> for Inventory {
    fn from_iter<I: IntoIterator<Item = MachineRecord>>(records: I) -> Self {
        let mut inventory = Self::default();
        for record in records {
            inventory.insert(record);
        }
        inventory
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn record(number: u32, cluster: &str, name: &str) -> MachineRecord {
        MachineRecord {
            number,
            mark: format!("mark-{number}"),
            name: name.to_owned(),
            cluster: cluster.to_owned(),
            control_plane: false,
            version: "v1.33.0".to_owned(),
            created: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn the_smallest_free_number_comes_first() {
        let mut inventory = Inventory::default();
        let first = |inventory: &Inventory| inventory.free().take(3).collect::<Vec<_>>();
        assert_eq!(first(&inventory), [1, 2, 3]);
        inventory.insert(record(1, "n/c", "a"));
        inventory.insert(record(4, "n/c", "b"));
        assert_eq!(first(&inventory), [2, 3, 5]);
        inventory.insert(record(2, "n/c", "c"));
        inventory.remove(1);
        assert_eq!(first(&inventory), [1, 3, 5]);
        inventory.remove(4);
        assert_eq!(first(&inventory), [1, 3, 4]);
        assert_eq!(inventory.len(), 1);
        inventory.insert(record(u32::MAX, "n/c", "far"));
        inventory.insert(record(u32::MAX - 1, "n/c", "near"));
        inventory.remove(u32::MAX);
        assert_eq!(first(&inventory), [1, 3, 4]);
        assert_eq!(inventory.free.len(), 3, "1, all between, the last");
        inventory.remove(u32::MAX - 1);
        inventory.remove(2);
        assert_eq!(inventory.free, BTreeMap::from([(1, u32::MAX)]));
    }

    #[test]
    fn machines_are_found_by_cluster_and_name_until_they_are_gone() {
        let mut inventory: Inventory = [
            record(1, "n/c", "b"),
            record(2, "n/c", "a"),
            record(3, "n/d", "a"),
            record(4, "n/c", "a"),
        ]
        .into_iter()
        .collect();
        let numbers = |found: Vec<&MachineRecord>| -> Vec<u32> {
            found.into_iter().map(|record| record.number).collect()
        };
        assert_eq!(numbers(inventory.of_cluster("n/c").collect()), [2, 4, 1]);
        assert_eq!(numbers(inventory.named("n/c", "a").collect()), [2, 4]);
        inventory.remove(2);
        inventory.remove(4);
        assert_eq!(inventory.named("n/c", "a").count(), 0);
        assert_eq!(numbers(inventory.of_cluster("n/c").collect()), [1]);
        assert_eq!(numbers(inventory.of_cluster("n/d").collect()), [3]);
        assert_eq!(numbers(inventory.iter().collect()), [1, 3]);
    }
}
