//! What a client accepts: JSON or YAML; whole objects, metadata only, or a table.

/// The form of objects in a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Form {
    #[default]
    Object,
    /// `PartialObjectMetadata` and its list.
    Metadata,
    /// `Table`, printed columns; whether rows carry the object, its metadata, or nothing is an
    /// option of the request.
    Table,
}

/// The answer of a negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Accept {
    pub(crate) form: Form,
    pub(crate) yaml: bool,
}

/// Chooses the first clause of an `Accept` header that the server can serve; `None` if there is
/// none. An empty header accepts everything.
pub(crate) fn negotiate(header: &str) -> Option<Accept> {
    if header.trim().is_empty() {
        return Some(Accept::default());
    }
    header.split(',').find_map(clause)
}

fn clause(text: &str) -> Option<Accept> {
    let mut parts = text.split(';').map(str::trim);
    let yaml = match parts.next()? {
        "application/json" | "*/*" | "application/*" => false,
        "application/yaml" => true,
        _ => return None,
    };
    let (mut kind, mut group, mut version) = ("", "", "");
    for part in parts {
        match part.split_once('=') {
            Some(("as", value)) => kind = value,
            Some(("g", value)) => group = value,
            Some(("v", value)) => version = value,
            _ => {}
        }
    }
    let form = match kind {
        "" | "Status" => Form::Object,
        "Table" if group == "meta.k8s.io" && matches!(version, "v1" | "v1beta1") => Form::Table,
        "PartialObjectMetadata" | "PartialObjectMetadataList"
            if group == "meta.k8s.io" && matches!(version, "v1" | "v1beta1") =>
        {
            Form::Metadata
        }
        // Discovery documents are negotiated by their own code.
        "APIGroupDiscoveryList" => Form::Object,
        _ => return None,
    };
    Some(Accept { form, yaml })
}

/// The version of aggregated discovery that the client accepts, if it does.
pub(crate) fn aggregated_discovery(header: &str) -> Option<&'static str> {
    header.split(',').find_map(|text| {
        let has = |what: &str| text.split(';').any(|part| part.trim() == what);
        if !has("as=APIGroupDiscoveryList") || !has("g=apidiscovery.k8s.io") {
            return None;
        }
        if has("v=v2") {
            Some("v2")
        } else if has("v=v2beta1") {
            Some("v2beta1")
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_clause_that_can_be_served_wins() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(
            negotiate(kubectl),
            Some(Accept {
                form: Form::Table,
                yaml: false
            })
        );
        assert_eq!(
            negotiate("application/vnd.kubernetes.protobuf,application/json"),
            Some(Accept::default())
        );
        assert_eq!(
            negotiate("application/yaml"),
            Some(Accept {
                form: Form::Object,
                yaml: true
            })
        );
        assert_eq!(
            negotiate("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1")
                .map(|a| a.form),
            Some(Form::Metadata)
        );
        assert_eq!(negotiate("*/*"), Some(Accept::default()));
        assert_eq!(negotiate(""), Some(Accept::default()));
        assert_eq!(negotiate("text/html"), None);
    }

    #[test]
    fn aggregated_discovery_is_asked_for_by_name() {
        let kubectl =
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(aggregated_discovery(kubectl), Some("v2"));
        assert_eq!(aggregated_discovery("application/json"), None);
    }
}
