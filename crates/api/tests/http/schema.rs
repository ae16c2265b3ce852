//! Whether a value is of a schema: as much of JSON Schema as the document uses.

use crate::document::DOCUMENT;
use serde_json::{Map, Value};

/// The first way in which a value is not of a schema. Fields that the schema does not name are one: our answers hold
/// nothing that is not documented.
pub fn conforms(value: &Value, schema: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let referenced = DOCUMENT.pointer(reference.trim_start_matches('#'));
        return conforms(value, referenced.ok_or_else(|| format!("{reference} is not there"))?);
    }
    if schema["allOf"].is_array() {
        return conforms(value, &together(schema));
    }
    for name in ["oneOf", "anyOf"] {
        let mut choices = list(schema, name).peekable();
        if choices.peek().is_some() && !choices.any(|choice| conforms(value, choice).is_ok()) {
            return Err(format!("{value} is none of {name}"));
        }
    }
    of_type(value, &schema["type"])?;
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return Err(format!("{value} is not one of {}", schema["enum"]));
    }
    let below = schema["minimum"].as_f64().zip(value.as_f64()).is_some_and(|(least, number)| number < least);
    if below {
        return Err(format!("{value} is below {}", schema["minimum"]));
    }
    match value {
        Value::Object(fields) => object(fields, schema),
        Value::Array(items) if !schema["items"].is_null() => {
            items.iter().try_for_each(|item| conforms(item, &schema["items"]))
        }
        _ => Ok(()),
    }
}

/// One object with the fields of all parts of a schema.
fn together(schema: &Value) -> Value {
    let (mut properties, mut required) = (Map::new(), Vec::new());
    for part in list(schema, "allOf") {
        let referenced = part["$ref"].as_str().and_then(|name| DOCUMENT.pointer(name.trim_start_matches('#')));
        let part = referenced.unwrap_or(part);
        properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
        required.extend(list(part, "required").cloned());
    }
    serde_json::json!({"type": "object", "properties": properties, "required": required})
}

fn list<'a>(schema: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    schema[name].as_array().into_iter().flatten()
}

fn of_type(value: &Value, types: &Value) -> Result<(), String> {
    let is = |name: &Value| match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    };
    let sound = match types {
        Value::Null => true,
        Value::Array(names) => names.iter().any(is),
        name => is(name),
    };
    if sound { Ok(()) } else { Err(format!("{value} is not of type {types}")) }
}

fn object(fields: &Map<String, Value>, schema: &Value) -> Result<(), String> {
    let Some(properties) = schema["properties"].as_object() else { return Ok(()) };
    let missing = list(schema, "required").filter_map(Value::as_str).find(|name| !fields.contains_key(*name));
    if let Some(name) = missing {
        return Err(format!("{name} is missing"));
    }
    for (name, value) in fields {
        let property = properties.get(name).ok_or_else(|| format!("{name} is not documented"))?;
        conforms(value, property).map_err(|fault| format!("{name}: {fault}"))?;
    }
    Ok(())
}
