//! What a request is about: the path of a URL as Kubernetes reads it.

use std::borrow::Cow;

/// A parsed path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// `/api/v1/...` or `/apis/GROUP/VERSION/...` with a resource.
    Resource(ResourcePath),
    /// Everything else: discovery, health, version, OpenAPI.
    Other,
}

/// The parts of a resource's path; empty strings are absent parts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: String,
    pub(crate) resource: String,
    pub(crate) name: String,
    pub(crate) subresource: String,
    /// The deprecated prefix `/watch/`.
    pub(crate) watch: bool,
}

/// Subresources of a namespace; other words after its name are resources inside it.
const NAMESPACE_SUBRESOURCES: [&str; 2] = ["status", "finalize"];

/// Reads a path. Never fails: what it does not know is [`Target::Other`].
pub(crate) fn parse(path: &str) -> Target {
    let mut parts = path
        .trim_matches('/')
        .split('/')
        .filter(|part| !part.is_empty())
        .peekable();
    let (group, version) = match (parts.next(), parts.next()) {
        (Some("api"), Some(version)) => ("", version),
        (Some("apis"), Some(group)) => match parts.next() {
            Some(version) => (group, version),
            None => return Target::Other,
        },
        _ => return Target::Other,
    };
    let mut info = ResourcePath {
        group: decode(group).into_owned(),
        version: decode(version).into_owned(),
        ..ResourcePath::default()
    };
    if parts.peek() == Some(&"watch") {
        info.watch = true;
        parts.next();
    }
    let Some(first) = parts.next() else {
        return Target::Other;
    };
    let resource = if first == "namespaces" {
        match (parts.next(), parts.peek().copied()) {
            (None, _) => first,
            (Some(namespace), None) => {
                info.name = decode(namespace).into_owned();
                info.namespace = info.name.clone();
                first
            }
            (Some(namespace), Some(next)) => {
                info.namespace = decode(namespace).into_owned();
                if NAMESPACE_SUBRESOURCES.contains(&next) && group.is_empty() {
                    info.name = info.namespace.clone();
                    info.resource = first.to_owned();
                    info.subresource = next.to_owned();
                    return Target::Resource(info);
                }
                parts.next();
                next
            }
        }
    } else {
        first
    };
    info.resource = decode(resource).into_owned();
    if info.name.is_empty() {
        if let Some(name) = parts.next() {
            info.name = decode(name).into_owned();
        }
        if let Some(subresource) = parts.next() {
            info.subresource = decode(subresource).into_owned();
        }
        for rest in parts {
            info.subresource.push('/');
            info.subresource.push_str(rest);
        }
    }
    Target::Resource(info)
}

/// Percent-decoding; invalid sequences stay as they are, invalid UTF-8 becomes the replacement sign.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains('%') {
        return Cow::Borrowed(text);
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = |index: usize| {
            bytes
                .get(index)
                .and_then(|byte| char::from(*byte).to_digit(16))
        };
        match (bytes[at], hex(at + 1), hex(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// The pairs of a query string, decoded, in order.
pub(crate) fn query(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        (plus(key), plus(value))
    })
}

fn plus(text: &str) -> Cow<'_, str> {
    if text.contains('+') {
        Cow::Owned(decode(&text.replace('+', " ")).into_owned())
    } else {
        decode(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resource(path: &str) -> ResourcePath {
        match parse(path) {
            Target::Resource(info) => info,
            Target::Other => panic!("{path} is a resource"),
        }
    }

    #[test]
    fn resources_are_read_in_and_out_of_namespaces() {
        let info = resource("/apis/cluster.x-k8s.io/v1beta2/namespaces/default/machines/a/status");
        assert_eq!(
            (info.group.as_str(), info.version.as_str()),
            ("cluster.x-k8s.io", "v1beta2")
        );
        assert_eq!(
            (info.namespace.as_str(), info.resource.as_str()),
            ("default", "machines")
        );
        assert_eq!(
            (info.name.as_str(), info.subresource.as_str()),
            ("a", "status")
        );
        let info = resource("/api/v1/pods");
        assert_eq!(
            (
                info.group.as_str(),
                info.resource.as_str(),
                info.namespace.as_str()
            ),
            ("", "pods", "")
        );
        let info = resource("/apis/g/v1/watch/namespaces/n/things");
        assert!(info.watch);
        assert_eq!(info.namespace, "n");
    }

    #[test]
    fn a_namespace_is_an_object_of_its_own() {
        let info = resource("/api/v1/namespaces/kube-system");
        assert_eq!(
            (info.resource.as_str(), info.name.as_str()),
            ("namespaces", "kube-system")
        );
        let info = resource("/api/v1/namespaces/a/finalize");
        assert_eq!(
            (
                info.resource.as_str(),
                info.name.as_str(),
                info.subresource.as_str()
            ),
            ("namespaces", "a", "finalize")
        );
    }

    #[test]
    fn discovery_is_not_a_resource() {
        for path in [
            "/",
            "/api",
            "/apis",
            "/apis/g",
            "/apis/g/v1",
            "/version",
            "/openapi/v3",
            "//",
            "/api/v1/",
        ] {
            assert_eq!(parse(path), Target::Other, "{path}");
        }
    }

    #[test]
    fn percent_signs_are_decoded_once_and_broken_ones_kept() {
        assert_eq!(decode("a%2Fb%25"), "a/b%");
        assert_eq!(decode("%zz%4"), "%zz%4");
        let pairs: Vec<_> = query("labelSelector=a%3Db&x=1+2&&y").collect();
        assert_eq!(pairs[0].1, "a=b");
        assert_eq!(pairs[1].1, "1 2");
        assert_eq!((pairs[2].0.as_ref(), pairs[2].1.as_ref()), ("y", ""));
    }
}
