//! Reading YAML bodies into the same tree.

use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::{Number, Object, Value};

/// Text that is not YAML, or YAML that JSON cannot say.
#[derive(Debug, thiserror::Error)]
#[error("error converting YAML to JSON: {0}")]
pub struct YamlError(#[from] Box<serde_saphyr::Error>);

/// Reads one YAML document.
///
/// # Errors
/// [`YamlError`] when the text is not one YAML document, repeats a key, or holds a value that
/// JSON has not (not-a-number, a key that is no string).
pub fn parse_yaml(input: &[u8]) -> Result<Value<'static>, YamlError> {
    serde_saphyr::from_slice::<Value<'static>>(input).map_err(|error| YamlError(Box::new(error)))
}

impl<'de> Deserialize<'de> for Value<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Tree)
    }
}

struct Tree;

impl<'de> Visitor<'de> for Tree {
    type Value = Value<'static>;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value that JSON can say")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        match i64::try_from(number) {
            Ok(number) => Ok(Value::from(number)),
            #[allow(
                clippy::cast_precision_loss,
                reason = "numbers beyond 64 bits are floating point in the API"
            )]
            Err(_) => self.visit_f64(number as f64),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| E::custom("JSON has no such number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::from(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Self::Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = sequence.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut object = Object::new();
        while let Some((key, value)) = map.next_entry::<Value<'static>, Value<'static>>()? {
            let key = match key {
                Value::String(text) => text,
                Value::Number(number) => Cow::Owned(number.as_str().to_owned()),
                Value::Bool(truth) => Cow::Owned(truth.to_string()),
                _ => return Err(A::Error::custom("a key of an object must be a string")),
            };
            if object.insert(key.clone(), value).is_some() {
                return Err(A::Error::custom(format!("key {key:?} already set in map")));
            }
        }
        Ok(Value::Object(object))
    }
}
