//! Names: of machines and sets, and of label values that must stand for a name.

use base64_url::encode;
use serde::{Deserialize, Serialize};

/// Length of the random part of a name.
pub const RANDOM_LENGTH: usize = 5;
/// The longest name of a generated object.
pub const MAX_NAME_LENGTH: usize = 63;
/// What is kept of a name when a random part follows.
pub const MAX_BASE_LENGTH: usize = MAX_NAME_LENGTH - RANDOM_LENGTH;

/// Characters of random parts: none that form words or look alike.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// Where random parts of names come from. Given to a planner, so that the same facts and the same
/// seed give the same plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(u64);

impl Seed {
    /// A seed; draw it from a random source once per plan.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// The next random part, five characters.
    pub fn suffix(&mut self) -> String {
        let mut bits = self.next();
        (0..RANDOM_LENGTH)
            .map(|_| {
                let index = bits % ALPHABET.len() as u64;
                bits /= ALPHABET.len() as u64;
                char::from(ALPHABET[usize::try_from(index).unwrap_or_default()])
            })
            .collect()
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// `base` and five random characters, at most 63 together.
#[must_use]
pub fn with_suffix(base: &str, suffix: &str) -> String {
    format!("{}{suffix}", truncated(base, MAX_BASE_LENGTH))
}

fn truncated(text: &str, length: usize) -> &str {
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// A naming template that cannot be rendered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NamingError {
    /// A variable that does not exist.
    #[error("naming template {template:?}: unknown variable {variable:?}; known are {known}")]
    UnknownVariable {
        /// The template.
        template: String,
        /// The variable.
        variable: String,
        /// The variables there are.
        known: String,
    },
    /// Braces that do not close.
    #[error("naming template {template:?}: {{{{ without }}}}")]
    Unclosed {
        /// The template.
        template: String,
    },
}

/// The default template of machine names.
pub const MACHINE_NAME_TEMPLATE: &str = "{{ .machineSet.name }}-{{ .random }}";

/// Renders a naming template: `{{ .path }}` is replaced by the variable of that path. A result of
/// more than 63 characters is cut to 58 and gets a random part.
///
/// Variables are those of `variables` (`.cluster.name`) and `.random`.
///
/// # Errors
/// An unknown variable, or braces that do not close.
pub fn render(
    template: &str,
    variables: &[(&str, &str)],
    seed: &mut Seed,
) -> Result<String, NamingError> {
    let random = seed.suffix();
    let mut name = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inside, after) = after
            .split_once("}}")
            .ok_or_else(|| NamingError::Unclosed {
                template: template.to_owned(),
            })?;
        name.push_str(before);
        let variable = inside.trim();
        let value = if variable == ".random" {
            Some(random.as_str())
        } else {
            variables
                .iter()
                .find(|(path, _)| *path == variable)
                .map(|(_, value)| *value)
        };
        name.push_str(value.ok_or_else(|| {
            NamingError::UnknownVariable {
                template: template.to_owned(),
                variable: variable.to_owned(),
                known: variables
                    .iter()
                    .map(|(path, _)| *path)
                    .chain([".random"])
                    .collect::<Vec<_>>()
                    .join(", "),
            }
        })?);
        rest = after;
    }
    name.push_str(rest);
    if name.len() > MAX_NAME_LENGTH {
        name = with_suffix(&name, &seed.suffix());
    }
    Ok(name)
}

/// Name of a machine of a MachineSet; `template` is its naming template, if it has one.
///
/// # Errors
/// An unknown variable, or braces that do not close.
pub fn machine_name(
    template: Option<&str>,
    cluster: &str,
    machine_set: &str,
    seed: &mut Seed,
) -> Result<String, NamingError> {
    let variables = [
        (".cluster.name", cluster),
        (".machineSet.name", machine_set),
    ];
    render(template.unwrap_or(MACHINE_NAME_TEMPLATE), &variables, seed)
}

