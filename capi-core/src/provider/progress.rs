//! What a provider answers when nothing went wrong.

use std::{borrow::Cow, time::Duration};

use super::StatusFields;

/// The answer of a provider's method: done, or waiting for something.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Progress<T> {
    /// The goal is reached; these are the facts.
    Ready(T),
    /// Not yet. The SDK shows why and calls again.
    Waiting(Wait),
}

/// What is waited for, in words and for the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// What is waited for, as a person would point at it: `Secret default/credentials`,
    /// `task UPID:...`. Shown by `explain`.
    pub on: String,
    /// Reason of the `Ready` condition: CamelCase, stable, for programs.
    pub reason: Cow<'static, str>,
    /// Message of the `Ready` condition: for people.
    pub message: String,
    /// When to call again.
    pub again: Again,
    /// Status fields of the provider's own that tell how far it is, written with the condition.
    pub status: StatusFields,
}

/// When a waiting provider wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// When something that the SDK watches changes (the object, its owners, a secret or claim
    /// that was read through the context), or the provider's [`Waker`](super::Waker) is called.
    /// A slow look all the same happens now and then, in case the event was lost outside.
    OnEvent,
    /// At the latest after this time, and on any event before.
    After(Duration),
}

impl<T> Progress<T> {
    /// Waiting until something that the SDK sees changes.
    pub fn waiting(
        on: impl Into<String>,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) -> Self {
        Self::Waiting(Wait {
            on: on.into(),
            reason: reason.into(),
            message: message.into(),
            again: Again::OnEvent,
            status: StatusFields::new(),
        })
    }

    /// The same, with a call again after `duration` at the latest. Nothing changes on `Ready`.
    pub fn after(mut self, duration: Duration) -> Self {
        if let Self::Waiting(wait) = &mut self {
            wait.again = Again::After(duration);
        }
        self
    }

    /// The same, with status fields of the provider's own. Nothing changes on `Ready`.
    pub fn with_status(mut self, fields: StatusFields) -> Self {
        if let Self::Waiting(wait) = &mut self {
            wait.status.extend(fields);
        }
        self
    }

    /// Turns the facts into others.
    pub fn map<U>(self, with: impl FnOnce(T) -> U) -> Progress<U> {
        match self {
            Self::Ready(facts) => Progress::Ready(with(facts)),
            Self::Waiting(wait) => Progress::Waiting(wait),
        }
    }

    /// The facts, when the goal is reached.
    pub fn ready(self) -> Option<T> {
        match self {
            Self::Ready(facts) => Some(facts),
            Self::Waiting(_) => None,
        }
    }
}

/// Continues with the facts of a [`Progress`], or returns the wait from the enclosing function.
///
/// ```
/// use capi_core::{provider::{Progress, ProviderError}, ready};
///
/// fn address() -> Progress<&'static str> {
///     Progress::waiting("task 1", "Starting", "the machine starts")
/// }
/// fn url() -> Result<Progress<String>, ProviderError> {
///     let address = ready!(address());
///     Ok(Progress::Ready(format!("https://{address}:6443")))
/// }
/// assert!(matches!(url(), Ok(Progress::Waiting(_))));
/// ```
#[macro_export]
macro_rules! ready {
    ($progress:expr) => {
        match $progress {
            $crate::provider::Progress::Ready(facts) => facts,
            $crate::provider::Progress::Waiting(wait) => {
                return Ok($crate::provider::Progress::Waiting(wait));
            }
        }
    };
}
