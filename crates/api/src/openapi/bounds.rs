//! Tests: bounds in the document are those of the constants that the checks use.

use crate::filters::VALUES_MAX;
use crate::params::{ERRORS_MAX, KEYS_MAX, WORKFLOWS_MAX};
use crate::query_request::{DIMENSIONS_MAX, FILTERS_MAX, GROUPS_MAX, METRICS_MAX, ORDERS_MAX};
use crate::reading::IGNORED_FIELDS_MAX;
use crate::resources::calls::CALLS_MAX;
use callscope_domain::{
    AGENT_MAX, AGENT_VERSION_MAX, CALL_DURATION_MAX, CLOCK_SKEW_MAX, COST_MAX, COUNT_MAX, DISPLAY_NAME_MAX, Dimension,
    END_REASON_MAX, ENVIRONMENT_MAX, ERRORS_PER_CALL_MAX, EXTERNAL_ID_MAX, FUTURE_START_MAX, LANGUAGE_MAX, MESSAGE_MAX,
    MODEL_MAX, PROVIDER_NAME_MAX, PROVIDERS_PER_CALL_MAX, RATE_MAX, SAMPLES_PER_CALL_MAX, SERIES_BUCKETS_MAX, SLUG_MAX,
    Span, TAGS_PER_CALL_MAX, TOKENS_MAX, VERSION_MAX, WORKFLOW_NAME_MAX,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const UPPER_BOUNDS: [&str; 4] = ["maxLength", "maxItems", "maximum", "exclusiveMaximum"];

/// Every upper bound, and every pattern that contains one, by the name of what it bounds.
fn bounds(value: &Value, name: &str, bounds: &mut BTreeMap<String, Value>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let is_bound = UPPER_BOUNDS.contains(&key.as_str()) && !value.is_object();
        if is_bound || key == "pattern" && value.as_str().is_some_and(|pattern| pattern.contains(',')) {
            bounds.insert(format!("{name} {key}"), value.clone());
        }
        let name = match key.as_str() {
            "example" | "examples" | "default" => continue,
            "properties" | "schema" | "items" | "oneOf" | "allOf" | "anyOf" => name.to_owned(),
            _ => format!("{name}.{key}"),
        };
        self::bounds(value, &name, bounds);
    }
    for value in value.as_array().into_iter().flatten() {
        let name = value["name"].as_str().map_or_else(|| name.to_owned(), |parameter| format!("{name}.{parameter}"));
        self::bounds(value, &name, bounds);
    }
}

