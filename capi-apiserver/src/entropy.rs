//! Identities the server makes up: uids and the suffixes of `generateName`. From one seed they come
//! in the same order, so that a simulation is repeatable.

use std::sync::{Mutex, PoisonError};

use ring::rand::{SecureRandom, SystemRandom};

/// The alphabet of `generateName`: no vowels and no look-alikes.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX: usize = 5;

/// A seeded source (`SplitMix64`). Not for keys: those come from rcgen's own source.
#[derive(Debug)]
pub(crate) struct Entropy(Mutex<u64>);

impl Entropy {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// Seeded by the operating system.
    pub(crate) fn from_system() -> Self {
        let mut seed = [0; 8];
        if SystemRandom::new().fill(&mut seed).is_err() {
            // Without a system source the address of a fresh allocation still differs by process.
            seed = (std::ptr::from_ref(Box::leak(Box::new(0_u8))).addr() as u64).to_le_bytes();
        }
        Self::seeded(u64::from_le_bytes(seed))
    }

    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A version 4 UUID in its usual form.
    pub(crate) fn uid(&self) -> String {
        let (high, low) = (self.next(), self.next());
        let high = (high & !0xf000) | 0x4000;
        let low = (low & !(0b11 << 62)) | (0b10 << 62);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            (high >> 16) & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// The name that `generateName` becomes: at most 63 characters, five of them random.
    pub(crate) fn name(&self, base: &str) -> String {
        let mut end = base.len().min(63 - SUFFIX);
        while !base.is_char_boundary(end) {
            end -= 1;
        }
        let mut name = base[..end].to_owned();
        let mut random = self.next();
        for _ in 0..SUFFIX {
            name.push(char::from(ALPHABET[(random % 27) as usize]));
            random /= 27;
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_identities() {
        let (one, two) = (Entropy::seeded(7), Entropy::seeded(7));
        assert_eq!(one.uid(), two.uid());
        assert_eq!(one.name("machine-"), two.name("machine-"));
        assert_ne!(Entropy::seeded(8).uid(), Entropy::seeded(7).uid());
    }

    #[test]
    fn a_uid_is_a_version_four_uuid() {
        let uid = Entropy::seeded(1).uid();
        assert_eq!(uid.len(), 36);
        assert_eq!(&uid[14..15], "4");
        assert!(matches!(&uid[19..20], "8" | "9" | "a" | "b"), "{uid}");
    }

    #[test]
    fn a_generated_name_never_exceeds_a_label() {
        let name = Entropy::seeded(1).name(&"x".repeat(80));
        assert_eq!(name.len(), 63);
    }
}