/// Name of a MachineSet of a MachineDeployment, and the random part of it.
#[must_use]
pub fn machine_set_name(machine_deployment: &str, seed: &mut Seed) -> (String, String) {
    let suffix = seed.suffix();
    (
        with_suffix(&format!("{machine_deployment}-"), &suffix),
        suffix,
    )
}

/// A name as a label value: itself when it is one, else a hash of it.
#[must_use]
pub fn label_value(name: &str) -> String {
    if is_label_value(name) {
        return name.to_owned();
    }
    format!("hash_{}_z", encode(&fnv32a(name.as_bytes()).to_be_bytes()))
}

/// Whether `value` can be a label value.
#[must_use]
pub fn is_label_value(value: &str) -> bool {
    let end = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = value.as_bytes();
    bytes.len() <= 63
        && end(bytes.first())
        && end(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// FNV-1a, 32 bits.
#[must_use]
pub fn fnv32a(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// base64 for URLs, without padding; so small that the planners need no crate for it.
mod base64_url {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    pub(super) fn encode(bytes: &[u8]) -> String {
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let mut group = [0_u8; 3];
            group[..chunk.len()].copy_from_slice(chunk);
            let bits = u32::from(group[0]) << 16 | u32::from(group[1]) << 8 | u32::from(group[2]);
            for place in 0..=chunk.len() {
                let digit = (bits >> (18 - 6 * place)) & 0x3f;
                text.push(char::from(DIGITS[digit as usize]));
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_template_and_never_exceed_63_characters() {
        let long = "x".repeat(70);
        for (template, set, expected) in [
            (None, "ms", "ms-?????"),
            (Some("{{ .cluster.name }}-{{.random}}-z"), "ms", "c-?????-z"),
            (Some("plain"), "ms", "plain"),
            (None, long.as_str(), &format!("{}?????", "x".repeat(58))),
        ] {
            let name = machine_name(template, "c", set, &mut Seed::new(7)).unwrap();
            let matches = name.len() == expected.len()
                && name.bytes().zip(expected.bytes()).all(|(n, e)| {
                    if e == b'?' {
                        ALPHABET.contains(&n)
                    } else {
                        n == e
                    }
                });
            assert!(matches, "{name} is no {expected}");
        }
        let (name, suffix) = machine_set_name(&long, &mut Seed::new(1));
        assert_eq!(name.len(), 63);
        assert!(name.ends_with(&suffix));
    }

    #[test]
    fn a_template_with_an_unknown_variable_or_open_braces_is_an_error() {
        let render = |t| machine_name(Some(t), "c", "m", &mut Seed::new(1));
        assert!(matches!(
            render("{{ .machine.name }}"),
            Err(NamingError::UnknownVariable { .. })
        ));
        assert!(matches!(
            render("a{{ .random"),
            Err(NamingError::Unclosed { .. })
        ));
    }

    #[test]
    fn the_same_seed_gives_the_same_names_and_the_next_draw_another() {
        let (mut a, mut b) = (Seed::new(42), Seed::new(42));
        let first = a.suffix();
        assert_eq!(first, b.suffix());
        assert_ne!(first, a.suffix());
    }

    #[test]
    fn a_name_that_is_no_label_value_becomes_a_hash_as_upstream_writes_it() {
        for (name, expected) in [
            ("a-b.c_d", "a-b.c_d"),
            ("", ""),
            (&"machineSetName".repeat(12), "hash_FR_ghQ_z"),
        ] {
            assert_eq!(label_value(name), expected, "{name}");
        }
        assert!(is_label_value(&label_value("-starts-wrong")));
    }

    #[test]
    fn base64_for_urls_has_no_padding() {
        assert_eq!(encode(b"\xff\xff\xff\xfb"), "____-w");
        assert_eq!(encode(b"ab"), "YWI");
        assert_eq!(fnv32a(b""), 0x811c_9dc5);
        assert_eq!(fnv32a(b"a"), 0xe40c_292c);
    }
}
