//! Faults by plan: which calls go wrong, and how.

use std::time::Duration;

/// One entry of a plan.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Method, such as `POST`; any when absent.
    pub method: Option<http::Method>,
    /// Path below `/api2/json`, where `*` stands for any text.
    pub path: String,
    /// How many matching calls pass before.
    pub after: u32,
    /// How many calls it hits.
    pub times: u32,
    /// What happens.
    pub outcome: Outcome,
}

/// What happens to a call that is hit.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Outcome {
    /// It is answered with this status and text, and not carried out.
    Status(u16, String),
    /// The connection breaks before it is carried out.
    DropBefore,
    /// The connection breaks after it is carried out: the reply is lost.
    DropAfter,
    /// It takes longer.
    Delay(Duration),
    /// It is answered with a page of a load balancer.
    HtmlPage,
    /// Its answer is cut off.
    Truncated,
    /// The task that it begins fails with this text.
    TaskFails(String),
    /// The task that it begins ends with warnings.
    TaskWarns(u32),
    /// The task that it begins never ends.
    TaskHangs,
    /// The task that it begins is not in the node's list of tasks.
    TaskVanishes,
}

impl Fault {
    /// A fault that hits the first matching call.
    pub fn once(method: http::Method, path: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            method: Some(method),
            path: path.into(),
            after: 0,
            times: 1,
            outcome,
        }
    }

    /// A fault that hits each matching call.
    pub fn always(method: http::Method, path: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            times: u32::MAX,
            ..Self::once(method, path, outcome)
        }
    }

    /// The same, after `count` matching calls that pass.
    #[must_use]
    pub fn after(mut self, count: u32) -> Self {
        self.after = count;
        self
    }

    fn matches(&self, method: &http::Method, path: &str) -> bool {
        self.method
            .as_ref()
            .is_none_or(|expected| expected == method)
            && glob(&self.path, path)
    }
}

/// The plan.
#[derive(Debug, Default)]
pub(super) struct Plan(Vec<Fault>);

impl Plan {
    pub(super) fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What happens to this call, if anything.
    pub(super) fn take(&mut self, method: &http::Method, path: &str) -> Option<Outcome> {
        let fault = self
            .0
            .iter_mut()
            .filter(|fault| fault.times > 0)
            .find(|fault| fault.matches(method, path))?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        fault.times -= 1;
        Some(fault.outcome.clone())
    }
}

fn glob(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(index) => rest = &rest[index + part.len()..],
            None => return false,
        }
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("/nodes/*/qemu/*/clone", "/nodes/pve1/qemu/9000/clone", true),
            (
                "/nodes/*/qemu/*/clone",
                "/nodes/pve1/qemu/9000/config",
                false,
            ),
            ("/version", "/version", true),
            ("/version", "/versions", false),
            ("*", "/x", true),
            ("/a*a", "/a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_fault_hits_as_often_as_planned_after_those_that_pass() {
        let mut plan = Plan::default();
        plan.add(Fault::once(http::Method::GET, "/x", Outcome::HtmlPage).after(1));
        let hits: Vec<bool> = (0..4)
            .map(|_| plan.take(&http::Method::GET, "/x").is_some())
            .collect();
        assert_eq!(hits, [false, true, false, false]);
    }
}
