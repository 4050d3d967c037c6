//! Sets of fields: what a manager owns.

use std::borrow::Cow;
use std::cmp::Ordering;

use super::element::PathElement;
use crate::json::{Object, Value};

/// A set of fields of an object, as a tree in the order of its path elements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct FieldSet<'a> {
    nodes: Vec<Node<'a>>,
}

/// A step: whether the field itself is in the set, and which fields below it are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node<'a> {
    pub(crate) element: PathElement<'a>,
    pub(crate) member: bool,
    pub(crate) children: FieldSet<'a>,
}

impl Node<'_> {
    fn is_empty(&self) -> bool {
        !self.member && self.children.is_empty()
    }
}

impl<'a> FieldSet<'a> {
    /// Reads `fieldsV1`. `None` if it is none.
    pub(crate) fn read(fields: &'a Value<'_>) -> Option<Self> {
        let object = fields.as_object()?;
        let mut nodes = Vec::with_capacity(object.len());
        for (name, below) in object.iter() {
            if name == "." {
                continue;
            }
            let children = Self::read(below)?;
            let member = children.nodes.is_empty() || below.get(".").is_some();
            nodes.push(Node {
                element: PathElement::read(name)?,
                member,
                children,
            });
        }
        let mut set = Self { nodes };
        set.sort();
        Some(set)
    }

