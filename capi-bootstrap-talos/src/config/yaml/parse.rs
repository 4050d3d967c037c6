//! Text into documents, as strict as Talos: a key twice is an error, an unknown alias is an
//! error; merge keys (`<<`) and anchors are resolved.

use std::borrow::Cow;
use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Span};

use super::{Entry, Mapping, Node, Scalar, YamlError};

/// Depth at which a text is refused: no machine configuration comes near it.
const MAX_DEPTH: usize = 128;
/// Nodes that aliases may copy in one text.
const MAX_ALIASED: usize = 100_000;

/// One document of a text.
#[derive(Clone, Debug)]
pub struct Document {
    /// Its value.
    pub node: Node,
    /// Line of its first value, from 1.
    pub line: usize,
}

/// What is open while the events come in.
enum Open {
    Sequence(Vec<Node>),
    Mapping {
        mapping: Mapping,
        /// A key whose value has not come yet.
        key: Option<(String, bool, usize)>,
        /// Values of `<<`.
        merges: Vec<Node>,
    },
}

struct Builder<'a> {
    text: &'a str,
    documents: Vec<Document>,
    stack: Vec<(Open, usize, usize)>,
    anchors: BTreeMap<usize, Node>,
    aliased: usize,
}

fn error(span: &Span, message: impl Into<String>) -> YamlError {
    YamlError {
        line: span.start.line(),
        column: span.start.col() + 1,
        message: message.into(),
    }
}

/// Reads all documents of a text; an empty document is null.
///
/// # Errors
/// [`YamlError`] with the place: not YAML, a key twice in one mapping, a key that is not a
/// scalar, a tag other than those of the core schema, or nesting beyond all reason.
pub fn parse(text: &str) -> Result<Vec<Document>, YamlError> {
    let mut builder = Builder {
        text,
        documents: Vec::new(),
        stack: Vec::new(),
        anchors: BTreeMap::new(),
        aliased: 0,
    };
    for next in Parser::new_from_str(text) {
        let (event, span) = next.map_err(|failure| YamlError {
            line: failure.marker().line(),
            column: failure.marker().col() + 1,
            message: failure.info(),
        })?;
        builder.event(event, &span)?;
    }
    Ok(builder.documents)
}

