//! Answers measured against the OpenAPI document: every answer of every test by [`check`], and here that each
//! documented status can be produced, each documented parameter is accepted, and each example is true.

use crate::headers;
use crate::layout::{export_failure, problem};
use crate::schema::conforms;
use crate::server::{KEY_RULES, Server, Setup, TenantClient};
use crate::slow::slow_body;
use crate::store::Mode;
use crate::wire::{Connection, Request, Response};
use callscope_api::ApiLimits;
use callscope_domain::{ApiKey, RateLimit, Scope};
use callscope_testkit::Backend;
use serde_json::Value;
use std::sync::LazyLock;

/// The media type of messages that have no JSON form.
const PROTOBUF: &str = "application/x-protobuf";

/// Bytes that a body may have here, so that one too many is soon sent.
const BODY_BYTES_MAX: usize = 100_000;

on_each_backend!(
    every_documented_status_of_every_operation_is_produced,
    every_documented_value_of_every_parameter_is_accepted,
    bounds_of_numbers_are_where_the_document_says,
    the_root_leads_to_swagger_ui
);

/// The document.
pub static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(callscope_api::openapi_document()).expect("a document is JSON"));

/// A documented operation.
#[derive(Clone, Copy)]
pub struct Operation {
    pub method: &'static str,
    pub path: &'static str,
    value: &'static Value,
}

static OPERATIONS: LazyLock<Vec<Operation>> = LazyLock::new(|| {
    let methods = [("get", "GET"), ("put", "PUT"), ("post", "POST"), ("delete", "DELETE"), ("patch", "PATCH")];
    let paths = DOCUMENT["paths"].as_object().expect("paths");
    let of_path = |(path, item): (&'static String, &'static Value)| {
        methods.into_iter().filter_map(|(name, method)| Some(Operation { method, path, value: item.get(name)? }))
    };
    paths.iter().flat_map(of_path).collect()
});

/// Every documented operation.
pub fn operations() -> impl Iterator<Item = Operation> {
    OPERATIONS.iter().copied()
}

/// The metrics and dimensions that a query may name.
const CATALOGUE: &str = "/api/v1/analytics/metrics";

/// The names of the analytics operations that answer once and need no parameter, such as `summary`.
pub fn analytics() -> impl Iterator<Item = &'static str> {
    let is_plain =
        |operation: &Operation| operation.method == "GET" && !operation.streams() && !operation.path.contains('{');
    let asks = move |operation: &Operation| is_plain(operation) && operation.path != CATALOGUE;
    operations().filter(asks).filter_map(|operation| operation.path.strip_prefix("/api/v1/analytics/"))
}

impl Operation {
    fn answers(self, method: &str, path: &str) -> bool {
        let (ours, theirs): (Vec<&str>, Vec<&str>) = (self.path.split('/').collect(), path.split('/').collect());
        let agree = |(our, their): (&&str, &&str)| our == their || our.starts_with('{') && !their.is_empty();
        self.method == method && ours.len() == theirs.len() && ours.iter().zip(&theirs).all(agree)
    }

    fn statuses(self) -> Vec<u16> {
        let responses = self.value["responses"].as_object().expect("responses");
        responses.keys().map(|status| status.parse().expect("a status")).collect()
    }