    /// The set as `fieldsV1`.
    pub(crate) fn to_value(&self) -> Value<'static> {
        let mut object = Object::with_capacity(self.nodes.len());
        for node in &self.nodes {
            object.push(node.element.text(), node.to_value());
        }
        Value::Object(object)
    }

    /// Writes the set as `fieldsV1`, whose own field is a member or not.
    pub(crate) fn write_to(&self, member: bool, out: &mut Vec<u8>) {
        out.push(b'{');
        if member && !self.nodes.is_empty() {
            out.extend_from_slice(b"\".\":{}");
        }
        for node in &self.nodes {
            if out.last() != Some(&b'{') {
                out.push(b',');
            }
            out.push(b'"');
            node.element.write_name(out);
            out.extend_from_slice(b"\":");
            node.children.write_to(node.member, out);
        }
        out.push(b'}');
    }

    /// The set of fields at these paths of member names.
    pub(crate) fn of_paths(paths: &[&[&'static str]]) -> FieldSet<'static> {
        let mut set = FieldSet::default();
        for path in paths {
            let mut below = &mut set;
            for (depth, name) in path.iter().enumerate() {
                let element = PathElement::Field(Cow::Borrowed(*name));
                let index = match below
                    .nodes
                    .binary_search_by(|node| node.element.cmp(&element))
                {
                    Ok(index) => index,
                    Err(index) => {
                        below.nodes.insert(
                            index,
                            Node {
                                element,
                                member: false,
                                children: FieldSet::default(),
                            },
                        );
                        index
                    }
                };
                below.nodes[index].member |= depth + 1 == path.len();
                below = &mut below.nodes[index].children;
            }
        }
        set
    }

    /// Adds a node; the caller sorts when it does not add in order.
    pub(crate) fn push(&mut self, element: PathElement<'a>, member: bool, children: FieldSet<'a>) {
        let node = Node {
            element,
            member,
            children,
        };
        if !node.is_empty() {
            self.nodes.push(node);
        }
    }

    pub(crate) fn sort(&mut self) {
        if self
            .nodes
            .is_sorted_by(|left, right| left.element <= right.element)
        {
            return;
        }
        self.nodes
            .sort_by(|left, right| left.element.cmp(&right.element));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.nodes.iter().all(Node::is_empty)
    }

    pub(crate) fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }

    pub(crate) fn get(&self, element: &PathElement<'_>) -> Option<&Node<'a>> {
        self.nodes
            .binary_search_by(|node| node.element.cmp(element))
            .ok()
            .map(|index| &self.nodes[index])
    }

    pub(crate) fn into_owned(self) -> FieldSet<'static> {
        FieldSet {
            nodes: self
                .nodes
                .into_iter()
                .map(|node| Node {
                    element: node.element.into_owned(),
                    member: node.member,
                    children: node.children.into_owned(),
                })
                .collect(),
        }
    }

    /// Both sets together.
    pub(crate) fn union(self, other: FieldSet<'a>) -> FieldSet<'a> {
        if self.nodes.is_empty() {
            return other;
        }
        let mut nodes = Vec::with_capacity(self.nodes.len() + other.nodes.len());
        let mut left = self.nodes.into_iter().peekable();
        let mut right = other.nodes.into_iter().peekable();
        loop {
            let order = match (left.peek(), right.peek()) {
                (None, None) => return FieldSet { nodes },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(left), Some(right)) => left.element.cmp(&right.element),
            };
            match order {
                Ordering::Less => nodes.extend(left.next()),
                Ordering::Greater => nodes.extend(right.next()),
                Ordering::Equal => {
                    if let (Some(left), Some(right)) = (left.next(), right.next()) {
                        nodes.push(Node {
                            element: left.element,
                            member: left.member || right.member,
                            children: left.children.union(right.children),
                        });
                    }
                }
            }
        }
    }

    fn pairwise(
        &self,
        other: &FieldSet<'_>,
        both: impl Fn(&Node<'a>, &Node<'_>) -> Node<'a>,
        keep_alone: bool,
    ) -> Self {
        let mut nodes = Vec::new();
        let mut others = other.nodes.iter().peekable();
        for node in &self.nodes {
            while others
                .next_if(|other| other.element < node.element)
                .is_some()
            {}
            match others.peek() {
                Some(other) if other.element == node.element => {
                    let node = both(node, other);
                    if !node.is_empty() {
                        nodes.push(node);
                    }
                }
                _ if keep_alone => nodes.push(node.clone()),
                _ => {}
            }
        }
        Self { nodes }
    }

    /// The fields that are in both sets.
    pub(crate) fn intersection(&self, other: &FieldSet<'_>) -> Self {
        let both = |left: &Node<'a>, right: &Node<'_>| Node {
            element: left.element.clone(),
            member: left.member && right.member,
            children: left.children.intersection(&right.children),
        };
        self.pairwise(other, both, false)
    }

    /// The fields that are in this set and not in the other. A field that stands in the other
    /// takes nothing below it away.
    pub(crate) fn difference(&self, other: &FieldSet<'_>) -> Self {
        let both = |left: &Node<'a>, right: &Node<'_>| Node {
            element: left.element.clone(),
            member: left.member && !right.member,
            children: left.children.difference(&right.children),
        };
        self.pairwise(other, both, true)
    }

    /// The fields that are in this set, and neither they nor one above them in the other.
    pub(crate) fn recursive_difference(&self, other: &FieldSet<'_>) -> Self {
        let both = |left: &Node<'a>, right: &Node<'_>| Node {
            element: left.element.clone(),
            member: left.member && !right.member,
            children: if right.member {
                FieldSet::default()
            } else {
                left.children.recursive_difference(&right.children)
            },
        };
        self.pairwise(other, both, true)
    }

    /// The set with every node changed; nodes that become empty go.
    pub(crate) fn map(self, mut change: impl FnMut(Node<'a>) -> Node<'a>) -> Self {
        Self {
            nodes: self
                .nodes
                .into_iter()
                .map(&mut change)
                .filter(|node| !node.is_empty())
                .collect(),
        }
    }

    /// The paths of the members, parents first.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect_paths("", &mut paths);
        paths
    }

    fn collect_paths(&self, prefix: &str, paths: &mut Vec<String>) {
        for node in self.nodes.iter().filter(|node| node.member) {
            paths.push(format!("{prefix}{}", node.element));
        }
        for node in &self.nodes {
            node.children
                .collect_paths(&format!("{prefix}{}", node.element), paths);
        }
    }
}

impl Node<'_> {
    fn to_value(&self) -> Value<'static> {
        let mut below = self.children.to_value();
        if self.member
            && !self.children.nodes.is_empty()
            && let Value::Object(object) = &mut below
        {
            let mut with_self = Object::with_capacity(object.len() + 1);
            with_self.push(".", Value::Object(Object::new()));
            for (name, value) in std::mem::take(object) {
                with_self.push(name, value);
            }
            return Value::Object(with_self);
        }
        below
    }
}
