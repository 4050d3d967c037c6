//! Sets of IP addresses as disjoint ranges: their size costs nothing, their gaps do.

use std::{collections::BTreeMap, fmt, net::IpAddr, str::FromStr};

/// Addresses of one family from the first to the last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    v4: bool,
    first: u128,
    last: u128,
}

/// Why a text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address, range (first-last) or network (address/length): {why}")]
pub struct RangeSyntaxError {
    text: String,
    why: &'static str,
}

impl AddressRange {
    /// One address.
    #[must_use]
    pub fn single(address: IpAddr) -> Self {
        let (v4, bits) = to_bits(address);
        Self {
            v4,
            first: bits,
            last: bits,
        }
    }

    /// The network of `length` that an address is in; `None` when the family has no such length.
    #[must_use]
    pub fn network(address: IpAddr, length: u8) -> Option<Self> {
        let (v4, bits) = to_bits(address);
        let host = width(v4).checked_sub(u32::from(length))?;
        let mask = u128::MAX.checked_shl(host).unwrap_or(0);
        let all = if v4 { u128::from(u32::MAX) } else { u128::MAX };
        Some(Self {
            v4,
            first: bits & mask & all,
            last: (bits | !mask) & all,
        })
    }

    /// IPv4.
    #[must_use]
    pub fn is_v4(self) -> bool {
        self.v4
    }

    /// The lowest address.
    #[must_use]
    pub fn first(self) -> IpAddr {
        from_bits(self.v4, self.first)
    }

    /// The highest address.
    #[must_use]
    pub fn last(self) -> IpAddr {
        from_bits(self.v4, self.last)
    }

    /// Whether all of another range is in this one.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.v4 == other.v4 && self.first <= other.first && other.last <= self.last
    }

    /// Whether an address is in both ranges.
    #[must_use]
    pub fn meets(self, other: Self) -> bool {
        self.v4 == other.v4 && self.first <= other.last && other.first <= self.last
    }
}

impl FromStr for AddressRange {
    type Err = RangeSyntaxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why| RangeSyntaxError {
            text: text.to_owned(),
            why,
        };
        let address = |part: &str| {
            part.parse::<IpAddr>()
                .map_err(|_| wrong("not an IP address"))
        };
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (Self::single(address(first)?), Self::single(address(last)?));
            if first.v4 != last.v4 {
                return Err(wrong("the ends are of different families"));
            }
            if first.first > last.first {
                return Err(wrong("the first address is above the last"));
            }
            return Ok(Self {
                last: last.first,
                ..first
            });
        }
        let Some((base, length)) = text.split_once('/') else {
            return Ok(Self::single(address(text)?));
        };
        let digits = length.bytes().all(|byte| byte.is_ascii_digit());
        if !digits || length.is_empty() || (length.len() > 1 && length.starts_with('0')) {
            return Err(wrong("the prefix length is no plain number"));
        }
        let length: u8 = length
            .parse()
            .map_err(|_| wrong("the prefix is too long"))?;
        Self::network(address(base)?, length).ok_or_else(|| wrong("the prefix is too long"))
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first())
        } else {
            write!(f, "{}-{}", self.first(), self.last())
        }
    }
}

/// Disjoint ranges of one family, by their first address; neighbours are merged.
type Ranges = BTreeMap<u128, u128>;

/// A set of IP addresses of both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RangeSet {
    v4: Ranges,
    v6: Ranges,
}

impl RangeSet {
    /// Adds a range; parts that are in the set already do no harm.
    pub fn insert(&mut self, range: AddressRange) {
        let ranges = self.family_mut(range.v4);
        let (mut first, mut last) = (range.first, range.last);
        // Whatever overlaps or touches becomes part of one range.
        let from = ranges
            .range(..=first)
            .next_back()
            .filter(|(_, end)| end.checked_add(1).is_none_or(|after| after >= first))
            .map_or(first, |(start, _)| *start);
        let until = last.saturating_add(1);
        let touched: Vec<u128> = ranges
            .range(from..=until)
            .map(|(start, _)| *start)
            .collect();
        for start in touched {
            if let Some(end) = ranges.remove(&start) {
                first = first.min(start);
                last = last.max(end);
            }
        }
        ranges.insert(first, last);
    }

