//! Values as Go's formatting prints them, which messages and tables of the API show.

use super::Value;
use crate::schema::quote;

/// A value as Go's `%v` prints it.
pub(crate) struct Go<'v, 'a>(pub(crate) &'v Value<'a>);

impl Go<'_, '_> {
    /// The name of the type.
    pub(crate) const fn type_name(&self) -> &'static str {
        match self.0 {
            Value::Null => "<nil>",
            Value::Bool(_) => "bool",
            Value::Number(_) => "int64",
            Value::String(_) => "string",
            Value::Array(_) => "[]interface {}",
            Value::Object(_) => "map[string]interface {}",
        }
    }

    /// The value as source text: `%#v`.
    pub(crate) fn syntax(&self) -> String {
        match self.0 {
            Value::Null => "interface {}(nil)".to_owned(),
            Value::String(text) => quote(text),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| Go(item).syntax()).collect();
                format!("[]interface {{}}{{{}}}", items.join(", "))
            }
            Value::Object(object) => {
                let members: Vec<String> = object
                    .sorted()
                    .into_iter()
                    .map(|(name, member)| format!("{}:{}", quote(name), Go(member).syntax()))
                    .collect();
                format!("map[string]interface {{}}{{{}}}", members.join(", "))
            }
            scalar => scalar.to_string(),
        }
    }
}

impl std::fmt::Display for Go<'_, '_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Value::Null => formatter.write_str("<nil>"),
            Value::String(text) => formatter.write_str(text),
            Value::Array(items) => {
                let items: Vec<String> = items.iter().map(|item| Go(item).to_string()).collect();
                write!(formatter, "[{}]", items.join(" "))
            }
            Value::Object(object) => {
                let members: Vec<String> = object
                    .sorted()
                    .into_iter()
                    .map(|(name, member)| format!("{name}:{}", Go(member)))
                    .collect();
                write!(formatter, "map[{}]", members.join(" "))
            }
            scalar => write!(formatter, "{scalar}"),
        }
    }
}
