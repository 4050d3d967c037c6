//! What a provider answers when something went wrong.

use std::{borrow::Cow, fmt, time::Duration};

/// What an error says, and its causes where it does not say them itself.
#[must_use]
pub fn with_causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What the SDK does about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ErrorClass {
    /// May pass by itself: called again with exponential backoff.
    Transient,
    /// The object is wrong: not called again until its spec, or what it refers to, changes.
    Invalid,
    /// This machine can never work: needs remediation (a new machine).
    Terminal,
    /// Doing it would be unsafe (identity does not match, a foreign object is in the way): not
    /// done, called again slowly, a person has to look.
    Refused,
}

/// An error of a provider, with what to do about it.
///
/// Only input and output errors become one by `?`, as transient ones; every other error states
/// its class through a constructor.
#[derive(Debug)]
pub struct ProviderError {
    class: ErrorClass,
    reason: Cow<'static, str>,
    message: String,
    retry_after: Option<Duration>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ProviderError {
    /// An error of a class, with the reason (CamelCase) and message of the condition it becomes.
    pub fn new(
        class: ErrorClass,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            class,
            reason: reason.into(),
            message: message.into(),
            retry_after: None,
            source: None,
        }
    }

    /// May pass by itself.
    pub fn transient(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Transient, reason, message)
    }

    /// The object is wrong until its spec changes; name the field in the message.
    pub fn invalid(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Invalid, reason, message)
    }

    /// This machine can never work.
    pub fn terminal(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Terminal, reason, message)
    }

    /// Doing it would be unsafe.
    pub fn refused(reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorClass::Refused, reason, message)
    }

    /// The error beneath. Its text is not repeated in the message: a condition shows both.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Not to be called again before this time has passed (the machine API said so).
    #[must_use]
    pub fn retry_after(mut self, duration: Duration) -> Self {
        self.retry_after = Some(duration);
        self
    }

    /// What the SDK does about it.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// Reason of the condition.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The least time to wait before the next call, where the machine API gave one.
    #[must_use]
    pub fn wait_at_least(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The message with those of all sources, as a condition or log shows it.
    #[must_use]
    pub fn full_message(&self) -> String {
        let mut text = self.message.clone();
        let mut next = std::error::Error::source(self);
        while let Some(source) = next {
            text.push_str(": ");
            text.push_str(&source.to_string());
            next = source.source();
        }
        text
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ProviderError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl From<std::io::Error> for ProviderError {
    fn from(error: std::io::Error) -> Self {
        Self::transient("InputOutputFailed", "talking to the machine API failed").with_source(error)
    }
}