    /// Takes a range away; parts that are not in the set do no harm.
    pub fn remove(&mut self, range: AddressRange) {
        let ranges = self.family_mut(range.v4);
        let from = ranges
            .range(..=range.first)
            .next_back()
            .filter(|(_, end)| **end >= range.first)
            .map_or(range.first, |(start, _)| *start);
        let hit: Vec<u128> = ranges
            .range(from..=range.last)
            .map(|(start, _)| *start)
            .collect();
        for start in hit {
            let Some(end) = ranges.remove(&start) else {
                continue;
            };
            if start < range.first {
                ranges.insert(start, range.first - 1);
            }
            if end > range.last {
                ranges.insert(range.last + 1, end);
            }
        }
    }

    /// Whether an address is in the set.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (v4, bits) = to_bits(address);
        self.family(v4)
            .range(..=bits)
            .next_back()
            .is_some_and(|(_, end)| *end >= bits)
    }

    /// How many addresses are in the set; `u128::MAX` stands for all of IPv6, too.
    #[must_use]
    pub fn len(&self) -> u128 {
        let count = |ranges: &Ranges| {
            ranges.iter().fold(0u128, |sum, (first, last)| {
                sum.saturating_add((last - first).saturating_add(1))
            })
        };
        count(&self.v4).saturating_add(count(&self.v6))
    }

    /// Whether no address is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The lowest address, IPv4 before IPv6.
    #[must_use]
    pub fn first(&self) -> Option<IpAddr> {
        self.ranges().next().map(AddressRange::first)
    }

    /// Whether an address is in both: costs the ranges of the smaller set.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let (few, many) = if self.v4.len() + self.v6.len() <= other.v4.len() + other.v6.len() {
            (self, other)
        } else {
            (other, self)
        };
        few.ranges().any(|range| {
            many.family(range.v4)
                .range(..=range.last)
                .next_back()
                .is_some_and(|(_, end)| *end >= range.first)
        })
    }

    /// The lowest address of this set that is not in another: costs the ranges of both that lie
    /// below it.
    #[must_use]
    pub fn first_without(&self, other: &Self) -> Option<IpAddr> {
        self.ranges().find_map(|range| {
            let taken = other.family(range.v4);
            let mut candidate = range.first;
            // The range of the other set that holds the candidate, if any, ends where to go on.
            while let Some((_, end)) = taken
                .range(..=candidate)
                .next_back()
                .filter(|(_, end)| **end >= candidate)
            {
                candidate = end.checked_add(1)?;
                if candidate > range.last {
                    return None;
                }
            }
            Some(from_bits(range.v4, candidate))
        })
    }

    /// The ranges, IPv4 before IPv6, lowest first.
    pub fn ranges(&self) -> impl Iterator<Item = AddressRange> + '_ {
        let of = |v4| {
            move |(first, last): (&u128, &u128)| AddressRange {
                v4,
                first: *first,
                last: *last,
            }
        };
        self.v4
            .iter()
            .map(of(true))
            .chain(self.v6.iter().map(of(false)))
    }

    fn family(&self, v4: bool) -> &Ranges {
        if v4 { &self.v4 } else { &self.v6 }
    }

    fn family_mut(&mut self, v4: bool) -> &mut Ranges {
        if v4 { &mut self.v4 } else { &mut self.v6 }
    }
}

fn width(v4: bool) -> u32 {
    if v4 { 32 } else { 128 }
}

fn to_bits(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (true, u128::from(address.to_bits())),
        IpAddr::V6(address) => (false, address.to_bits()),
    }
}

