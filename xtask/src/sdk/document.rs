//! The OpenAPI document as generators take it.
//!
//! The checked-in document is OpenAPI 3.1 and says everything. Generators know JSON bodies only, and the one for Rust
//! knows OpenAPI 3.0 only.

use serde_json::{Map, Value, json};

const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";
const NOT_MODIFIED: &str = "304";
const PROBLEM_JSON: &str = "application/problem+json";

const PROTOBUF: &str = "application/x-protobuf";

const STRING_BOUNDS: [&str; 3] = ["minLength", "maxLength", "pattern"];

/// Leaves out what no generator can use: other media types of a body that may be sent as JSON as well, answers to
/// conditional requests, which no generated client sends, and the endpoints that exporters of telemetry send to.
pub fn for_clients(mut document: Value) -> Value {
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.retain(|_, item| item["post"]["requestBody"]["content"].get(PROTOBUF).is_none());
    }
    for operation in operations(&mut document) {
        if let Some(body) = operation.get_mut("requestBody") {
            keep_json(body);
        }
        if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
            responses.remove(NOT_MODIFIED);
        }
    }
    document
}

/// Leaves out operations whose answers have no end, for generators that wait for it.
pub fn without_streams(mut document: Value) -> Value {
    for item in document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Some(item) = item.as_object_mut() {
            item.retain(|_, operation| operation["responses"]["200"]["content"].get(EVENT_STREAM).is_none());
        }
    }
    document
}

/// The same document in OpenAPI 3.0, as far as ours use 3.1. `application/problem+json` becomes `application/json`: the
/// generator gives types to no other.
pub fn as_3_0(mut document: Value) -> Value {
    document["openapi"] = "3.0.3".into();
    if let Some(license) = document["info"]["license"].as_object_mut() {
        license.remove("identifier");
    }
    for operation in operations(&mut document) {
        for response in operation["responses"].as_object_mut().into_iter().flat_map(Map::values_mut) {
            if let Some(content) = response.get_mut("content").and_then(Value::as_object_mut)
                && let Some(problem) = content.remove(PROBLEM_JSON)
            {
                content.insert(JSON.to_owned(), problem);
            }
        }
    }
    lower(&mut document);
    document
}

fn operations(document: &mut Value) -> impl Iterator<Item = &mut Value> {
    let paths = document["paths"].as_object_mut().into_iter().flat_map(Map::values_mut);
    let operations = paths.filter_map(Value::as_object_mut).flat_map(Map::values_mut);
    operations.filter(|operation| operation["operationId"].is_string())
}

fn keep_json(body: &mut Value) {
    if let Some(content) = body.get_mut("content").and_then(Value::as_object_mut)
        && content.contains_key(JSON)
    {
        content.retain(|media_type, _| media_type == JSON);
    }
}

/// Lowers every schema in a value. Nothing else in a document has such keys.
fn lower(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(lower),
        Value::Object(object) => {
            object.values_mut().for_each(lower);
            lower_schema(object);
        }
        _ => {}
    }
}

fn lower_schema(schema: &mut Map<String, Value>) {
    let null = json!("null");
    if let Some(Value::Array(mut types)) = schema.get("type").cloned() {
        types.retain(|name| *name != null);
        if let [only] = types.as_slice() {
            schema.insert("type".to_owned(), only.clone());
            schema.insert("nullable".to_owned(), true.into());
        }
    }
    if let Some(Value::Array(mut choices)) = schema.get("oneOf").cloned() {
        choices.retain(|choice| choice["type"] != null);
        if let [only] = choices.as_slice() {
            schema.remove("oneOf");
            schema.insert("allOf".to_owned(), json!([only]));
            schema.insert("nullable".to_owned(), true.into());
        }
    }
    // A type of its own for each string with a bound is of no use to clients: the server checks.
    if schema.get("type").is_some_and(|name| name == "string") {
        schema.retain(|name, _| !STRING_BOUNDS.contains(&name.as_str()));
    }
    if let Some(Value::Array(examples)) = schema.get("examples")
        && let Some(example) = examples.first().cloned()
    {
        schema.remove("examples");
        schema.insert("example".to_owned(), example);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_for_exporters_are_left_out() {
        let item = |media_type: &str| json!({"post": {"requestBody": {"content": {media_type: {}}}}});
        let document = json!({"paths": {"/v1/traces": item(PROTOBUF), "/calls": item(JSON), "/health": {"get": {}}}});
        let paths = for_clients(document)["paths"].as_object().map(|paths| paths.keys().cloned().collect::<Vec<_>>());
        assert_eq!(paths, Some(vec!["/calls".to_owned(), "/health".to_owned()]));
    }

    #[test]
    fn schemas_that_may_be_null_are_lowered() {
        let mut schema = json!({"properties": {
            "agent": {"type": ["string", "null"], "maxLength": 3},
            "workflow": {"oneOf": [{"$ref": "#/x"}, {"type": "null"}]},
            "type": {"type": "string", "example": "urn:x"},
        }});
        lower(&mut schema);
        assert_eq!(
            schema,
            json!({"properties": {
                "agent": {"type": "string", "nullable": true},
                "workflow": {"allOf": [{"$ref": "#/x"}], "nullable": true},
                "type": {"type": "string", "example": "urn:x"},
            }})
        );
    }

    #[test]
    fn what_is_sent_is_json_and_what_is_refused_too() {
        let responses = json!({"204": {"description": "Done"}, "304": {"description": "Not modified"}, "400": {"content": {"application/problem+json": {"schema": {}}}}});
        let body = json!({"content": {"application/json": {}, "application/x-ndjson": {}}});
        let operation = json!({"operationId": "ingest_calls", "requestBody": body, "responses": responses});
        let document = as_3_0(for_clients(json!({"info": {}, "paths": {"/": {"post": operation}}})));
        let operation = &document["paths"]["/"]["post"];
        assert_eq!(operation["requestBody"], json!({"content": {"application/json": {}}}));
        let expected =
            json!({"204": {"description": "Done"}, "400": {"content": {"application/json": {"schema": {}}}}});
        assert_eq!(operation["responses"], expected);
    }
}
