//! What a machine would refuse, found before anything is written: the checks of Talos that
//! need no machine, for machines whose image is on the disk already (mode cloud).

mod cluster;
mod documents;
mod machine;

#[cfg(test)]
mod tests;

use super::yaml::{Mapping, Node};
use super::{ConfigError, Contract, MachineConfig};

/// Problems and warnings, as they are found.
#[derive(Default)]
struct Findings {
    problems: Vec<String>,
    warnings: Vec<String>,
}

impl Findings {
    fn problem(&mut self, message: impl Into<String>) {
        self.problems.push(message.into());
    }

    fn problem_if(&mut self, condition: bool, message: impl Into<String>) {
        if condition {
            self.problem(message);
        }
    }

    fn warning(&mut self, message: impl Into<String>) {
        self.warnings.push(message.into());
    }
}

impl MachineConfig {
    /// Checks what a node would check, and with a contract also that nothing newer than its
    /// Talos is used. The answer is what Talos accepts with a warning.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] with all problems, each naming its document or path.
    pub fn validate(&self, contract: Option<Contract>) -> Result<Vec<String>, ConfigError> {
        let mut findings = Findings::default();
        if let Some(contract) = contract {
            documents::of_contract(self, contract, &mut findings);
        }
        match self.v1alpha1() {
            Some(document) => {
                machine::check(self, document, &mut findings);
                documents::conflicts(self, document, &mut findings);
            }
            None => {
                findings.problem("machine and cluster are missing: there is no v1alpha1 document");
            }
        }
        documents::check(self, &mut findings);
        if findings.problems.is_empty() {
            Ok(findings.warnings)
        } else {
            Err(ConfigError::Invalid(findings.problems.join("; ")))
        }
    }
}

/// The value at a path, where it says something.
fn at<'a>(document: &'a Mapping, path: &[&str]) -> Option<&'a Node> {
    let (first, rest) = path.split_first()?;
    document.get(first)?.at(rest).filter(|node| !node.is_null())
}

fn text<'a>(document: &'a Mapping, path: &[&str]) -> &'a str {
    at(document, path)
        .and_then(Node::as_str)
        .unwrap_or_default()
}

fn is_true(document: &Mapping, path: &[&str]) -> bool {
    at(document, path).and_then(Node::as_bool) == Some(true)
}

fn items<'a>(document: &'a Mapping, path: &[&str]) -> &'a [Node] {
    at(document, path)
        .and_then(Node::as_sequence)
        .unwrap_or_default()
}

fn entries<'a>(document: &'a Mapping, path: &[&str]) -> impl Iterator<Item = (&'a str, &'a Node)> {
    at(document, path)
        .and_then(Node::as_mapping)
        .into_iter()
        .flat_map(Mapping::iter)
        .map(|entry| (entry.key.as_str(), &entry.value))
}

/// Whether a value is set at all: a list or mapping with content, or a scalar.
fn is_set(document: &Mapping, path: &[&str]) -> bool {
    match at(document, path) {
        None => false,
        Some(Node::Sequence(items)) => !items.is_empty(),
        Some(Node::Mapping(mapping)) => !mapping.is_empty(),
        Some(Node::Scalar(scalar)) => !scalar.text().is_empty(),
    }
}

/// A URL of the kind that Talos connects to: scheme, host, and a port that is a number.
fn is_endpoint(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[') {
        Some(inner) => match inner.split_once(']') {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => return false,
        },
        None => match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        },
    };
    !scheme.is_empty()
        && !host.is_empty()
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}
