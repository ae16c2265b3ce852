//! Two tenants on one server. Neither ever sees anything of the other, whatever the requests look like.

use crate::client::Client;
use crate::document::analytics;
use crate::layout::answer;
use crate::records::{active, completed, error, failed};
use crate::server::Server;
use crate::wire::Request;
use callscope_testkit::Backend;

on_each_backend!(
    interleaved_data_with_the_same_ids_stays_apart,
    concurrent_batches_of_two_tenants_stay_apart,
    the_tenant_comes_from_the_key_and_from_nowhere_else
);

/// Parameters that narrow an answer, beside every operation without any.
const NARROWED: [&str; 4] = [
    "summary?workflow=daily-call",
    "call-volume?interval=day",
    "call-volume?workflow=daily-call&interval=week",
    "errors?service=stt&limit=1",
];

async fn answers(client: &Client) -> Vec<String> {
    let mut answers = Vec::new();
    for question in analytics().chain(NARROWED) {
        answers.push(answer(&client.ask(question).await));
    }
    answers
}

async fn interleaved_data_with_the_same_ids_stays_apart(backend: Backend) {
    let server = Server::start(backend).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let at = "2026-01-17T10:00:00Z";
    let of_acme = |number| {
        completed(number, at, 60)
            .workflow("daily-call", "Acme's daily")
            .tokens(1)
            .provider("stt", "acme-stt", &[100.0])
            .error(error(at, "stt", "error", "Acme's own"))
    };
    let of_globex = |number| {
        failed(number, at, 600)
            .workflow("daily-call", "Globex's daily")
            .tokens(1000)
            .provider("stt", "globex-stt", &[900.0])
            .error(error(at, "stt", "error", "Globex's own"))
            .error(error(at, "llm", "warning", "Globex's own, too"))
    };
    // Alone on a server, acme sees this.
    let alone = Server::start(backend).await;
    let acme_alone = alone.tenant("acme").await;
    acme_alone.given(&[of_acme(1), of_acme(2), active(3, at)]).await;
    let expected = answers(&acme_alone).await;
    // Here the two write the same ids by turns, and correct and finish each other's, so it would seem.
    acme.given(&[of_acme(1)]).await;
    globex.given(&[of_globex(1), of_globex(2), active(3, at), active(4, at)]).await;
    acme.given(&[active(2, at), active(3, at)]).await;
    globex.given(&[of_globex(3), of_globex(1)]).await;
    acme.given(&[of_acme(2)]).await;
    globex.given(&[of_globex(1)]).await;
    assert_eq!(answers(&acme).await, expected);
    for text in answers(&globex).await {
        assert!(!text.contains("cme"), "{text}");
    }
    let summary = globex.summary("").await.value();
    assert_eq!((&summary["total_calls"], &summary["total_tokens"]), (&4.into(), &3000.into()));
}

async fn concurrent_batches_of_two_tenants_stay_apart(backend: Backend) {
    let server = Server::start(backend).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let at = "2026-01-17T10:00:00Z";
    let batch = |tokens: i64| (0..100).map(|number| completed(number, at, 60).tokens(tokens)).collect::<Vec<_>>();
    let (ones, thousands) = (batch(1), batch(1000));
    tokio::join!(acme.given(&ones), globex.given(&thousands));
    assert_eq!(acme.summary("").await.value()["total_tokens"], 100);
    assert_eq!(globex.summary("").await.value()["total_tokens"], 100_000);
}

async fn the_tenant_comes_from_the_key_and_from_nowhere_else(backend: Backend) {
    let server = Server::start(backend).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60)]).await;
    let headers = ["X-Tenant-Id", "X-Tenant", "Tenant", "X-Forwarded-User", "Cookie", "Forwarded"];
    for header in headers {
        let request = Request::get("/api/v1/analytics/summary").header(header, acme.id.to_string());
        let response = globex.send(&request).await;
        assert_eq!(response.value()["total_calls"], 0, "{header}");
    }
    for name in ["tenant", "tenant_id"] {
        assert_eq!(globex.summary(&format!("?{name}={}", acme.id)).await.status, 422, "{name}");
        let record = completed(2, "2026-01-17T10:00:00Z", 60).with(name, acme.id.to_string());
        let answer = globex.put_call(&record).await.value();
        assert_eq!(answer["ignored_fields"], serde_json::json!([name]));
    }
    for (tenant, calls) in [(&acme, 1), (&globex, 1)] {
        assert_eq!(tenant.summary("").await.value()["total_calls"], calls);
    }
}
