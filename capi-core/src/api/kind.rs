//! Objects with metadata: one macro that makes them a `kube_core::Resource`.

/// Defines the object of a kind: its struct, `KIND`, `new`, (de)serialisation and `kube_core::Resource`.
///
/// The spec and the status are plain serde structs with `Default` and `PartialEq`. An object that
/// names another `apiVersion` or `kind` is refused; one that names none is accepted, since items of
/// a list may leave them out. Spec and status are left
/// out while nothing is set in them.
///
/// The crate that uses the macro needs `serde`, `k8s-openapi` and `kube-core` as dependencies.
///
/// ```
/// use capi_core::api::KindInfo;
///
/// #[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
/// #[serde(rename_all = "camelCase", default)]
/// pub struct WidgetSpec {
///     size: i32,
/// }
///
/// const WIDGET: KindInfo = KindInfo {
///     group: "example.com",
///     version: "v1",
///     kind: "Widget",
///     plural: "widgets",
///     namespaced: true,
/// };
///
/// capi_core::object_kind! {
///     /// A widget.
///     pub struct Widget { spec: WidgetSpec } = WIDGET, namespaced
/// }
///
/// let widget = Widget::new("one", WidgetSpec { size: 1 });
/// let json = serde_json::to_value(&widget).unwrap();
/// assert_eq!(json["apiVersion"], "example.com/v1");
/// ```
#[macro_export]
macro_rules! object_kind {
    (@scope namespaced) => { ::k8s_openapi::NamespaceResourceScope };
    (@scope cluster) => { ::k8s_openapi::ClusterResourceScope };
    (
        $(#[$doc:meta])*
        pub struct $name:ident { spec: $spec:ty $(, status: $status:ty)? } = $info:expr, $scope:ident
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct $name {
            /// Name, labels, owners and whatever else every object has.
            pub metadata: ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
            /// What is wanted.
            pub spec: $spec,
            $(
                /// What was observed.
                pub status: $status,
            )?
        }

        impl $name {
            /// What an API server knows the kind by.
            pub const KIND: $crate::api::KindInfo = $info;

            /// An object of this name, with nothing else set.
            #[must_use]
            pub fn new(name: &str, spec: $spec) -> Self {
                Self {
                    metadata: ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                        name: Some(name.to_owned()),
                        ..Default::default()
                    },
                    spec,
                    $(status: <$status>::default(),)?
                }
            }
        }

        impl ::serde::Serialize for $name {
            fn serialize<S: ::serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use ::serde::ser::SerializeStruct as _;
                let mut object = serializer.serialize_struct(Self::KIND.kind, 5)?;
                object.serialize_field("apiVersion", &Self::KIND.api_version())?;
                object.serialize_field("kind", Self::KIND.kind)?;
                object.serialize_field("metadata", &self.metadata)?;
                if self.spec == <$spec>::default() {
                    object.skip_field("spec")?;
                } else {
                    object.serialize_field("spec", &self.spec)?;
                }
                $(
                    if self.status == <$status>::default() {
                        object.skip_field("status")?;
                    } else {
                        object.serialize_field("status", &self.status)?;
                    }
                )?
                object.end()
            }
        }

        impl<'de> ::serde::Deserialize<'de> for $name {
            fn deserialize<D: ::serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[derive(::serde::Deserialize)]
                #[serde(rename_all = "camelCase")]
                struct Wire {
                    #[serde(default)]
                    api_version: Option<String>,
                    #[serde(default)]
                    kind: Option<String>,
                    #[serde(default)]
                    metadata: ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
                    #[serde(default)]
                    spec: $spec,
                    $(
                        #[serde(default)]
                        status: $status,
                    )?
                }
                let wire = Wire::deserialize(deserializer)?;
                $name::KIND
                    .expect(wire.api_version.as_deref(), wire.kind.as_deref())
                    .map_err(::serde::de::Error::custom)?;
                Ok(Self {
                    metadata: wire.metadata,
                    spec: wire.spec,
                    $(status: { let status: $status = wire.status; status },)?
                })
            }
        }

        impl ::kube_core::Resource for $name {
            type DynamicType = ();
            type Scope = $crate::object_kind!(@scope $scope);

            fn kind((): &()) -> ::std::borrow::Cow<'_, str> {
                Self::KIND.kind.into()
            }
            fn group((): &()) -> ::std::borrow::Cow<'_, str> {
                Self::KIND.group.into()
            }
            fn version((): &()) -> ::std::borrow::Cow<'_, str> {
                Self::KIND.version.into()
            }
            fn plural((): &()) -> ::std::borrow::Cow<'_, str> {
                Self::KIND.plural.into()
            }
            fn meta(&self) -> &::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &self.metadata
            }
            fn meta_mut(&mut self) -> &mut ::k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