impl Builder<'_> {
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), YamlError> {
        match event {
            Event::DocumentStart(..) => self.anchors.clear(),
            Event::Scalar(text, style, anchor, tag) => {
                let text = self.without_invented_break(text, style, span);
                let mut plain = style == ScalarStyle::Plain;
                if let Some(tag) = tag {
                    plain = self.tagged(&tag, plain, span)?;
                }
                self.value(Node::Scalar(Scalar::new(text, plain)), anchor, span)?;
            }
            Event::SequenceStart(_, anchor, _) => {
                self.open(Open::Sequence(Vec::new()), anchor, span)?;
            }
            Event::MappingStart(_, anchor, _) => {
                let open = Open::Mapping {
                    mapping: Mapping::default(),
                    key: None,
                    merges: Vec::new(),
                };
                self.open(open, anchor, span)?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span)?,
            Event::Alias(anchor) => {
                let node =
                    self.anchors.get(&anchor).cloned().ok_or_else(|| {
                        error(span, "an alias may not stand inside its own anchor")
                    })?;
                self.aliased += size(&node);
                if self.aliased > MAX_ALIASED {
                    return Err(error(span, "aliases repeat too much"));
                }
                self.value(node, 0, span)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A block scalar that ends with the text, without a line break, has none either.
    fn without_invented_break<'b>(
        &self,
        scalar: Cow<'b, str>,
        style: ScalarStyle,
        span: &Span,
    ) -> Cow<'b, str> {
        let block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let at_end = span
            .byte_range()
            .is_some_and(|range| range.end >= self.text.len());
        if block && at_end && !self.text.ends_with('\n') {
            match scalar.strip_suffix('\n') {
                Some(stripped) => Cow::Owned(stripped.to_owned()),
                None => scalar,
            }
        } else {
            scalar
        }
    }

    /// Whether a tagged scalar is plain.
    fn tagged(
        &self,
        tag: &granit_parser::Tag,
        plain: bool,
        span: &Span,
    ) -> Result<bool, YamlError> {
        match tag.to_string().as_str() {
            "!!str" | "tag:yaml.org,2002:str" | "!" => Ok(false),
            "!!int"
            | "!!bool"
            | "!!float"
            | "!!null"
            | "tag:yaml.org,2002:int"
            | "tag:yaml.org,2002:bool"
            | "tag:yaml.org,2002:float"
            | "tag:yaml.org,2002:null" => Ok(true),
            other if other.starts_with("!!") || other.starts_with("tag:yaml.org,2002:") => {
                Err(error(span, format!("the tag {other} is not supported")))
            }
            // a tag of the writer's own does not change the value
            _ => Ok(plain),
        }
    }

    fn open(&mut self, open: Open, anchor: usize, span: &Span) -> Result<(), YamlError> {
        if self.stack.len() >= MAX_DEPTH {
            return Err(error(
                span,
                format!("nested deeper than {MAX_DEPTH} levels"),
            ));
        }
        if let Some((Open::Mapping { key: None, .. }, ..)) = self.stack.last() {
            return Err(error(span, "a key must be text"));
        }
        self.stack.push((open, anchor, span.start.line()));
        Ok(())
    }

    fn close(&mut self, span: &Span) -> Result<(), YamlError> {
        let Some((open, anchor, line)) = self.stack.pop() else {
            return Ok(());
        };
        let node = match open {
            Open::Sequence(items) => Node::Sequence(items),
            Open::Mapping {
                mut mapping,
                merges,
                ..
            } => {
                for merge in merges {
                    merge_keys(&mut mapping, merge, span)?;
                }
                Node::Mapping(mapping)
            }
        };
        self.finish(node, anchor, span, line)
    }

    fn value(&mut self, node: Node, anchor: usize, span: &Span) -> Result<(), YamlError> {
        self.finish(node, anchor, span, span.start.line())
    }

    fn finish(
        &mut self,
        node: Node,
        anchor: usize,
        span: &Span,
        line: usize,
    ) -> Result<(), YamlError> {
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut() {
            None => self.documents.push(Document { node, line }),
            Some((Open::Sequence(items), ..)) => items.push(node),
            Some((
                Open::Mapping {
                    mapping,
                    key,
                    merges,
                },
                ..,
            )) => match key.take() {
                None => {
                    let Node::Scalar(scalar) = node else {
                        return Err(error(span, "a key must be text"));
                    };
                    *key = Some((scalar.text().to_owned(), scalar.is_plain(), line));
                }
                Some((text, true, _)) if text == "<<" => merges.push(node),
                Some((text, _, line)) => {
                    if let Some(first) = mapping.iter().find(|entry| entry.key == text) {
                        return Err(YamlError {
                            line,
                            column: 1,
                            message: format!(
                                "the key {text:?} is already set on line {}",
                                first.line
                            ),
                        });
                    }
                    mapping.push(Entry {
                        key: text,
                        value: node,
                        line,
                    });
                }
            },
        }
        Ok(())
    }
}

/// Adds the keys of a `<<` value that are not set.
fn merge_keys(mapping: &mut Mapping, merge: Node, span: &Span) -> Result<(), YamlError> {
    match merge {
        Node::Mapping(other) => {
            for entry in other.into_entries() {
                if mapping.get(&entry.key).is_none() {
                    mapping.push(entry);
                }
            }
            Ok(())
        }
        Node::Sequence(items) => items
            .into_iter()
            .try_for_each(|item| merge_keys(mapping, item, span)),
        Node::Scalar(_) => Err(error(span, "the value of << must be a mapping")),
    }
}

fn size(node: &Node) -> usize {
    match node {
        Node::Scalar(_) => 1,
        Node::Sequence(items) => 1 + items.iter().map(size).sum::<usize>(),
        Node::Mapping(mapping) => {
            1 + mapping
                .iter()
                .map(|entry| size(&entry.value))
                .sum::<usize>()
        }
    }
}
