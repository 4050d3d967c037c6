//! Chooses the node and the template of a new virtual machine. Pure: facts in, placement out.
//!
//! A node is a candidate when it is allowed, online, and a template can get there; among the candidates the one with
//! the fewest machines of the same role wins, then the one with the most memory left. It never asks Proxmox VE for a
//! clone that cannot be: a template on local storage stays on its node.

use std::collections::BTreeSet;
use std::fmt;

use crate::api::{MatchPolicy, TemplateSelector};

/// A node as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name.
    pub name: String,
    /// Whether it answers.
    pub online: bool,
    /// Bytes of memory; 0 when the token may not see it.
    pub memory: u64,
    /// Bytes promised to guests, running or not, and to machines that are being made.
    pub promised: u64,
    /// Machines of the same cluster and role.
    pub same_role: u32,
}

/// A template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateFacts {
    /// Number.
    pub vmid: u64,
    /// Its node.
    pub node: String,
    /// Tags, lower case.
    pub tags: BTreeSet<String>,
    /// Bytes of memory.
    pub memory: u64,
    /// Whether its disks can be reached from other nodes. `None`: not known.
    pub shared: Option<bool>,
}

/// Which template is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateWish {
    /// This one.
    Id {
        /// Its number.
        vmid: u64,
        /// Where it is said to be.
        node: Option<String>,
    },
    /// One with these tags.
    Selector(TemplateSelector),
}

/// What a new machine asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which template.
    pub template: TemplateWish,
    /// Nodes that it may be on; where its template is when empty.
    pub allowed_nodes: Vec<String>,
    /// A single node that it must be on.
    pub failure_domain: Option<String>,
    /// Bytes of memory; the template's when absent.
    pub memory: Option<u64>,
    /// Percentage of a node's memory that may be promised; 0 does not count memory.
    pub memory_adjustment: u64,
}

/// Where a new machine goes, and from what it is cloned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// Its node.
    pub node: String,
    /// Its template.
    pub template: u64,
    /// The template's node.
    pub template_node: String,
    /// Bytes of memory that it will be promised.
    pub memory: u64,
}

/// Why a machine cannot be placed now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unplaceable {
    /// There is no such template.
    #[error("there is no VM template {0}")]
    NoTemplate(String),
    /// More than one template fits, and nothing says which.
    #[error("VM templates {0} fit alike; say more tags or use templateID")]
    Ambiguous(String),
    /// No allowed node is there and online.
    #[error("none of the allowed nodes is online: {0}")]
    NoNode(String),
    /// The templates are on local storage of nodes that are not allowed.
    #[error(
        "VM template {template} is on local storage of node {template_node}, and cannot be cloned to {nodes}"
    )]
    OutOfReach {
        /// A template that fits.
        template: u64,
        /// Its node.
        template_node: String,
        /// The nodes that are allowed.
        nodes: String,
    },
    /// No candidate has the memory.
    #[error("no node has {wanted} MiB of memory left; the most is {most} MiB, on {node}")]
    NoMemory {
        /// What is asked for.
        wanted: u64,
        /// The most that is left.
        most: u64,
        /// Where.
        node: String,
    },
}

/// Places one machine.
///
/// # Errors
/// [`Unplaceable`]; all of them may pass when the datacenter changes.
pub fn place(
    request: &Request,
    nodes: &[NodeFacts],
    templates: &[TemplateFacts],
) -> Result<Placement, Unplaceable> {
    let templates = fitting(&request.template, templates)?;
    let allowed: Vec<&str> = if request.allowed_nodes.is_empty() {
        let mut homes: Vec<&str> = templates
            .iter()
            .map(|template| template.node.as_str())
            .collect();
        homes.sort_unstable();
        homes.dedup();
        homes
    } else {
        request.allowed_nodes.iter().map(String::as_str).collect()
    };
    let wanted_domain = request.failure_domain.as_deref();
    let allowed: Vec<&str> = allowed
        .into_iter()
        .filter(|name| wanted_domain.is_none_or(|domain| domain == *name))
        .collect();
    let online: Vec<&NodeFacts> = nodes
        .iter()
        .filter(|node| node.online && allowed.contains(&node.name.as_str()))
        .collect();
    if online.is_empty() {
        let names = if allowed.is_empty() {
            wanted_domain.unwrap_or("(none)").to_owned()
        } else {
            allowed.join(", ")
        };
        return Err(Unplaceable::NoNode(names));
    }

    let mut candidates: Vec<Candidate<'_>> = Vec::new();
    for node in online {
        let Some(template) = template_for(node, &templates)? else {
            continue;
        };
        let wanted = request.memory.unwrap_or(template.memory);
        let left = match request.memory_adjustment {
            0 => u64::MAX,
            _ if node.memory == 0 => u64::MAX,
            percent => share(node.memory, percent).saturating_sub(node.promised),
        };
        candidates.push(Candidate {
            node,
            template,
            wanted,
            left,
        });
    }
    let Some(roomiest) = candidates
        .iter()
        .max_by_key(|candidate| (candidate.left, std::cmp::Reverse(&candidate.node.name)))
    else {
        let template = templates[0];
        return Err(Unplaceable::OutOfReach {
            template: template.vmid,
            template_node: template.node.clone(),
            nodes: allowed.join(", "),
        });
    };
    let best = candidates
        .iter()
        .filter(|candidate| candidate.left >= candidate.wanted)
        .min_by_key(|candidate| {
            (
                candidate.node.same_role,
                std::cmp::Reverse(candidate.left),
                &candidate.node.name,
            )
        });
    match best {
        Some(best) => Ok(Placement {
            node: best.node.name.clone(),
            template: best.template.vmid,
            template_node: best.template.node.clone(),
            memory: best.wanted,
        }),
        None => Err(Unplaceable::NoMemory {
            wanted: roomiest.wanted >> 20,
            most: roomiest.left >> 20,
            node: roomiest.node.name.clone(),
        }),
    }
}

