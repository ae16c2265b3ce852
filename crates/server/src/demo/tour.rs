//! What the demo prints: where it serves, ready-made requests, and what there is to find.

use callscope_api::SWAGGER_PATH;
use callscope_synthetic::{SLOW_MODEL_NAME, Story};
use chrono::{DateTime, SecondsFormat, Utc};
use std::net::SocketAddr;
use std::ops::Range;

pub fn print(address: SocketAddr, key: &str, story: &Story) {
    let ask = |question: &str| println!("  curl -H 'X-API-Key: {key}' 'http://{address}/api/v1/analytics/{question}'");
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
    println!("\nCtrl-C ends it.");
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
    let text = |instant: DateTime<Utc>| instant.to_rfc3339_opts(SecondsFormat::Secs, true);
    format!("started_after={}&started_before={}", text(times.start), text(times.end))
}
