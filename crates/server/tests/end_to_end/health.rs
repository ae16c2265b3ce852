//! Health, which needs no key.

use crate::fixture::Fixture;
use callscope_testkit::Backend;
use serde_json::Value;

const DOCUMENT: &str = include_str!("../../../../openapi/openapi.json");

on_each_backend!(health_needs_no_key_and_everything_else_does);

fn health_needs_no_key_and_everything_else_does(backend: Backend) {
    let fixture = Fixture::new(backend);
    let server = fixture.serve(&[]);
    let stranger = server.stranger();
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = stranger.get(path);
        assert_eq!((answer.status, &answer.json()["status"]), (200, &"ok".into()), "{path}: {answer:?}");
    }
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    let analytics = paths.filter(|(path, operations)| path.contains("/analytics/") && operations["get"].is_object());
    for (path, _) in analytics {
        let answer = stranger.get(path);
        assert_eq!((answer.status, answer.content_type.as_str()), (401, "application/problem+json"), "{path}");
    }
    let nowhere = stranger.get("/nowhere");
    assert_eq!((nowhere.status, &nowhere.json()["code"]), (404, &"not_found".into()));
}
