//! What every operation of the document says alike: an example of each answer, put together from the examples of its
//! fields so that none is written twice, and that an operation without a credential needs none.

use serde_json::Value;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

const JSON: &str = "application/json";

/// Completes every operation.
pub fn complete(document: &mut OpenApi) {
    let schemas = serde_json::json!({"components": document.components});
    for operation in document.paths.paths.values_mut().flat_map(operations) {
        operation.security.get_or_insert_default();
        for response in operation.responses.responses.values_mut() {
            let RefOr::T(response) = response else { continue };
            let Some(RefOr::T(content)) = response.content.get_mut(JSON) else { continue };
            if content.example.is_some() {
                continue;
            }
            let schema = serde_json::to_value(&content.schema).unwrap_or_default();
            content.example = Some(example(&schema, &schemas));
        }
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.delete].into_iter().flatten()
}

/// A value of a schema: its own example, its default or first word, else the examples of its parts. What may be null and
/// has no example is null.
fn example(schema: &Value, schemas: &Value) -> Value {
    let referenced = schema["$ref"].as_str().and_then(|reference| schemas.pointer(reference.trim_start_matches('#')));
    if let Some(referenced) = referenced {
        return example(referenced, schemas);
    }
    let given = [&schema["example"], &schema["examples"][0], &schema["default"], &schema["enum"][0]];
    if let Some(given) = given.into_iter().find(|given| !given.is_null()) {
        return given.clone();
    }
    if let Some(properties) = schema["properties"].as_object() {
        let of_property = |(name, property): (&String, &Value)| (name.clone(), example(property, schemas));
        return properties.iter().map(of_property).collect();
    }
    if let Some(parts) = schema["allOf"].as_array() {
        let fields = parts.iter().filter_map(|part| example(part, schemas).as_object().cloned());
        return fields.flatten().collect();
    }
    if schema["items"].is_object() {
        return vec![example(&schema["items"], schemas)].into();
    }
    // Null, or the schema beside it.
    let alternatives = schema["oneOf"].as_array().into_iter().flatten();
    alternatives.map(|alternative| example(alternative, schemas)).find(|value| !value.is_null()).unwrap_or_default()
}
