//! A CustomResourceDefinition made at random, with objects that fit it and objects that do not.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde_json::{Value, json};

const WORDS: [&str; 24] = [
    "anchor", "basket", "candle", "dolphin", "ember", "feather", "garnet", "hammer", "island",
    "jasmine", "kettle", "lantern", "meadow", "needle", "orchid", "pebble", "quartz", "ribbon",
    "saddle", "timber", "umber", "velvet", "walnut", "yarrow",
];

/// The definition and the names of its fields.
pub(crate) struct Definition {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) short: String,
    pub(crate) manifest: Value,
    pub(crate) replicas: String,
    pub(crate) text: String,
    pub(crate) longest: usize,
    pub(crate) choice: String,
    pub(crate) choices: Vec<String>,
    pub(crate) defaulted: String,
    pub(crate) port: String,
    pub(crate) free: String,
    pub(crate) list: String,
    pub(crate) set: String,
    pub(crate) range: String,
    pub(crate) fixed: String,
    pub(crate) map: String,
    pub(crate) nested: String,
    /// A resource inside of the resource.
    pub(crate) inside: String,
    /// Fields of random types, each with a value that fits and one that does not.
    pub(crate) extra: Vec<(String, Value, Value)>,
}

impl Definition {
    pub(crate) fn generate(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut words = WORDS.to_vec();
        words.shuffle(&mut random);
        let mut words = words.into_iter();
        let mut word = || words.next().unwrap().to_owned();
        let singular = word();
        let plural = format!("{singular}s");
        let kind = format!("{}{}", singular[..1].to_uppercase(), &singular[1..]);
        let group = format!("{}.example.com", word());
        let short = singular[..3].to_owned();
        let choices: Vec<String> = ["Red", "Green", "Blue", "Grey"][..random.gen_range(2..=4)]
            .iter()
            .map(|c| (*c).to_owned())
            .collect();
        let longest = random.gen_range(5..12);
        let [
            replicas,
            text,
            choice,
            defaulted,
            port,
            free,
            list,
            set,
            range,
            fixed,
            map,
            nested,
            inside,
        ] = std::array::from_fn(|_| word());

        let mut properties = json!({
            &replicas: {"type": "integer", "format": "int32", "minimum": 0, "maximum": random.gen_range(20..99), "default": random.gen_range(1..5),
                "description": "How many."},
            &text: {"type": "string", "minLength": 2, "maxLength": longest, "pattern": "^[a-z][-a-z0-9]*$", "description": "Some text."},
            &choice: {"type": "string", "enum": choices},
            &defaulted: {"type": "string", "default": format!("default-{}", random.gen_range(0..100))},
            &port: {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
            &free: {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
            &list: {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "protocol"], "maxItems": 5,
                "items": {"type": "object", "required": ["name"], "properties": {
                    "name": {"type": "string"}, "protocol": {"type": "string", "default": "TCP"}, "value": {"type": "integer"}}}},
            &set: {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 8, "items": {"type": "string", "maxLength": 20}},
            &range: {"type": "object", "properties": {"low": {"type": "integer"}, "high": {"type": "integer"}},
                "x-kubernetes-validations": [
                    {"rule": "!has(self.low) || !has(self.high) || self.low <= self.high", "message": "low must not be above high"},
                    {"rule": "!has(self.high) || self.high < 1000",
                        "messageExpression": "self.high > 5000 ? 'far too high' : 'too high'", "fieldPath": ".high"}]},
            &fixed: {"type": "string", "maxLength": 20, "x-kubernetes-validations": [{"rule": "self == oldSelf", "message": "this never changes"}]},
            &map: {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0}, "maxProperties": 4},
            &nested: {"type": "object", "nullable": true, "properties": {
                "inner": {"type": "string", "default": "filled"}, "flag": {"type": "boolean"},
                "whole": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"x": {"type": "string"}, "y": {"type": "string"}}}}},
        });
        properties[&inside] = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
            "spec": {"type": "object", "properties": {"size": {"type": "integer", "default": random.gen_range(1..9)}}}}});
        match random.gen_range(0..3) {
            0 => {}
            1 => properties[&inside]["x-kubernetes-preserve-unknown-fields"] = json!(true),
            // Metadata may be restricted by its own schema, in name and generateName only.
            _ => {
                properties[&inside]["properties"]["metadata"] = json!({"type": "object", "properties": {
                    "name": {"type": "string", "maxLength": 9}}});
            }
        }
        let mut extra = Vec::new();
        for _ in 0..random.gen_range(2..=5) {
            let name = word();
            let (schema, good, bad) = match random.gen_range(0..8) {
                0 => (
                    json!({"type": "string", "format": "date-time"}),
                    json!("2024-05-06T07:08:09Z"),
                    json!("yesterday"),
                ),
                1 => (
                    json!({"type": "number", "multipleOf": 0.5}),
                    json!(2.5),
                    json!(2.3),
                ),
                2 => (json!({"type": "boolean"}), json!(true), json!("true")),
                3 => (
                    json!({"type": "string", "format": "ipv4"}),
                    json!("10.0.0.1"),
                    json!("10.0.0"),
                ),
                4 => (
                    json!({"type": "integer", "format": "int32", "exclusiveMaximum": true, "maximum": 10}),
                    json!(9),
                    json!(10),
                ),
                5 => (
                    json!({"type": "array", "items": {"type": "integer"}, "minItems": 1, "maxItems": 3}),
                    json!([1, 2]),
                    json!([]),
                ),
                6 => (
                    json!({"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                        "oneOf": [{"required": ["a"]}, {"required": ["b"]}]}),
                    json!({"a": "1"}),
                    json!({"a": "1", "b": "2"}),
                ),
                _ => (
                    json!({"type": "string", "format": "uuid"}),
                    json!("123e4567-e89b-12d3-a456-426614174000"),
                    json!("123"),
                ),
            };
            properties[&name] = schema;
            extra.push((name, good, bad));
        }
        let mut columns = vec![
            json!({"name": "Replicas", "type": "integer", "jsonPath": format!(".spec.{replicas}")}),
            json!({"name": "Choice", "type": "string", "jsonPath": format!(".spec.{choice}"), "description": "The choice."}),
            json!({"name": "Phase", "type": "string", "jsonPath": ".status.phase"}),
            json!({"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"}),
            json!({"name": "Port", "type": "string", "jsonPath": format!(".spec.{port}"), "priority": 1}),
            json!({"name": "Set", "type": "string", "jsonPath": format!(".spec.{set}"), "priority": 1}),
        ];
        columns.shuffle(&mut random);
        columns.truncate(random.gen_range(3..=6));
        columns.push(
            json!({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}),
        );
        let conditions = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
            "items": {"type": "object", "required": ["type", "status"], "properties": {
                "type": {"type": "string"}, "status": {"type": "string"}, "reason": {"type": "string"}}}});
        let schema = json!({"type": "object", "description": format!("A {singular}."), "required": ["spec"], "properties": {
            "spec": {"type": "object", "description": "What is wanted.", "required": [text], "properties": properties},
            "status": {"type": "object", "description": "What is there.", "properties": {
                "phase": {"type": "string"}, "replicas": {"type": "integer"}, "selector": {"type": "string"},
                "conditions": conditions}}}});
        let manifest = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.{group}")},
            "spec": {
                "group": group, "scope": "Namespaced",
                "names": {"kind": kind, "plural": plural, "singular": singular, "shortNames": [short], "categories": ["things"]},
                "versions": [{
                    "name": "v1", "served": true, "storage": true,
                    "additionalPrinterColumns": columns,
                    "subresources": {"status": {}, "scale": {"specReplicasPath": format!(".spec.{replicas}"),
                        "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
                    "schema": {"openAPIV3Schema": schema},
                }],
            },
        });
        Self {
            group,
            kind,

            plural,
            short,
            manifest,
            replicas,
            text,
            longest,
            choice,
            choices,
            defaulted,
            port,
            free,
            list,
            set,
            range,
            fixed,
            map,
            nested,
            inside,
            extra,
        }
    }

    pub(crate) fn api_version(&self) -> String {
        format!("{}/v1", self.group)
    }

    /// `plural.group`, by which kubectl names the resource without doubt.
    pub(crate) fn resource(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// The path of the collection in a namespace.
    pub(crate) fn path(&self, namespace: &str) -> String {
        format!(
            "/apis/{}/v1/namespaces/{namespace}/{}",
            self.group, self.plural
        )
    }

    /// An object with a spec.
    #[allow(clippy::needless_pass_by_value, reason = "specs are made in place")]
    pub(crate) fn object(&self, name: &str, spec: Value) -> Value {
        json!({"apiVersion": self.api_version(), "kind": self.kind, "metadata": {"name": name}, "spec": spec})
    }

    /// The least spec that is valid.
    pub(crate) fn least(&self) -> Value {
        json!({&self.text: "text"})
    }

    /// A resource inside of a resource.
    pub(crate) fn resource_inside() -> Value {
        json!({"apiVersion": "example.com/v1", "kind": "Inner",
            "metadata": {"name": "inner", "labels": {"a": "b"}, "annotations": {"note": "kept"}}, "spec": {}})
    }

    /// A spec with every field.
    pub(crate) fn full(&self) -> Value {
        let mut spec = json!({
            &self.text: "text", &self.choice: self.choices[0], &self.port: "50%",
            &self.free: {"any": {"thing": [1, "two", {"three": null}]}},
            &self.list: [{"name": "a", "value": 1}, {"name": "b", "protocol": "UDP"}],
            &self.set: ["x", "y"], &self.range: {"low": 1, "high": 2}, &self.fixed: "once", &self.map: {"k": 1},
            &self.nested: {"flag": true, "whole": {"x": "1", "y": "2"}},
            &self.inside: Self::resource_inside(),
        });
        for (name, good, _) in &self.extra {
            spec[name] = good.clone();
        }
        spec
    }
}
