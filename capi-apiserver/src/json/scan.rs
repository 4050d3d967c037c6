//! Finding the end of plain text, eight bytes at a time.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A word whose bytes with the highest bit are those of `word` that are `byte`; the lowest of them
/// is exact.
const fn equal(word: u64, byte: u8) -> u64 {
    let difference = word ^ (LOW * byte as u64);
    difference.wrapping_sub(LOW) & !difference & HIGH
}

/// How many bytes there are before the first that ends a JSON string or must be escaped in one: a
/// quote, a backslash or a control character.
pub(crate) fn plain(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut at = 0;
    for word in words {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(LOW * 0x20) & !word & HIGH;
        let found = control | equal(word, b'"') | equal(word, b'\\');
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
    at + end.unwrap_or(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_text_ends_at_the_first_byte_that_means_something() {
        for (index, text) in [
            "",
            "a",
            "abcdefgh",
            "abcdefghij",
            "\u{e9}\u{7f} \u{20ac}abcdefgh",
        ]
        .iter()
        .enumerate()
        {
            assert_eq!(plain(text.as_bytes()), text.len(), "{index}");
            for end in ['"', '\\', '\n', '\0', '\u{1f}'] {
                for after in ["", "x", "0123456789", "\"\"\"\"\"\"\"\""] {
                    let whole = format!("{text}{end}{after}");
                    assert_eq!(plain(whole.as_bytes()), text.len(), "{whole:?}");
                }
            }
        }
    }
}
