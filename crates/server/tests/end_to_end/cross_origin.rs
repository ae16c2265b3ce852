//! What the default settings let pages of other origins do is what the server can do.

use crate::fixture::Fixture;
use callscope_testkit::Backend;
use serde_json::Value;
use std::collections::BTreeSet;

const DOCUMENT: &str = include_str!("../../../../openapi/openapi.json");
const ORIGIN: &str = "https://dashboard.example";
/// Headers that browsers show to pages in any case, or that are for browsers and proxies alone.
const NOT_FOR_PAGES: [&str; 5] = ["cache-control", "content-length", "content-type", "date", "vary"];
/// Security headers, which browsers obey and pages need not read.
const FOR_BROWSERS: [&str; 6] = [
    "content-security-policy",
    "cross-origin-resource-policy",
    "referrer-policy",
    "strict-transport-security",
    "x-content-type-options",
    "x-frame-options",
];

#[test]
fn pages_may_use_what_the_server_has_and_nothing_else() {
    let fixture = Fixture::new(Backend::Sqlite);
    fixture.create_tenant("clinic");
    let key = fixture.create_key(&["--tenant", "clinic", "--rate", "1", "--burst", "2"]);
    // Without a cache there is no tag.
    let environment = [("CALLSCOPE__CORS__ALLOWED_ORIGINS", ORIGIN), ("CALLSCOPE__CACHE__TTL", "1s")];
    let server = fixture.serve(&environment);
    let url = format!("{}/api/v1/analytics/summary?period=24h", server.url());
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();

    let preflight = ureq::http::Request::builder().method("OPTIONS").uri(&url);
    let preflight = preflight.header("Origin", ORIGIN).header("Access-Control-Request-Method", "GET");
    let preflight = agent.run(preflight.body(()).unwrap()).unwrap();
    assert_eq!(preflight.status(), 200);
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let operations = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().keys());
    let mut methods: BTreeSet<String> = operations.cloned().collect();
    methods.insert("head".to_owned());
    assert_eq!(list(preflight.headers(), "access-control-allow-methods"), methods);
    let sent = ["authorization", "content-encoding", "content-type", "if-none-match", "last-event-id", "traceparent"];
    let sent = sent.into_iter().chain(["tracestate", "x-api-key", "x-request-id"]).map(str::to_owned);
    assert_eq!(list(preflight.headers(), "access-control-allow-headers"), sent.collect());

    let mut exposed = BTreeSet::new();
    let mut seen = BTreeSet::new();
    // The last of these exceeds the limit, and its answer has Retry-After.
    for _ in 0..4 {
        let answer = agent.get(&url).header("X-API-Key", &key).header("Origin", ORIGIN).call().unwrap();
        exposed.extend(list(answer.headers(), "access-control-expose-headers"));
        seen.extend(answer.headers().keys().map(ToString::to_string));
    }
    let is_for_pages = |name: &String| {
        let name = name.as_str();
        !NOT_FOR_PAGES.contains(&name) && !FOR_BROWSERS.contains(&name) && !name.starts_with("access-control-")
    };
    seen.retain(is_for_pages);
    assert_eq!(exposed, seen);
}

/// The elements of a header, in lower case.
fn list(headers: &ureq::http::HeaderMap, name: &str) -> BTreeSet<String> {
    let text = headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.split(',').map(|element| element.trim().to_ascii_lowercase()).collect()
}