/// The attributes of utoipa take literals only, so the document repeats what the domain's constants say.
#[test]
fn bounds_in_the_document_are_those_of_the_constants() {
    let document = serde_json::to_value(crate::openapi::document()).expect("a document is JSON");
    let (mut schemas, mut parameters) = (BTreeMap::new(), BTreeMap::new());
    for (name, schema) in document["components"]["schemas"].as_object().expect("schemas") {
        bounds(schema, name, &mut schemas);
    }
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for (method, operation) in operations.as_object().expect("operations") {
            bounds(&operation["parameters"], &format!("{method} {path}"), &mut parameters);
        }
    }
    let slug = json!(format!("^[a-z0-9][a-z0-9_-]{{0,{}}}$", SLUG_MAX - 1));
    // A call without its id, and with it.
    let of_call = ["CallState", "CallRecord"].into_iter().flat_map(|schema| {
        [
            ("source pattern", slug.clone()),
            ("external_id maxLength", json!(EXTERNAL_ID_MAX)),
            ("end_reason maxLength", json!(END_REASON_MAX)),
            ("agent maxLength", json!(AGENT_MAX)),
            ("agent_version maxLength", json!(AGENT_VERSION_MAX)),
            ("environment maxLength", json!(ENVIRONMENT_MAX)),
            ("language maxLength", json!(LANGUAGE_MAX)),
            ("total_tokens maximum", json!(TOKENS_MAX)),
            ("input_tokens maximum", json!(TOKENS_MAX)),
            ("output_tokens maximum", json!(TOKENS_MAX)),
            ("cached_input_tokens maximum", json!(TOKENS_MAX)),
            ("turns maximum", json!(COUNT_MAX)),
            ("interruptions maximum", json!(COUNT_MAX)),
            ("tool_calls maximum", json!(COUNT_MAX)),
            ("version maximum", json!(VERSION_MAX)),
            ("cost_usd maximum", json!(COST_MAX / 1_000_000)),
            ("turn_latencies_ms maxItems", json!(SAMPLES_PER_CALL_MAX)),
            ("providers maxItems", json!(PROVIDERS_PER_CALL_MAX)),
            ("errors maxItems", json!(ERRORS_PER_CALL_MAX)),
        ]
        .map(|(bound, value)| (format!("{schema}.{bound}"), value))
    });
    let others = [
        ("CreateKeyRequest.burst maximum", json!(RATE_MAX)),
        ("CreateKeyRequest.name maxLength", json!(DISPLAY_NAME_MAX)),
        ("CreateKeyRequest.requests_per_second maximum", json!(RATE_MAX)),
        ("ErrorRecord.agent maxLength", json!(AGENT_MAX)),
        ("ErrorRecord.provider_name maxLength", json!(PROVIDER_NAME_MAX)),
        ("FilterRequest.values maxItems", json!(VALUES_MAX)),
        ("Query.dimensions maxItems", json!(DIMENSIONS_MAX)),
        ("Query.filters maxItems", json!(FILTERS_MAX)),
        ("Query.limit maximum", json!(GROUPS_MAX)),
        ("Query.metrics maxItems", json!(METRICS_MAX)),
        ("Query.order_by maxItems", json!(ORDERS_MAX)),
        ("ErrorRecord.message maxLength", json!(MESSAGE_MAX)),
        ("IngestResult.ignored_fields maxItems", json!(IGNORED_FIELDS_MAX)),
        ("Problem.status maximum", json!(599)),
        ("ProviderRecord.latencies_ms maxItems", json!(SAMPLES_PER_CALL_MAX)),
        ("ProviderRecord.model maxLength", json!(MODEL_MAX)),
        ("ProviderRecord.provider_name maxLength", json!(PROVIDER_NAME_MAX)),
        ("PutResult.ignored_fields maxItems", json!(IGNORED_FIELDS_MAX)),
        ("WorkflowRecord.name maxLength", json!(WORKFLOW_NAME_MAX)),
        ("WorkflowRecord.slug pattern", slug.clone()),
    ];
    let others = others.into_iter().map(|(name, value)| (name.to_owned(), value));
    assert_eq!(schemas, of_call.chain(others).collect());
    // Parameters of one name have one bound in all operations, but for the number of rows.
    for (name, value) in parameters {
        let expected = match name.rsplit_once('.').expect("the name of a parameter").1 {
            // Made of the constants and words of the domain.
            filter if filter.strip_suffix(" pattern").is_some_and(|name| Dimension::WORDS.contains(&name)) => continue,
            "offset maximum" => json!(u32::MAX),
            "limit maximum" if name.contains("/dimensions/") => json!(GROUPS_MAX),
            "limit maximum" if name.contains("/calls") => json!(CALLS_MAX),
            "min_duration_seconds maximum" => json!(CALL_DURATION_MAX.as_micros() / 1_000_000),
            "search maxLength" => json!(EXTERNAL_ID_MAX),
            "limit maximum" if name.contains("/workflow-stats") => json!(WORKFLOWS_MAX),
            "limit maximum" if name.contains("/errors") => json!(ERRORS_MAX),
            "limit maximum" if name.contains("/keys") => json!(KEYS_MAX),
            // Words, not bounds.
            "types pattern" | "sort pattern" | "cursor pattern" => continue,
            _ => panic!("{name} is {value}, which no constant is compared with"),
        };
        assert_eq!(value, expected, "{name}");
    }
}

#[test]
fn descriptions_in_the_document_repeat_the_constants() {
    let text = serde_json::to_string(&crate::openapi::document()).expect("a document is JSON");
    let hours = |span: Span| span.as_micros() / Span::from_hours(1).as_micros();
    let minutes = |span: Span| span.as_micros() / Span::from_minutes(1).as_micros();
    for sentence in [
        format!("at most {} hours in the future", hours(FUTURE_START_MAX)),
        format!("at most {} hours after it", hours(CALL_DURATION_MAX)),
        format!("{} minutes", minutes(CLOCK_SKEW_MAX)),
        format!("More than {},000 buckets are refused", SERIES_BUCKETS_MAX / 1000),
        format!("at most {},000 over all providers", SAMPLES_PER_CALL_MAX / 1000),
        format!("Up to {TAGS_PER_CALL_MAX} facts of your own"),
    ] {
        assert!(text.contains(&sentence), "the document does not say: {sentence}");
    }
}
