//! What the demo prints: where it serves, ready-made requests, and what there is to find.

use callscope_api::SWAGGER_PATH;
use callscope_synthetic::{SLOW_MODEL_NAME, Story};
use chrono::{DateTime, SecondsFormat, Utc};
use std::net::SocketAddr;
use std::ops::Range;

pub fn print(address: SocketAddr, key: &str, story: &Story) {
    let curl = |path: &str| format!("  curl -H 'X-API-Key: {key}' 'http://{address}/api/v1/analytics/{path}'");
    let ask = |question: &str| println!("{}", curl(question));
    let query = |query: &str| println!("{} -H 'Content-Type: application/json' -d '{query}'", curl("query"));
    println!("\nThe demo serves at http://{address}\n");
    println!("Swagger UI  http://{address}{SWAGGER_PATH}   (Authorize with the key)");
    println!("API key     {key}");
    println!("Live        curl --no-buffer -H 'X-API-Key: {key}' http://{address}/api/v1/sse/calls/stream\n");
    println!("Try:");
    for question in [
        "summary?period=30d",
        "call-volume?period=7d&interval=day&timezone=Europe/Berlin",
        "workflow-stats?period=30d&limit=3",
        "provider-latency?period=30d",
        "errors?period=7d&service=llm&limit=2",
        "active-calls",
    ] {
        ask(question);
    }
    println!("\nThings to find (times are UTC):");
    for (number, (what, questions)) in things_to_find(story).into_iter().enumerate() {
        println!("\n{}. {what}", number + 1);
        for question in &questions {
            ask(question);
        }
    }
    let found = things_to_find(story).len() + 1;
    for (number, (what, question)) in things_to_query(story).into_iter().enumerate() {
        println!("\n{}. {what}", found + number);
        query(&question);
    }
    println!("\nCtrl-C ends it.");
}

/// What happened, and the query that shows it.
fn things_to_query(story: &Story) -> [(String, String); 4] {
    let slowdown = story.model_slowdown();
    let query = |metrics: &str, dimension: &str, window: &str| {
        format!(r#"{{"metrics": [{metrics}], "dimensions": ["{dimension}"], {window}}}"#)
    };
    let [from, to] = [slowdown.start, slowdown.end].map(text);
    let hours_of_slowdown =
        format!(r#""started_after": "{from}", "started_before": "{to}", "compare": "previous_week""#);
    [
        (
            format!(
                "{}: the model {} was slow. The other one of its provider was not. Compare with the week before.",
                hours(&slowdown),
                story.slowed_model()
            ),
            query(r#""p95_llm_latency_ms", "total_calls""#, "model", &hours_of_slowdown),
        ),
        (
            format!(
                "Callers interrupt {} {} more often than the version before; it was released on {}.",
                story.interrupted_agent(),
                story.interrupted_version(),
                story.interrupted_since().format("%A, %-d %B")
            ),
            query(r#""interruptions_per_turn", "turns""#, "agent_version", r#""period": "7d""#),
        ),
        (
            format!("A successful call of {} costs far more than one of the other agents.", story.expensive_agent()),
            query(
                r#""cost_per_successful_call_usd", "outcome_success_rate", "unpriced_calls""#,
                "agent",
                r#""period": "30d""#,
            ),
        ),
        (
            "Test calls are slower than those of production, and distort the figures that do not leave them out."
                .to_owned(),
            query(r#""p95_turn_latency_ms", "total_calls""#, "environment", r#""period": "30d""#),
        ),
    ]
}

/// What happened, and the requests that show it.
fn things_to_find(story: &Story) -> [(String, Vec<String>); 4] {
    let month = story.month();
    let (incident, burst, released_at) = (story.incident(), story.burst(), story.released_at());
    let (provider, workflow) = (story.incident_provider(), story.released_workflow());
    let [before, since] = [month.start..released_at, released_at..month.end].map(|times| window(&times));
    [
        (
            format!("{}: {provider} was slow, and many calls failed. Compare with the month.", hours(&incident)),
            vec![
                format!("provider-latency?{}", window(&incident)),
                "provider-latency?period=30d".to_owned(),
                format!("errors?{}&service=llm&level=error&limit=3", window(&incident)),
            ],
        ),
        (
            format!(
                "Since a release at {} fewer calls of {workflow} succeed: before, and since.",
                released_at.format("%H:%M on %A, %-d %B")
            ),
            vec![
                format!("summary?workflow={workflow}&{before}"),
                format!("summary?workflow={workflow}&{since}"),
                format!("errors?{since}&service=workflow&level=error&limit=3"),
            ],
        ),
        (
            format!("{}: tools refused calls, for one reason.", hours(&burst)),
            vec![format!("errors?{}&service=tool&level=error&limit=3", window(&burst))],
        ),
        (
            format!("Calls grow from week to week and rest at weekends. The model {SLOW_MODEL_NAME} is always slow."),
            vec!["call-volume?period=30d&interval=day".to_owned(), "provider-latency?period=30d".to_owned()],
        ),
    ]
}

fn hours(times: &Range<DateTime<Utc>>) -> String {
    format!("{} to {}", times.start.format("%A, %-d %B, %H:%M"), times.end.format("%H:%M"))
}

fn window(times: &Range<DateTime<Utc>>) -> String {
    format!("started_after={}&started_before={}", text(times.start), text(times.end))
}

fn text(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::Secs, true)
}
