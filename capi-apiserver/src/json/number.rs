//! JSON numbers as text, in the one spelling that Kubernetes answers with.

use std::borrow::Cow;

/// A number in the spelling in which the API answers it: an integer of 64 bits as digits, any
/// other number as the shortest text that reads back as the same 64 bit floating point number
/// (`1.0` is `1`, `1e2` is `100`).
#[derive(Debug, Clone)]
pub struct Number<'a>(Cow<'a, str>);

impl<'a> Number<'a> {
    /// Takes a number in JSON's grammar. `None` if it is too large for 64 bit floating point.
    pub(super) fn canonical(text: &'a str) -> Option<Self> {
        let is_integer = !text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
        if is_integer && text.len() < 19 && text != "-0" {
            return Some(Self(Cow::Borrowed(text)));
        }
        if is_integer && let Ok(number) = text.parse::<i64>() {
            return Some(Self::from(number));
        }
        let number = text.parse::<f64>().ok()?;
        number.is_finite().then(|| Self(Cow::Owned(spell(number))))
    }

    /// A finite floating point number; `None` for NaN and the infinities, which JSON has not.
    #[must_use]
    pub fn from_f64(number: f64) -> Option<Self> {
        number.is_finite().then(|| Self(Cow::Owned(spell(number))))
    }

    /// The text of the number.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The number as a 64 bit integer, if it is one without loss.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// The number as floating point.
    #[must_use]
    pub fn as_f64(&self) -> f64 {
        self.0.parse().unwrap_or(f64::MAX)
    }

    /// Whether the number has no fraction.
    #[must_use]
    pub fn is_integer(&self) -> bool {
        self.as_i64().is_some() || self.as_f64().fract() == 0.0
    }

    /// A copy that borrows nothing.
    #[must_use]
    pub fn into_owned(self) -> Number<'static> {
        Number(Cow::Owned(self.0.into_owned()))
    }
}

impl From<i64> for Number<'_> {
    fn from(number: i64) -> Self {
        Self(Cow::Owned(number.to_string()))
    }
}

/// Equal by value; the spelling is canonical, so equal text is enough.
impl PartialEq for Number<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// The shortest spelling of a finite number, with an exponent below 1e-6 and from 1e21.
fn spell(number: f64) -> String {
    let size = number.abs();
    if size == 0.0 {
        return "0".to_owned();
    }
    if (1e-6..1e21).contains(&size) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    match text.split_once('e') {
        Some((mantissa, exponent)) if !exponent.starts_with('-') => {
            format!("{mantissa}e+{exponent}")
        }
        _ => text,
    }
}
