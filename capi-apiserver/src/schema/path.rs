//! Paths of fields, made on the stack while walking down and spelled only when there is
//! something to say about a field.

use std::fmt;

/// A field, as a chain of steps towards the root.
#[derive(Debug, Clone, Copy)]
pub struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    step: Step<'p>,
}

#[derive(Debug, Clone, Copy)]
enum Step<'p> {
    Root,
    /// `.name`
    Field(&'p str),
    /// `[key]`
    Key(&'p str),
    /// `[3]`
    Index(usize),
}

impl<'p> Path<'p> {
    /// The object itself.
    pub const ROOT: Path<'static> = Path {
        parent: None,
        step: Step::Root,
    };

    /// A path of one name.
    #[must_use]
    pub const fn new(name: &'p str) -> Self {
        Self {
            parent: None,
            step: Step::Field(name),
        }
    }

    /// The member `name` of what is here.
    #[must_use]
    pub const fn field(&'p self, name: &'p str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Field(name),
        }
    }

    /// The entry `key` of the map that is here.
    #[must_use]
    pub const fn key(&'p self, key: &'p str) -> Self {
        Self {
            parent: Some(self),
            step: Step::Key(key),
        }
    }

    /// The item `index` of the list that is here.
    #[must_use]
    pub const fn index(&'p self, index: usize) -> Self {
        Self {
            parent: Some(self),
            step: Step::Index(index),
        }
    }

    fn write(&self, out: &mut String) {
        if let Some(parent) = self.parent {
            parent.write(out);
        }
        match self.step {
            Step::Root => {}
            Step::Field(name) => {
                if !out.is_empty() {
                    out.push('.');
                }
                out.push_str(name);
            }
            Step::Key(key) => {
                out.push('[');
                out.push_str(key);
                out.push(']');
            }
            Step::Index(index) => out.push_str(&format!("[{index}]")),
        }
    }

    /// The path as dotted text, empty for the root.
    #[must_use]
    pub fn dotted(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }
}

/// The path as an error names it: `<nil>` for the root.
impl fmt::Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.dotted();
        formatter.write_str(if text.is_empty() { "<nil>" } else { &text })
    }
}