fn from_bits(v4: bool, bits: u128) -> IpAddr {
    if v4 {
        // Ranges of IPv4 are made from 32 bits only.
        IpAddr::V4(std::net::Ipv4Addr::from_bits(
            u32::try_from(bits).unwrap_or(u32::MAX),
        ))
    } else {
        IpAddr::V6(std::net::Ipv6Addr::from_bits(bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn range(text: &str) -> AddressRange {
        text.parse().unwrap()
    }

    fn set(texts: &[&str]) -> RangeSet {
        let mut set = RangeSet::default();
        for text in texts {
            set.insert(range(text));
        }
        set
    }

    #[test]
    fn the_three_notations_are_read() {
        for (text, first, last) in [
            ("10.0.0.5", "10.0.0.5", "10.0.0.5"),
            ("10.0.0.5/24", "10.0.0.0", "10.0.0.255"),
            ("10.0.0.10-10.0.0.20", "10.0.0.10", "10.0.0.20"),
            ("0.0.0.0/0", "0.0.0.0", "255.255.255.255"),
            ("fe80::1/126", "fe80::", "fe80::3"),
            ("::/0", "::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
        ] {
            let range = range(text);
            assert_eq!(
                (range.first().to_string(), range.last().to_string()),
                (first.into(), last.into())
            );
        }
        assert!(
            !range("::ffff:10.0.0.1").is_v4(),
            "a mapped address stays IPv6"
        );
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "10.0.0.20-10.0.0.10",
            "10.0.0.1-fe80::1",
            "10.0.0.1 - 10.0.0.5",
            "10.0.0.0/33",
            "10.0.0.0/024",
            "010.0.0.1",
            "fe80::1%eth0",
            "fe80::1%eth0/64",
            "10.0.0.0/",
            "10.0.0.0/+8",
        ] {
            assert!(text.parse::<AddressRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn counts_are_exact_and_overlaps_count_once() {
        assert_eq!(set(&["192.168.1.1/24", "192.168.2.1/31"]).len(), 258);
        assert_eq!(
            set(&["10.0.0.0/24", "10.0.0.128/25", "10.0.0.7"]).len(),
            256
        );
        assert_eq!(set(&["::/0"]).len(), u128::MAX);
        assert_eq!(set(&["::/0", "0.0.0.0/0"]).len(), u128::MAX);
    }

    #[test]
    fn sets_overlap_when_an_address_is_in_both() {
        for (left, right, overlap) in [
            (&["10.0.0.0/24"][..], &["10.0.0.255"][..], true),
            (&["10.0.0.0/24"], &["10.0.1.0/24"], false),
            (&["10.0.0.1", "10.0.0.9"], &["10.0.0.2-10.0.0.8"], false),
            (&["10.0.0.1", "10.0.0.9"], &["10.0.0.2-10.0.0.9"], true),
            (&["::/0"], &["0.0.0.0/0"], false),
            (&[], &["::/0"], false),
        ] {
            let (left, right) = (set(left), set(right));
            assert_eq!(left.overlaps(&right), overlap, "{left:?} {right:?}");
            assert_eq!(right.overlaps(&left), overlap, "{right:?} {left:?}");
        }
    }

    #[test]
    fn the_ends_of_the_address_space_do_not_overflow() {
        let mut all = set(&["::/0"]);
        all.remove(range("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        all.insert(range("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"));
        assert_eq!(all, set(&["::/0"]));
        assert_eq!(set(&["::/0"]).first_without(&set(&["::/0"])), None);
        let free = set(&["0.0.0.0/0"]).first_without(&set(&["0.0.0.0-255.255.255.254"]));
        assert_eq!(free, Some("255.255.255.255".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn a_set_of_ranges_is_the_set_of_its_addresses(
            steps in prop::collection::vec((any::<bool>(), 0u8..64, 0u8..16), 0..24),
            taken in prop::collection::btree_set(0u8..64, 0..32),
        ) {
            let mut ranges = RangeSet::default();
            let mut model = BTreeSet::new();
            for (insert, first, more) in steps {
                let last = first.saturating_add(more);
                let range = range(&format!("10.0.0.{first}-10.0.0.{last}"));
                if insert {
                    ranges.insert(range);
                    model.extend(first..=last);
                } else {
                    ranges.remove(range);
                    model.retain(|address| *address < first || *address > last);
                }
            }
            prop_assert_eq!(ranges.len(), model.len() as u128);
            for address in 0u8..80 {
                let found = ranges.contains(format!("10.0.0.{address}").parse().unwrap());
                prop_assert_eq!(found, model.contains(&address));
            }
            let gaps = ranges.ranges().zip(ranges.ranges().skip(1)).all(|(a, b)| a.last + 1 < b.first);
            prop_assert!(gaps, "neighbours are merged");
            let mut used = RangeSet::default();
            for address in &taken {
                used.insert(range(&format!("10.0.0.{address}")));
            }
            let lowest = model.iter().find(|address| !taken.contains(address));
            let expected = lowest.map(|address| format!("10.0.0.{address}").parse().unwrap());
            prop_assert_eq!(ranges.first_without(&used), expected);
        }
    }
}