    fn parameters(self) -> impl Iterator<Item = &'static Value> {
        self.value["parameters"].as_array().into_iter().flatten()
    }

    /// A request that is answered well, where what its path names exists.
    pub fn request(self) -> Request {
        let path = self.parameters().filter(|parameter| parameter["in"] == "path").fold(
            self.path.to_owned(),
            |path, parameter| {
                let name = format!("{{{}}}", parameter["name"].as_str().expect("a name"));
                path.replace(&name, parameter["example"].as_str().expect("an example"))
            },
        );
        let request = Request::new(self.method, path);
        match self.body() {
            Some(body) => request.json(body),
            None => request,
        }
    }

    /// The example of its body.
    fn body(self) -> Option<String> {
        let schema = self.value["requestBody"]["content"]["application/json"].get("schema")?;
        let example = |schema: &Value| {
            let name = schema["$ref"].as_str().expect("a reference").trim_start_matches('#');
            DOCUMENT.pointer(name).expect("a schema")["example"].to_string()
        };
        Some(if schema["type"] == "array" { format!("[{}]", example(&schema["items"])) } else { example(schema) })
    }

    fn writes(self) -> bool {
        self.method != "GET"
    }

    /// Whether it answers without an end.
    pub fn streams(self) -> bool {
        !self.value["responses"]["200"]["content"]["text/event-stream"].is_null()
    }

    /// Whether it answers as OTLP says, and not with problem documents.
    pub fn is_export(self) -> bool {
        self.path.starts_with("/v1/")
    }

    /// The scope that it demands; none where anyone may ask.
    pub fn scope(self) -> Option<Scope> {
        if self.is_export() {
            return Some(Scope::CallsWrite);
        }
        let refusal = &self.value["responses"]["403"]["content"]["application/problem+json"]["example"];
        refusal["detail"].as_str()?.rsplit(' ').next()?.parse().ok()
    }
}

fn example_record() -> String {
    DOCUMENT["components"]["schemas"]["CallRecord"]["example"].to_string()
}

/// Checks an answer: where the document knows the operation, it knows the answer's status, media type and shape.
pub fn check(request: &Request, response: &Response) {
    headers::check(request, response);
    let path = request.target.split('?').next().unwrap_or_default();
    let Some(operation) = operations().find(|operation| operation.answers(request.method, path)) else {
        return;
    };
    let name = format!("{} {} {}", request.method, request.target, response.status);
    let documented = &operation.value["responses"][response.status.to_string()];
    assert!(documented.is_object(), "{name} is not documented: {}", response.text());
    if response.status == 304 {
        assert!(documented["content"].is_null() && response.body.is_empty(), "{name} has no body");
    } else if response.status != 204 {
        let media_type = response.header("Content-Type").unwrap_or_default();
        let schema = &documented["content"][media_type]["schema"];
        assert!(schema.is_object(), "{name} is not documented as {media_type}");
        if media_type == PROTOBUF {
            return;
        }
        if let Err(fault) = conforms(&response.value(), schema) {
            panic!("{name}: {fault}: {}", response.text());
        }
    }
    for (header, _) in documented["headers"].as_object().into_iter().flatten() {
        assert!(response.header(header).is_some(), "{name} lacks {header}");
    }
}

