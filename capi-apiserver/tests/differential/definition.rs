//! A custom resource made at random: names, bounds and values differ from run to run, the features
//! are always there.

use std::collections::BTreeMap;

use rand::{Rng, SeedableRng, rngs::StdRng};

pub(crate) struct Shape {
    group: String,
    plural: String,
    kind: String,
    text: String,
    number: String,
    least: i64,
    most: i64,
    preset: i64,
    list: String,
    key: String,
    either: String,
    free: String,
    choice: String,
    choices: [String; 3],
    low: String,
    high: String,
    fixed: String,
    count: String,
}

fn word(random: &mut StdRng, prefix: &str) -> String {
    let tail: String = (0..4)
        .map(|_| char::from(random.gen_range(b'a'..=b'z')))
        .collect();
    format!("{prefix}{tail}")
}

impl Shape {
    pub(crate) fn random(seed: u64) -> Self {
        let random = &mut StdRng::seed_from_u64(seed);
        let least = random.gen_range(-5..5);
        let most = least + random.gen_range(3..50);
        let stem = word(random, "z");
        let mut kind = stem.clone();
        kind[..1].make_ascii_uppercase();
        Self {
            group: format!("{}.example.com", word(random, "g")),
            plural: format!("{stem}s"),
            kind,
            text: word(random, "text"),
            number: word(random, "num"),
            least,
            most,
            preset: random.gen_range(least..=most),
            list: word(random, "list"),
            key: word(random, "key"),
            either: word(random, "either"),
            free: word(random, "free"),
            choice: word(random, "choice"),
            choices: [word(random, "a"), word(random, "b"), word(random, "c")],
            low: word(random, "low"),
            high: word(random, "high"),
            fixed: word(random, "fixed"),
            count: word(random, "count"),
        }
    }

    /// What steps write as `<name>`.
    pub(crate) fn values(&self) -> BTreeMap<String, String> {
        [
            ("group", self.group.clone()),
            ("plural", self.plural.clone()),
            ("kind", self.kind.clone()),
            ("crd", format!("{}.{}", self.plural, self.group)),
            (
                "api",
                format!("/apis/{}/v1/namespaces/default/{}", self.group, self.plural),
            ),
            ("text", self.text.clone()),
            ("number", self.number.clone()),
            ("least", self.least.to_string()),
            ("below", (self.least - 1).to_string()),
            ("most", self.most.to_string()),
            ("list", self.list.clone()),
            ("key", self.key.clone()),
            ("either", self.either.clone()),
            ("free", self.free.clone()),
            ("choice", self.choice.clone()),
            ("one", self.choices[0].clone()),
            ("two", self.choices[1].clone()),
            ("low", self.low.clone()),
            ("high", self.high.clone()),
            ("fixed", self.fixed.clone()),
            ("count", self.count.clone()),
            (
                "editor",
                format!("sed -i s/{0}/{1}/", self.choices[0], self.choices[1]),
            ),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
    }

    pub(crate) fn definition(&self) -> String {
        let Self {
            group,
            plural,
            kind,
            text,
            number,
            least,
            most,
            preset,
            list,
            key,
            either,
            free,
            choice,
            choices,
            low,
            high,
            fixed,
            count,
        } = self;
        let [one, two, three] = choices;
        let singular = kind.to_lowercase();
        format!(
            "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: {plural}.{group}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: {plural}, singular: {singular}, kind: {kind}, shortNames: [sn{singular}], categories: [cat{singular}]}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {{}}
      scale: {{specReplicasPath: .spec.{count}, statusReplicasPath: .status.{count}, labelSelectorPath: .status.selector}}
    selectableFields:
    - jsonPath: .spec.{choice}
    additionalPrinterColumns:
    - {{name: Number, type: integer, jsonPath: .spec.{number}}}
    - {{name: Choice, type: string, jsonPath: .spec.{choice}, priority: 1}}
    - {{name: Age, type: date, jsonPath: .metadata.creationTimestamp}}
    schema:
      openAPIV3Schema:
        description: A {kind} of this test.
        type: object
        required: [spec]
        properties:
          apiVersion: {{type: string}}
          kind: {{type: string}}
          metadata: {{type: object}}
          spec:
            description: What is wanted.
            type: object
            required: [{text}]
            x-kubernetes-validations:
            - rule: '!has(self.{low}) || !has(self.{high}) || self.{low} <= self.{high}'
              message: {low} must not exceed {high}
            properties:
              {text}: {{type: string, minLength: 1, maxLength: 20, pattern: '^[a-z0-9-]+$', description: Some text.}}
              {number}: {{type: integer, minimum: {least}, maximum: {most}, default: {preset}}}
              {low}: {{type: integer}}
              {high}: {{type: integer}}
              {count}: {{type: integer, minimum: 0}}
              {choice}: {{type: string, enum: [{one}, {two}, {three}]}}
              {either}: {{x-kubernetes-int-or-string: true, anyOf: [{{type: integer}}, {{type: string}}]}}
              {free}: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
              {fixed}:
                type: string
                x-kubernetes-validations:
                - {{rule: self == oldSelf, message: {fixed} is immutable}}
              {list}:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [{key}]
                items:
                  type: object
                  required: [{key}]
                  properties:
                    {key}: {{type: string}}
                    value: {{type: integer, default: 7}}
          status:
            type: object
            properties:
              {count}: {{type: integer}}
              selector: {{type: string}}
              phase: {{type: string}}
"
        )
    }
}