/// `percent` of `bytes`.
fn share(bytes: u64, percent: u64) -> u64 {
    u64::try_from(u128::from(bytes) * u128::from(percent) / 100).unwrap_or(u64::MAX)
}

struct Candidate<'a> {
    node: &'a NodeFacts,
    template: &'a TemplateFacts,
    wanted: u64,
    left: u64,
}

/// The template for a node: its own, else one that it can reach.
fn template_for<'a>(
    node: &NodeFacts,
    templates: &[&'a TemplateFacts],
) -> Result<Option<&'a TemplateFacts>, Unplaceable> {
    let local: Vec<&&TemplateFacts> = templates
        .iter()
        .filter(|template| template.node == node.name)
        .collect();
    match local.as_slice() {
        [only] => return Ok(Some(**only)),
        [] => {}
        more => return Err(ambiguous(more.iter().map(|template| template.vmid))),
    }
    let reachable: Vec<&&TemplateFacts> = templates
        .iter()
        .filter(|template| template.shared == Some(true))
        .collect();
    match reachable.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(**only)),
        more => Err(ambiguous(more.iter().map(|template| template.vmid))),
    }
}

fn ambiguous(vmids: impl Iterator<Item = u64>) -> Unplaceable {
    let vmids: Vec<String> = vmids.map(|vmid| vmid.to_string()).collect();
    Unplaceable::Ambiguous(vmids.join(", "))
}

/// The templates that fit a wish; of those on one node, at most the policy's choice.
fn fitting<'a>(
    wish: &TemplateWish,
    templates: &'a [TemplateFacts],
) -> Result<Vec<&'a TemplateFacts>, Unplaceable> {
    let found: Vec<&TemplateFacts> = match wish {
        TemplateWish::Id { vmid, .. } => templates
            .iter()
            .filter(|template| template.vmid == *vmid)
            .collect(),
        TemplateWish::Selector(selector) => select(selector, templates),
    };
    if found.is_empty() {
        Err(Unplaceable::NoTemplate(wish.to_string()))
    } else {
        Ok(found)
    }
}

fn select<'a>(
    selector: &TemplateSelector,
    templates: &'a [TemplateFacts],
) -> Vec<&'a TemplateFacts> {
    let wanted: BTreeSet<String> = selector
        .match_tags
        .iter()
        .map(|tag| tag.trim().to_lowercase())
        .collect();
    let extra = |template: &TemplateFacts| template.tags.difference(&wanted).count();
    let mut found: Vec<&TemplateFacts> = templates
        .iter()
        .filter(|template| wanted.is_subset(&template.tags))
        .collect();
    match &selector.match_policy {
        Some(MatchPolicy::UniqueSubset) => {}
        Some(MatchPolicy::BestSubset) => {
            // The fewest others, node by node: each node may have a copy of its own.
            let fewest = |node: &str| {
                found
                    .iter()
                    .filter(|other| other.node == node)
                    .map(|other| extra(other))
                    .min()
            };
            let best: Vec<&TemplateFacts> = found
                .iter()
                .filter(|template| fewest(&template.node) == Some(extra(template)))
                .copied()
                .collect();
            found = best;
        }
        _ => found.retain(|template| extra(template) == 0),
    }
    found
}

