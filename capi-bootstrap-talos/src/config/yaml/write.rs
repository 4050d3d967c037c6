//! Documents into text: block style, four spaces, lists indented, strings quoted wherever a
//! reader of YAML 1.1 or 1.2 would take them for something else.

use std::fmt::Write as _;

use super::resolve::needs_quotes;
use super::{Node, Scalar};

const INDENT: usize = 4;

/// Writes documents, separated by `---`.
pub fn write<'a>(documents: impl IntoIterator<Item = &'a Node>) -> String {
    let mut out = String::new();
    for (index, document) in documents.into_iter().enumerate() {
        if index > 0 {
            out.push_str("---\n");
        }
        block(&mut out, document, 0);
    }
    out
}

/// Writes a value that begins on a line of its own at `depth` columns.
fn block(out: &mut String, node: &Node, depth: usize) {
    match node {
        Node::Mapping(mapping) if !mapping.is_empty() => {
            for (index, entry) in mapping.iter().enumerate() {
                if index > 0 {
                    pad(out, depth);
                }
                scalar(out, &entry.key, needs_quotes(&entry.key), None);
                out.push(':');
                value(out, &entry.value, depth);
            }
        }
        Node::Sequence(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    pad(out, depth);
                }
                out.push('-');
                out.push(' ');
                block(out, item, depth + 2);
            }
        }
        _ => {
            inline(out, node, depth);
            out.push('\n');
        }
    }
}

/// The column of values below `depth`: the next multiple of four, as Go's writer chooses.
fn below(depth: usize) -> usize {
    (depth + INDENT) / INDENT * INDENT
}

/// Writes what follows `key:`.
fn value(out: &mut String, node: &Node, depth: usize) {
    match node {
        Node::Mapping(_) | Node::Sequence(_) if !is_empty(node) => {
            out.push('\n');
            pad(out, below(depth));
            block(out, node, below(depth));
        }
        _ => {
            out.push(' ');
            inline(out, node, below(depth));
            out.push('\n');
        }
    }
}

fn is_empty(node: &Node) -> bool {
    match node {
        Node::Mapping(mapping) => mapping.is_empty(),
        Node::Sequence(items) => items.is_empty(),
        Node::Scalar(_) => false,
    }
}

fn inline(out: &mut String, node: &Node, depth: usize) {
    match node {
        Node::Mapping(_) => out.push_str("{}"),
        Node::Sequence(_) => out.push_str("[]"),
        Node::Scalar(value) => {
            let quoted = !value.is_plain() && needs_quotes(value.text());
            let text = if value.is_plain() && value.text().is_empty() {
                "null"
            } else {
                value.text()
            };
            scalar(out, text, quoted, literal(value).then_some(depth));
        }
    }
}

/// Whether a text is best read, and safe to write, as a literal block.
fn literal(scalar: &Scalar) -> bool {
    let text = scalar.text();
    text.contains('\n')
        && !text.starts_with([' ', '\n', '\t'])
        && text
            .chars()
            .all(|c| c == '\n' || c == '\t' || is_printable(c))
        && text.lines().all(|line| !line.ends_with([' ', '\t']))
        && !text.trim_end_matches('\n').is_empty()
}

fn is_printable(c: char) -> bool {
    matches!(c, ' '..='~' | '\u{a0}'..='\u{2027}' | '\u{202a}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}' | '\u{10000}'..='\u{10ffff}')
}

fn scalar(out: &mut String, text: &str, quoted: bool, literal_depth: Option<usize>) {
    if let Some(depth) = literal_depth {
        out.push_str(match text.len() - text.trim_end_matches('\n').len() {
            0 => "|-",
            1 => "|",
            _ => "|+",
        });
        for line in text.trim_end_matches('\n').split('\n') {
            out.push('\n');
            if !line.is_empty() {
                pad(out, depth);
                out.push_str(line);
            }
        }
        for _ in 1..text.len() - text.trim_end_matches('\n').len() {
            out.push('\n');
        }
    } else if quoted || !is_plain_safe(text) {
        double_quoted(out, text);
    } else {
        out.push_str(text);
    }
}

/// Whether a text can stand without quotes in block context, which is all that is written.
fn is_plain_safe(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| "-?:,[]{}#&*!|>'\"%@` \t".contains(c))
        && !text.ends_with([' ', '\t', ':'])
        && !text.contains(": ")
        && !text.contains(" #")
        && text.chars().all(is_printable)
        || text.len() > 1
            && text.starts_with('-')
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "-.".contains(c))
            && !text.starts_with("---")
}

fn double_quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if is_printable(c) => out.push(c),
            c if u32::from(c) <= 0xff => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if u32::from(c) <= 0xffff => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
        }
    }
    out.push('"');
}

fn pad(out: &mut String, columns: usize) {
    out.extend(std::iter::repeat_n(' ', columns));
}
