//! Health, which nobody needs a key for.

use crate::fixture::Fixture;
use callscope_testkit::Backend;

on_each_backend!(health_is_told_to_anyone_and_nothing_else_is);

fn health_is_told_to_anyone_and_nothing_else_is(backend: Backend) {
    let fixture = Fixture::new(backend);
    let server = fixture.serve(&[]);
    let stranger = server.stranger();
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = stranger.get(path);
        assert_eq!((answer.status, &answer.json()["status"]), (200, &"ok".into()), "{path}: {answer:?}");
    }
    for endpoint in ["summary", "call-volume", "workflow-stats", "provider-latency", "errors", "active-calls"] {
        let answer = stranger.get(&format!("/api/v1/analytics/{endpoint}"));
        assert_eq!((answer.status, answer.content_type.as_str()), (401, "application/problem+json"), "{endpoint}");
    }
    let nowhere = stranger.get("/nowhere");
    assert_eq!((nowhere.status, &nowhere.json()["code"]), (404, &"not_found".into()));
}
