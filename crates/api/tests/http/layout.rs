//! Answers as snapshots: every byte of a body that matters, laid out for people.

use crate::wire::Response;
use serde_json::{Value, json};
use std::fmt::Write;

/// Longest line of a body.
const LINE_MAX: usize = 116;

/// Each kind of problem with its status and title: what clients may rely on.
const PROBLEMS: [(&str, u16, &str); 14] = [
    ("malformed_request", 400, "The request cannot be read"),
    ("authentication_error", 401, "A valid credential is required"),
    ("limit_reached", 409, "A limit of the tenant is reached"),
    ("authorization_error", 403, "The credential does not allow this"),
    ("not_found", 404, "There is nothing here"),
    ("method_not_allowed", 405, "The method is not allowed here"),
    ("request_timeout", 408, "The request took too long to arrive"),
    ("payload_too_large", 413, "The body is too large"),
    ("unsupported_media_type", 415, "The body's type is not supported"),
    ("validation_error", 422, "The request breaks a rule"),
    ("rate_limit_exceeded", 429, "Too many requests"),
    ("internal_error", 500, "The server failed"),
    ("overloaded", 503, "The server is overloaded"),
    ("unavailable", 503, "The database is not available"),
];

/// Status and body of a good answer.
pub fn answer(response: &Response) -> String {
    assert_eq!(response.header("Content-Type"), Some("application/json"), "{}", response.text());
    assert!(response.header("X-Request-Id").is_some());
    let mut text = format!("{}\n", response.status);
    lay_out(response.text(), 0, &mut text);
    text
}

/// Breaks JSON into lines where it is long, and changes nothing else: not the order, not a digit.
fn lay_out(json: &str, depth: usize, text: &mut String) {
    let is_container = json.starts_with(['{', '[']);
    if !is_container || json.len() + 2 * depth <= LINE_MAX {
        text.push_str(json);
        return;
    }
    let (open, inner, close) = (&json[..1], &json[1..json.len() - 1], &json[json.len() - 1..]);
    text.push_str(open);
    for (index, item) in split(inner).into_iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, "{comma}\n{}", "  ".repeat(depth + 1));
        let value = if open == "{" { item.find(':').map_or(0, |colon| colon + 1) } else { 0 };
        text.push_str(&item[..value]);
        lay_out(&item[value..], depth + 1, text);
    }
    let _ = write!(text, "\n{}{close}", "  ".repeat(depth));
}

/// The items of a container, at its own commas.
fn split(inner: &str) -> Vec<&str> {
    let (mut items, mut start, mut depth, mut in_string, mut escaped) = (Vec::new(), 0, 0, false, false);
    for (index, byte) in inner.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth -= 1,
            b',' if !in_string && depth == 0 => {
                items.push(&inner[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    items.push(&inner[start..]);
    items
}

/// Status, code, detail and errors of a problem, in one line where one says it all. Everything else of the body is
/// checked here: it follows from these.
pub fn problem(response: &Response) -> String {
    let value = response.value();
    assert_eq!(response.header("Content-Type"), Some("application/problem+json"), "{value}");
    assert!(response.header("X-Request-Id").is_some(), "{value}");
    let code = value["code"].as_str().expect("a code");
    let known = PROBLEMS.iter().find(|(known, _, _)| *known == code);
    let &(_, status, title) = known.unwrap_or_else(|| panic!("{code} is not known"));
    assert_eq!(response.status, status, "{value}");
    assert_eq!(response.header("Retry-After").is_some(), status == 503 || status == 429, "{value}");
    assert_eq!(response.header("WWW-Authenticate").is_some(), status == 401 || status == 403, "{value}");
    let detail = value["detail"].as_str().expect("a detail");
    let mut expected = json!({
        "type": format!("urn:callscope:problem:{code}"), "title": title, "status": status, "detail": detail, "code": code,
    });
    let errors: Vec<String> = value["errors"].as_array().into_iter().flatten().map(fault).collect();
    if status == 422 {
        assert!(!errors.is_empty(), "{value}");
        expected["errors"] = value["errors"].clone();
    }
    assert_eq!(value, expected);
    match errors.as_slice() {
        [only] => assert_eq!(detail, only),
        [] => {}
        many => return format!("{status} {code}: {detail}\n    {}", many.join("\n    ")),
    }
    format!("{status} {code}: {detail}")
}

/// Status, code and message of an error of OTLP in JSON, in one line. Everything else of the answer is checked here.
pub fn export_failure(response: &Response) -> String {
    let (status, value) = (response.status, response.value());
    assert_eq!(response.header("Content-Type"), Some("application/json"), "{value}");
    assert!(response.header("X-Request-Id").is_some(), "{value}");
    assert_eq!(response.header("Retry-After"), (status == 503 || status == 429).then_some("1"), "{value}");
    assert_eq!(response.header("WWW-Authenticate").is_some(), status == 401 || status == 403, "{value}");
    assert!(value.as_object().is_some_and(|fields| fields.len() == 2), "{value}");
    format!("{status} {}: {}", value["code"], value["message"].as_str().expect("a message"))
}

/// One fault, as `field: message`; its code has tests of its own.
pub fn fault(error: &Value) -> String {
    assert!(error.as_object().is_some_and(|fault| fault.len() == 3) && error["code"].is_string(), "{error}");
    let text = |name: &str| error[name].as_str().unwrap_or_else(|| panic!("{name} in {error}")).to_owned();
    format!("{}: {}", text("field"), text("message"))
}
