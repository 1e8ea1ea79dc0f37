//! docs/result.schema.json, and the places of a JSON object in it.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// The schema.
pub(super) struct Schema {
    root: Value,
    validator: jsonschema::Validator,
}

/// A property of the schema, as it was found in objects.
#[derive(Debug, Default)]
pub(super) struct Property {
    /// Whether the schema allows null.
    pub(super) may_be_null: bool,
    /// It was null.
    pub(super) was_null: bool,
    /// It was a number, a truth value or a text that is not empty.
    pub(super) was_known: bool,
    /// It was an empty text, list or object.
    pub(super) was_empty: bool,
}

/// Properties by `definition/name`; the values of a map share the name `*`.
pub(super) type Properties = BTreeMap<String, Property>;

impl Schema {
    pub(super) fn read() -> Self {
        let text = include_str!("../../../docs/result.schema.json");
        let root = serde_json::from_str(text).expect("JSON");
        let validator = jsonschema::draft202012::new(&root).expect("a schema of draft 2020-12");
        Self { root, validator }
    }

    pub(super) fn definitions(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.root["$defs"].as_object().expect("definitions").iter()
    }

    pub(super) fn is_valid(&self, object: &Value) -> bool {
        self.validator.is_valid(object)
    }

    /// Notes every property of an object of `definition`.
    ///
    /// Panics when a key of the object is not in the schema.
    pub(super) fn note(&self, definition: &str, object: &Value, found: &mut Properties) {
        let at = Place {
            name: definition.into(),
            schema: &self.root["$defs"][definition],
        };
        self.walk(&at, object, found);
    }

    fn walk(&self, at: &Place<'_>, value: &Value, found: &mut Properties) {
        match value {
            Value::Object(object) => {
                let at = &self.chosen(at, object);
                for (key, child) in object {
                    let place = self.property(at, key);
                    let place = place.unwrap_or_else(|| panic!("no {key} in {}", at.name));
                    let property = found.entry(place.name.clone()).or_default();
                    property.may_be_null = self.allows_null(place.schema);
                    match child {
                        Value::Null => property.was_null = true,
                        Value::Number(_) | Value::Bool(_) => property.was_known = true,
                        Value::String(text) if !text.is_empty() => property.was_known = true,
                        Value::Array(items) if !items.is_empty() => {}
                        Value::Object(fields) if !fields.is_empty() => {}
                        _ => property.was_empty = true,
                    }
                    self.walk(&place, child, found);
                }
            }
            Value::Array(items) => {
                let place = Place {
                    name: at.name.clone(),
                    schema: &self.resolved(at).schema["items"],
                };
                items.iter().for_each(|item| self.walk(&place, item, found));
            }
            _ => {}
        }
    }

    /// The alternative that a constant key of the object names, as the shape of a profile; else
    /// `at`.
    fn chosen<'a>(&'a self, at: &Place<'a>, object: &Map<String, Value>) -> Place<'a> {
        let at = self.resolved(at);
        let alternatives = at.schema["anyOf"].as_array().into_iter().flatten();
        let mut places = alternatives.map(|schema| {
            let name = at.name.clone();
            self.resolved(&Place { name, schema })
        });
        let is_named = |place: &Place<'_>| {
            let mut keys = object.iter();
            keys.any(|(key, value)| place.schema["properties"][key].get("const") == Some(value))
        };
        places.find(is_named).unwrap_or(at)
    }

    fn property<'a>(&'a self, at: &Place<'a>, key: &str) -> Option<Place<'a>> {
        let at = self.resolved(at);
        if let Some(alternatives) = at.schema["anyOf"].as_array() {
            return alternatives.iter().find_map(|schema| {
                let name = at.name.clone();
                self.property(&Place { name, schema }, key)
            });
        }
        if let Some(schema) = at.schema["properties"].get(key) {
            let name = format!("{}/{key}", at.name);
            return Some(Place { name, schema });
        }
        let patterns = at.schema["patternProperties"].as_object();
        let map = match patterns.and_then(|patterns| patterns.values().next()) {
            Some(schema) => schema,
            None => &at.schema["additionalProperties"],
        };
        let name = format!("{}/*", at.name);
        map.is_object().then_some(Place { name, schema: map })
    }

    fn resolved<'a>(&'a self, at: &Place<'a>) -> Place<'a> {
        let Some(name) = definition(at.schema) else {
            return at.clone();
        };
        let name = name.to_owned();
        self.resolved(&Place {
            schema: &self.root["$defs"][&name],
            name,
        })
    }

    fn allows_null(&self, schema: &Value) -> bool {
        if let Some(name) = definition(schema) {
            return self.allows_null(&self.root["$defs"][name]);
        }
        let has_null = |of: &Value| of.as_array().is_some_and(|all| all.contains(&Value::Null));
        let types = &schema["type"];
        let alternatives = schema["anyOf"].as_array().into_iter().flatten();
        has_null(&schema["enum"])
            || types == "null"
            || types
                .as_array()
                .is_some_and(|all| all.contains(&"null".into()))
            || alternatives.into_iter().any(|one| self.allows_null(one))
    }
}

/// Where in the schema a value is.
#[derive(Clone, Debug)]
struct Place<'a> {
    name: String,
    schema: &'a Value,
}

fn definition(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix("#/$defs/")
}