impl fmt::Display for TemplateWish {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id {
                vmid,
                node: Some(node),
            } => write!(formatter, "{vmid} (templateID, said to be on node {node})"),
            Self::Id { vmid, node: None } => write!(formatter, "{vmid} (templateID)"),
            Self::Selector(selector) => {
                let policy = selector
                    .match_policy
                    .as_ref()
                    .map_or("exact", MatchPolicy::as_str);
                write!(
                    formatter,
                    "with the tags {} (templateSelector, {policy})",
                    selector.match_tags.join(", ")
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn node(name: &str, memory: u64, promised: u64, same_role: u32) -> NodeFacts {
        NodeFacts {
            name: name.into(),
            online: true,
            memory: memory * MIB,
            promised: promised * MIB,
            same_role,
        }
    }

    fn template(vmid: u64, node: &str, tags: &str) -> TemplateFacts {
        let tags = tags
            .split(' ')
            .filter(|tag| !tag.is_empty())
            .map(str::to_owned)
            .collect();
        TemplateFacts {
            vmid,
            node: node.into(),
            tags,
            memory: 8 * MIB,
            shared: Some(false),
        }
    }

    fn by_id(vmid: u64, allowed: &[&str]) -> Request {
        Request {
            template: TemplateWish::Id { vmid, node: None },
            allowed_nodes: allowed.iter().map(|name| (*name).to_owned()).collect(),
            failure_domain: None,
            memory: Some(8 * MIB),
            memory_adjustment: 100,
        }
    }

    fn by_tags(tags: &[&str], policy: MatchPolicy, allowed: &[&str]) -> Request {
        let selector = TemplateSelector {
            match_tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            match_policy: Some(policy),
        };
        Request {
            template: TemplateWish::Selector(selector),
            ..by_id(0, allowed)
        }
    }

    #[test]
    fn machines_spread_by_role_and_then_by_memory_until_none_is_left() {
        // Upstream's example: 20, 30 and 15 MiB, requests of 8.
        let shared = TemplateFacts {
            shared: Some(true),
            ..template(9000, "pve1", "")
        };
        let mut nodes = vec![
            node("pve1", 20, 0, 0),
            node("pve2", 30, 0, 0),
            node("pve3", 15, 0, 0),
        ];
        let mut sequence = Vec::new();
        loop {
            let placed = place(
                &by_id(9000, &["pve1", "pve2", "pve3"]),
                &nodes,
                std::slice::from_ref(&shared),
            );
            let Ok(placement) = placed else {
                assert!(
                    matches!(
                        placed,
                        Err(Unplaceable::NoMemory {
                            wanted: 8,
                            most: 7,
                            ..
                        })
                    ),
                    "{placed:?}"
                );
                break;
            };
            let node = nodes
                .iter_mut()
                .find(|node| node.name == placement.node)
                .unwrap();
            node.promised += 8 * MIB;
            node.same_role += 1;
            sequence.push(placement.node);
        }
        assert_eq!(sequence, ["pve2", "pve1", "pve3", "pve2", "pve1", "pve2"]);
    }

    #[test]
    fn the_adjustment_scales_a_nodes_memory_and_zero_ignores_it() {
        let templates = [template(9000, "pve1", "")];
        for (percent, promised, fits) in [
            (100, 93, false),
            (100, 92, true),
            (95, 88, false),
            (300, 292, true),
            (300, 293, false),
            (0, 10_000, true),
        ] {
            let request = Request {
                memory_adjustment: percent,
                ..by_id(9000, &[])
            };
            assert_eq!(
                place(&request, &[node("pve1", 100, promised, 0)], &templates).is_ok(),
                fits,
                "{percent} {promised}"
            );
        }
    }

    #[test]
    fn memory_of_the_template_counts_when_none_is_asked_for() {
        let templates = [TemplateFacts {
            memory: 64 * MIB,
            ..template(9000, "pve1", "")
        }];
        let request = Request {
            memory: None,
            ..by_id(9000, &[])
        };
        assert!(matches!(
            place(&request, &[node("pve1", 32, 0, 0)], &templates),
            Err(Unplaceable::NoMemory { wanted: 64, .. })
        ));
    }

    #[test]
    fn an_offline_node_is_left_out_and_not_an_error() {
        let templates = [template(9000, "pve1", "t"), template(9001, "pve2", "t")];
        let nodes = [
            NodeFacts {
                online: false,
                ..node("pve1", 100, 0, 0)
            },
            node("pve2", 100, 0, 3),
        ];
        let placement = place(
            &by_tags(&["t"], MatchPolicy::Exact, &["pve1", "pve2"]),
            &nodes,
            &templates,
        )
        .unwrap();
        assert_eq!(
            (placement.node.as_str(), placement.template),
            ("pve2", 9001)
        );
        let none = [NodeFacts {
            online: false,
            ..node("pve1", 100, 0, 0)
        }];
        assert!(matches!(
            place(&by_id(9000, &[]), &none, &templates),
            Err(Unplaceable::NoNode(_))
        ));
    }

    #[test]
    fn each_node_uses_its_own_template_of_the_same_tags() {
        let templates = [
            template(9000, "pve1", "talos v1"),
            template(9001, "pve2", "talos v1"),
        ];
        for (busy, expected) in [("pve1", 9001), ("pve2", 9000)] {
            let nodes = ["pve1", "pve2"].map(|name| node(name, 100, 0, u32::from(name == busy)));
            let request = by_tags(&["V1", "talos", "talos"], MatchPolicy::Exact, &[]);
            assert_eq!(
                place(&request, &nodes, &templates).unwrap().template,
                expected
            );
        }
    }

    #[test]
    fn a_template_on_local_storage_is_never_asked_to_another_node() {
        let templates = [template(9000, "pve1", "")];
        let nodes = [node("pve1", 100, 0, 0), node("pve2", 100, 0, 0)];
        let error = place(&by_id(9000, &["pve2"]), &nodes, &templates).unwrap_err();
        assert_eq!(
            error.to_string(),
            "VM template 9000 is on local storage of node pve1, and cannot be cloned to pve2"
        );
        assert_eq!(
            place(&by_id(9000, &["pve1", "pve2"]), &nodes, &templates)
                .unwrap()
                .node,
            "pve1"
        );
        let shared = [TemplateFacts {
            shared: Some(true),
            ..template(9000, "pve1", "")
        }];
        let placement = place(&by_id(9000, &["pve2"]), &nodes, &shared).unwrap();
        assert_eq!(
            (placement.node.as_str(), placement.template_node.as_str()),
            ("pve2", "pve1")
        );
    }

    #[test]
    fn policies_choose_among_the_tags_whatever_the_order_of_the_list() {
        let mut templates = vec![
            template(1, "n", "a"),
            template(2, "n", "a b"),
            template(3, "n", "a b c"),
        ];
        let nodes = [node("n", 100, 0, 0)];
        let rows = [
            (vec!["a"], MatchPolicy::Exact, Ok(1)),
            (vec!["b", "A"], MatchPolicy::Exact, Ok(2)),
            (
                vec!["b"],
                MatchPolicy::Exact,
                Err("there is no VM template with the tags b (templateSelector, exact)"),
            ),
            (vec!["c"], MatchPolicy::UniqueSubset, Ok(3)),
            (
                vec!["b"],
                MatchPolicy::UniqueSubset,
                Err("VM templates 2, 3 fit alike; say more tags or use templateID"),
            ),
            (vec!["b"], MatchPolicy::BestSubset, Ok(2)),
            (vec!["a"], MatchPolicy::BestSubset, Ok(1)),
        ];
        for _ in 0..3 {
            for (tags, policy, expected) in &rows {
                let mut sorted = templates.clone();
                sorted.sort_by_key(|template| template.vmid);
                let placed = place(&by_tags(tags, policy.clone(), &[]), &nodes, &templates)
                    .map(|placement| placement.template);
                match (placed, expected) {
                    (Ok(vmid), Ok(expected)) => assert_eq!(vmid, *expected, "{tags:?} {policy:?}"),
                    (Err(Unplaceable::Ambiguous(_)), Err(text)) => {
                        assert!(text.contains("fit alike"));
                    }
                    (Err(error), Err(text)) => assert_eq!(error.to_string(), *text),
                    (placed, _) => panic!("{tags:?} {policy:?}: {placed:?}"),
                }
            }
            templates.rotate_left(1);
        }
    }

    #[test]
    fn a_failure_domain_is_the_only_node() {
        let templates = [template(9000, "pve1", "t"), template(9001, "pve2", "t")];
        let nodes = [node("pve1", 100, 0, 0), node("pve2", 100, 0, 9)];
        let request = |domain: &str| Request {
            failure_domain: Some(domain.into()),
            ..by_tags(&["t"], MatchPolicy::Exact, &[])
        };
        assert_eq!(
            place(&request("pve2"), &nodes, &templates).unwrap().node,
            "pve2"
        );
        assert_eq!(
            place(&request("nowhere"), &nodes, &templates)
                .unwrap_err()
                .to_string(),
            "none of the allowed nodes is online: nowhere"
        );
    }

    #[test]
    fn three_control_planes_on_two_nodes_are_two_and_one() {
        let templates = [template(9000, "pve1", "t"), template(9001, "pve2", "t")];
        let mut nodes = [node("pve1", 100, 0, 0), node("pve2", 100, 0, 0)];
        for _ in 0..3 {
            let placement = place(
                &by_tags(&["t"], MatchPolicy::Exact, &[]),
                &nodes,
                &templates,
            )
            .unwrap();
            nodes
                .iter_mut()
                .find(|node| node.name == placement.node)
                .unwrap()
                .same_role += 1;
        }
        assert_eq!(nodes.map(|node| node.same_role), [2, 1]);
    }
}
