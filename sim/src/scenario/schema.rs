//! The JSON schema of a scenario file, from the very types that read it, for editors that check TOML by a schema.

use serde_json::{Value, json};

use super::{ENDINGS, HABITS, KINDS, Scenario};
use crate::{check, coverage, fault};

/// The schema. What only a check beyond the types rules out (two members, a span the wrong way round) is not in it.
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Scenario).to_value();
    let kinds: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
    let operations: Vec<_> = KINDS.iter().flat_map(|kind| kind.operations()).collect();
    let habits: Vec<_> = HABITS.iter().map(|(name, _)| name).collect();
    // Names that the types have as any text.
    for (place, what) in [
        ("/properties/invariants/items", json!({"type": "string", "enum": check::names()})),
        ("/properties/coverage/items", json!({"type": "string", "enum": coverage::names()})),
        ("/$defs/WorkloadSpec/properties/kind/enum", json!(kinds)),
        ("/$defs/WorkloadSpec/properties/operations/propertyNames", json!({"enum": operations})),
        ("/$defs/WorkloadSpec/properties/endings/propertyNames", json!({"enum": ENDINGS})),
        ("/$defs/WorkloadSpec/properties/habits/propertyNames", json!({"enum": habits})),
        ("/$defs/FaultSpec/properties/weights/propertyNames", json!({"enum": fault::NAMES})),
        ("/$defs/ClusterSpec/properties/members/enum", json!([1, 3, 5])),
    ] {
        put(&mut schema, place, what);
    }
    schema
}

/// Sets a field of an object in a tree.
fn put(tree: &mut Value, place: &str, what: Value) {
    let Some((object, field)) = place.rsplit_once('/') else { return };
    if let Some(Value::Object(fields)) = tree.pointer_mut(object) {
        fields.insert(field.to_owned(), what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::BUILT_IN;

    /// The names of the fields that a schema knows at a place of a file.
    fn knows(schema: &Value, tree: &Value, known: &Value) {
        let known = match known["$ref"].as_str() {
            Some(place) => schema.pointer(place.trim_start_matches('#')).expect("defined"),
            None => known,
        };
        let Value::Object(fields) = tree else { return };
        for (name, value) in fields {
            match known["properties"].get(name) {
                Some(of_field) => knows(schema, value, of_field),
                None => {
                    let names = known["propertyNames"]["enum"].as_array().expect("names or fields");
                    assert!(names.contains(&json!(name)), "{name} is not in the schema");
                }
            }
        }
    }

    #[test]
    fn every_field_and_name_of_the_built_in_scenarios_is_in_it_and_no_other_is() {
        let schema = schema();
        for (name, text) in BUILT_IN {
            let tree: Value = toml::from_str(text).expect("TOML");
            knows(&schema, &tree, &schema);
            for invariant in tree["invariants"].as_array().expect("a list") {
                let names = schema["properties"]["invariants"]["items"]["enum"].as_array().expect("names");
                assert!(names.contains(invariant), "{name}: {invariant}");
            }
        }
        assert_eq!(schema["additionalProperties"], json!(false));
        assert_eq!(schema["properties"].get("name"), None, "it is the file's");
        assert_eq!(schema["$defs"]["ClusterSpec"]["properties"]["members"]["enum"], json!([1, 3, 5]));
    }
}
