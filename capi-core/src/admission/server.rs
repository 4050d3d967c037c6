//! Puts the kinds of Cluster API into an embedded API server: definitions, conversion, defaulting
//! and admission.

use std::sync::Arc;

use capi_apiserver::json::{self, Value};
use capi_apiserver::{AdmissionRequest, Builder, Cause, Status};
use serde_json::Value as Object;

use super::{Admission, FieldError, Objects};
use crate::api::KindInfo;
use crate::api::convert::{self, Conversion, ReferenceVersions};

/// Adds definitions to a server, with the conversions of their kinds; and defaulting and admission
/// of Cluster API's own kinds.
///
/// The definitions are all that the server serves, so that references in older versions name a
/// version that is there.
pub fn install(builder: Builder, definitions: Vec<Object>, conversions: &[Conversion]) -> Builder {
    install_with(builder, definitions, conversions, &[])
}

/// Adds definitions to a server like [`install`], and with them defaulting and admission of the
/// kinds of providers.
pub fn install_with(
    mut builder: Builder,
    definitions: Vec<Object>,
    conversions: &[Conversion],
    admissions: &[Admission],
) -> Builder {
    for definition in &definitions {
        builder = builder.crd(definition);
    }
    let references: Arc<dyn ReferenceVersions> = Arc::new(definitions);
    for conversion in conversions {
        let name = conversion.hub.definition_name();
        builder = builder.conversion(name, conversion.encoded(references.clone()));
    }
    for admission in super::admissions().iter().chain(admissions) {
        let conversion =
            convert::find(conversions, admission.kind.group, admission.kind.kind).copied();
        let hook = Hook {
            admission: *admission,
            conversion,
            references: references.clone(),
        };
        builder = builder.admission(admission.kind.definition_name(), hook);
    }
    builder
}

/// Defaulting and admission of a kind, for requests in any of its versions.
struct Hook {
    admission: Admission,
    conversion: Option<Conversion>,
    references: Arc<dyn ReferenceVersions>,
}

impl Hook {
    fn read(&self, value: &Value<'_>) -> Result<Object, Status> {
        let mut bytes = Vec::new();
        value.write_to(&mut bytes);
        let object = serde_json::from_slice(&bytes)
            .map_err(|error| Status::bad_request(error.to_string()))?;
        self.convert(object, &self.admission.kind.api_version())
    }

    fn convert(&self, object: Object, to: &str) -> Result<Object, Status> {
        match &self.conversion {
            Some(conversion) => conversion
                .convert(object, to, self.references.as_ref())
                .map_err(|error| Status::bad_request(error.to_string())),
            None => Ok(object),
        }
    }

    fn refuse(&self, request: &AdmissionRequest<'_>, errors: &[FieldError]) -> Status {
        let causes = errors
            .iter()
            .map(|error| Cause::new(error.kind.reason(), error.path.as_str(), error.cause()));
        Status::invalid(
            self.admission.kind.group,
            self.admission.kind.kind,
            request.name,
            causes.collect(),
        )
    }
}

impl capi_apiserver::Admission for Hook {
    fn concerns(&self, subresource: &str) -> bool {
        subresource.is_empty()
    }

    fn mutate(&self, request: &AdmissionRequest<'_>, object: &mut Value<'_>) -> Result<(), Status> {
        let before = self.read(object)?;
        let old = request.old.map(|old| self.read(old)).transpose()?;
        let mut after = before.clone();
        self.admission
            .default_object(&mut after, old.as_ref())
            .map_err(|error| self.refuse(request, &[error]))?;
        if before == after {
            return Ok(());
        }
        let after = self.convert(after, request.api_version)?.to_string();
        let document = json::parse(after.as_bytes()).map_err(Status::internal)?;
        *object = document.value.into_owned();
        Ok(())
    }

    fn validate(&self, request: &AdmissionRequest<'_>, object: &Value<'_>) -> Result<(), Status> {
        let object = self.read(object)?;
        let old = request.old.map(|old| self.read(old)).transpose()?;
        let others = Others(request);
        let verdict = if request.operation == capi_apiserver::Operation::Delete {
            self.admission.validate_deletion(&object, &others)
        } else {
            let old = self
                .admission
                .compared_with(&object, old.as_ref(), request.dry_run);
            self.admission.validate_among(&object, old, &others)
        };
        for warning in verdict.warnings {
            request.warn(warning);
        }
        if let Some(why) = verdict.refusal {
            return Err(Status::bad_request(why));
        }
        if verdict.errors.is_empty() {
            return Ok(());
        }
        Err(self.refuse(request, &verdict.errors))
    }
}

/// The objects of the server that asks.
struct Others<'r>(&'r AdmissionRequest<'r>);

impl Objects for Others<'_> {
    fn get(&self, kind: KindInfo, namespace: &str, name: &str) -> Option<Object> {
        let stored = self.0.object(&kind.definition_name(), namespace, name)?;
        serde_json::from_slice(&stored).ok()
    }

    fn list(&self, kind: KindInfo, namespace: &str) -> Vec<Object> {
        let stored = self.0.objects(&kind.definition_name(), namespace);
        stored
            .iter()
            .filter_map(|object| serde_json::from_slice(object).ok())
            .collect()
    }
}