/// Makes a server answer an operation with a status.
async fn produce(server: &Server, client: &TenantClient, operation: Operation, status: u16) -> u16 {
    let mut request = operation.request();
    let stranger = server.stranger();
    // Whose events nobody follows yet: what is followed already needs no store to begin with.
    let unknown =
        if operation.streams() && status >= 500 { Some(server.tenant(&format!("of-{status}")).await) } else { None };
    let client = match status {
        401 => &stranger,
        403 => {
            let others: Vec<Scope> =
                Scope::ALL.iter().copied().filter(|&scope| Some(scope) != operation.scope()).collect();
            request = request.header("X-API-Key", server.key(client.id, &others).await);
            &stranger
        }
        429 => {
            let slow = |key: &mut ApiKey| key.rate = Some(RateLimit::new(1, 1).expect("a rate"));
            request = request.header("X-API-Key", server.key_with(client.id, Scope::ALL, slow).await);
            // What becomes of the first one does not matter.
            let first = Request { target: format!("{}?x=%ff", request.target), ..request.clone() };
            stranger.send(&first).await;
            &stranger
        }
        _ => &unknown.as_ref().unwrap_or(client).client,
    };
    match status {
        304 => request = request.header("If-None-Match", "*"),
        400 if operation.body().is_some() => request = request.header("Content-Encoding", "gzip"),
        400 => request.target.push_str("?x=%ff"),
        413 => request.body = vec![b' '; BODY_BYTES_MAX + 1],
        415 => request.headers = vec![("Content-Type", "text/plain".to_owned())],
        422 => request.target.push_str("?unknown=1"),
        409 => {
            let full = server.tenant("full").await;
            for _ in 1..KEY_RULES.tenant_max {
                server.key(full.id, &[]).await;
            }
            return full.send(&request).await.status;
        }
        500 => server.store.set(Mode::Broken),
        // An export without records asks for the key alone.
        503 if operation.is_export() => server.store.set(Mode::KeysUnavailable),
        503 => server.store.set(Mode::Unavailable),
        408 => return slow_body(server, &request).await.status,
        404 => request.target = request.target.replace("aab222503a09", "aab222503a99"),
        // A call is new once.
        201 => request.target = request.target.replace("aab222503a09", "aab222503a10"),
        204 => {
            let key = client.send(&Request::new("POST", "/api/v1/keys").json(r#"{"scopes": ["calls:write"]}"#)).await;
            let id = key.value()["key"]["key_id"].as_str().expect("an id").to_owned();
            request.target = request.target.replace("31c02e4f-12e0-4af0-869b-aab222503a09", &id);
        }
        200 if operation.streams() => {
            let key = server.any_key().await;
            let mut connection = Connection::open(server.address).await;
            return connection.send_for_head(&request.header("X-API-Key", key)).await.status;
        }
        200 | 401 | 403 | 429 => {}
        other => panic!("{} {} documents {other}, which nothing here produces", operation.method, operation.path),
    }
    if status == 201 {
        request.body = String::from_utf8_lossy(&request.body).replace("aab222503a09", "aab222503a10").into_bytes();
    }
    let response = client.send(&request).await;
    server.store.set(Mode::Sound);
    match status {
        ..400 => {}
        415 => drop(problem(&response)),
        _ if operation.is_export() => drop(export_failure(&response)),
        _ => drop(problem(&response)),
    }
    response.status
}

async fn every_documented_status_of_every_operation_is_produced(backend: Backend) {
    let limits = ApiLimits { body_bytes_max: BODY_BYTES_MAX, ..crate::server::LIMITS };
    let server = Server::start_with(backend, Setup { limits, ..Setup::default() }).await;
    let acme = server.tenant("acme").await;
    // So that the example is known, and 200 is what a PUT of it gets.
    assert_eq!(acme.send(&Request::new("POST", crate::client::INGEST).ndjson(example_record())).await.status, 200);
    for operation in operations() {
        let statuses = operation.statuses();
        // What each operation that needs a credential can answer, and each that writes.
        let needs_credential: &[u16] = match operation.scope() {
            // It asks nothing of the database.
            Some(_) if operation.path == CATALOGUE => &[401, 403, 429],
            Some(_) if operation.is_export() => &[401, 403, 429, 503],
            Some(_) => &[401, 403, 429, 500, 503],
            None => &[],
        };
        let has_body: &[u16] = match operation.body() {
            Some(_) if operation.is_export() => &[400, 413, 415],
            Some(_) => &[400, 408, 413, 415, 422],
            None => &[],
        };
        for status in needs_credential.iter().chain(has_body) {
            assert!(statuses.contains(status), "{} {} lacks {status}", operation.method, operation.path);
        }
        for status in statuses {
            let seen = produce(&server, &acme, operation, status).await;
            assert_eq!(seen, status, "{} {}", operation.method, operation.path);
        }
    }
}

/// A schema, or the one that it refers to.
fn resolved(schema: &'static Value) -> &'static Value {
    let referenced = schema["$ref"].as_str().and_then(|reference| DOCUMENT.pointer(reference.trim_start_matches('#')));
    referenced.unwrap_or(schema)
}

/// The values that the document gives for a parameter.
fn values(parameter: &'static Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let schema = resolved(&parameter["schema"]);
    let listed = schema["enum"].as_array().into_iter().flatten();
    let single = [&parameter["example"], &schema["default"], &schema["minimum"], &schema["maximum"]];
    listed.chain(single).filter(|value| !value.is_null()).map(text).collect()
}

async fn every_documented_value_of_every_parameter_is_accepted(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    for operation in operations().filter(|operation| !operation.writes() && !operation.streams()) {
        let path = operation.request().target;
        for parameter in operation.parameters().filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().expect("a name");
            assert_eq!(parameter["required"], false, "{name}");
            assert!(parameter["description"].is_string(), "{name}");
            // Swagger UI would send it, and get figures of that day or workflow alone.
            assert!(parameter["example"].is_null(), "{name}");
            for value in values(parameter) {
                // A bound of a window without the other is as sound as with it.
                let target = format!("{path}?{name}={}", value.replace('+', "%2B"));
                let response = acme.send(&Request::get(target.clone())).await;
                assert_eq!(response.status, 200, "{target}: {}", response.text());
            }
        }
    }
}

async fn bounds_of_numbers_are_where_the_document_says(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    for operation in operations() {
        for parameter in operation.parameters() {
            let schema = &parameter["schema"];
            let outside =
                [schema["minimum"].as_i64().map(|least| least - 1), schema["maximum"].as_i64().map(|most| most + 1)];
            // Numbers of events, which streams take, have no greatest value.
            let is_bounded = schema["type"] == "integer" && !operation.streams();
            assert!(!is_bounded || outside.iter().all(Option::is_some), "{} {}", operation.path, parameter["name"]);
            for value in outside.into_iter().flatten() {
                let target = format!("{}?{}={value}", operation.path, parameter["name"].as_str().expect("a name"));
                assert_eq!(acme.send(&Request::get(target.clone())).await.status, 422, "{target}");
            }
        }
    }
}

async fn the_root_leads_to_swagger_ui(backend: Backend) {
    let server = Server::start(backend).await;
    let stranger = server.stranger();
    for path in ["/", "/swagger-ui"] {
        let response = stranger.send(&Request::get(path)).await;
        assert_eq!((response.status, response.header("Location")), (302, Some("/swagger-ui/")), "{path}");
    }
    let initializer = stranger.send(&Request::get("/swagger-ui/swagger-initializer.js")).await;
    assert!(initializer.text().contains("url: \"/api-docs/openapi.json\""), "{}", initializer.text());
    for option in ["persistAuthorization: true", "tryItOutEnabled: true"] {
        assert!(initializer.text().contains(option), "{option}");
    }
}

#[test]
fn every_example_and_default_is_of_its_schema() {
    for operation in operations() {
        for parameter in operation.parameters() {
            for value in [&parameter["example"], &parameter["schema"]["default"]] {
                let conforming = value.is_null() || conforms(value, &parameter["schema"]).is_ok();
                assert!(conforming, "{} {}: {value}", operation.path, parameter["name"]);
            }
        }
        for (status, response) in operation.value["responses"].as_object().expect("responses") {
            for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                if media_type == "text/event-stream" || media_type == PROTOBUF {
                    continue;
                }
                let example = content.get("example").unwrap_or_else(|| panic!("{} {status}", operation.path));
                conforms(example, &content["schema"]).unwrap_or_else(|fault| panic!("{status} {media_type}: {fault}"));
                if media_type == "application/problem+json" {
                    assert_eq!(example["status"].to_string(), *status);
                }
            }
        }
    }
    let record: Value = serde_json::from_str(&example_record()).expect("an example");
    assert_eq!(conforms(&record, &serde_json::json!({"$ref": "#/components/schemas/CallRecord"})), Ok(()));
}

#[test]
fn every_operation_says_what_it_is() {
    let mut ids = std::collections::BTreeSet::new();
    for operation in operations() {
        for field in ["operationId", "summary", "description"] {
            assert!(operation.value[field].as_str().is_some_and(|text| text.len() > 5), "{} {field}", operation.path);
        }
        assert!(operation.value["security"].is_array(), "{}", operation.path);
        assert!(ids.insert(operation.value["operationId"].to_string()), "{} twice", operation.value["operationId"]);
    }
    assert!(!ids.is_empty());
}
