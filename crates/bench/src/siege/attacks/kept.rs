//! Attacks with what is stored: rows, names and days by the hundred thousand, and questions about them.

use super::Attack;
use crate::siege::attacker::{Attacker, TENANT};
use crate::siege::records::{active_call, call, call_at, errors, lines, new_id, providers, zstd};
use crate::siege::wire::{get, request};
use chrono::{DateTime, TimeDelta, Utc};

const ACME: &str = "acme";
const INGEST: &str = "/api/v1/ingest/calls";
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const ZSTD: (&str, &str) = ("Content-Encoding", "zstd");

/// Connections that ask about what was stored.
const ASKING: usize = 12;

/// The attacks.
pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::new(
            "error-rows",
            ACME,
            "4 connections send 1,900 calls with 200 errors of one letter each: 380,000 rows in a body.",
            |attacker| Box::pin(error_rows(attacker)),
        ),
        Attack::new(
            "same-details",
            ACME,
            "4 connections send errors with the same details of 16 KiB: 60 MiB from 340 KiB of Zstandard.",
            |attacker| Box::pin(same_details(attacker)),
        ),
        Attack::new(
            "provider-names",
            ACME,
            "Sends 12,000 calls with 32 providers each, all with names of their own, and meanwhile asks for \
             provider-latency on 12 connections.",
            |attacker| Box::pin(provider_names(attacker)),
        )
        .lasting(20),
        Attack::new(
            "workflow-names",
            ACME,
            "Sends 35,000 calls of as many workflows, and meanwhile asks for workflow-stats on 12 connections.",
            |attacker| Box::pin(workflow_names(attacker)),
        )
        .lasting(15),
        Attack::new("workflow-ids", ACME, "The same with 35,000 ids of workflows that have one slug.", |attacker| {
            Box::pin(workflow_ids(attacker))
        })
        .lasting(15),
        Attack::new(
            "sum-rows",
            ACME,
            "4 connections send 12,000 calls, each in a minute and a workflow of its own and with 32 providers, so that \
             each makes rows of sums at every resolution.",
            |attacker| Box::pin(sum_rows(attacker)),
        ),
        Attack::new(
            "many-days",
            ACME,
            "Sends 50,000 calls on as many days of the last 137 years, and asks for a summary of 2,000 years.",
            |attacker| Box::pin(many_days(attacker)),
        )
        .lasting(15),
        Attack::new(
            "active-calls",
            ACME,
            "Sends 100,000 calls that never end, and asks for summary and active-calls on 12 connections.",
            |attacker| Box::pin(active_calls(attacker)),
        )
        .lasting(15),
        Attack::new(
            "overdue-calls",
            ACME,
            "Sends 100,000 calls that should have ended hours ago, which the server closes by itself within a minute.",
            |attacker| Box::pin(overdue_calls(attacker)),
        )
        .lasting(70),
    ]
}

/// Posts bodies in turn on some connections, and asks questions on others.
async fn send_and_ask(
    mut attacker: Attacker,
    bodies: Vec<Vec<u8>>,
    senders: usize,
    question: Option<fn(u64) -> String>,
) -> anyhow::Result<()> {
    let key = attacker.keys.acme.clone();
    let posts: Vec<Vec<u8>> = bodies.iter().map(|body| request("POST", INGEST, &key, &[NDJSON, ZSTD], body)).collect();
    attacker.begin().await;
    let send = attacker
        .flood(TENANT, senders, move |number| posts[usize::try_from(number).unwrap_or_default() % posts.len()].clone());
    let askers = if question.is_some() { ASKING } else { 0 };
    let ask = attacker.flood(TENANT, askers, move |number| {
        let path = question.map(|question| question(number)).unwrap_or_default();
        get(&format!("/api/v1/analytics/{path}"), &key)
    });
    tokio::join!(send, ask);
    Ok(())
}

/// The last days, each time with another end.
fn window(endpoint: &str, number: u64) -> String {
    let micros = i64::try_from(number).unwrap_or_default();
    let end = Utc::now() + TimeDelta::hours(1) - TimeDelta::microseconds(micros);
    let text = |instant: DateTime<Utc>| instant.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    format!("{endpoint}?started_after={}&started_before={}", text(end - TimeDelta::days(30)), text(end))
}

async fn error_rows(attacker: Attacker) -> anyhow::Result<()> {
    let member = errors(200, "x", "");
    // Calls of a body have ids of their own, so that the rows of each come to the others.
    let body = |_| zstd(&lines((0..1900).map(|_| call(new_id(), &member))));
    send_and_ask(attacker, (0..6).map(body).collect(), 4, None).await
}

async fn same_details(attacker: Attacker) -> anyhow::Result<()> {
    let details = format!(r#","details":{{"a":"{}"}}"#, "a".repeat(16_000));
    let member = errors(64, "x", &details);
    let count = (60 << 20) / (member.len() + 200);
    let body = |_| zstd(&lines((0..count).map(|_| call(new_id(), &member))));
    send_and_ask(attacker, (0..6).map(body).collect(), 4, None).await
}

async fn provider_names(attacker: Attacker) -> anyhow::Result<()> {
    let records = (0..12_000).map(|number| call(new_id(), &providers(32, number * 32, "1")));
    send_and_ask(attacker, vec![zstd(&lines(records))], 1, Some(|number| window("provider-latency", number))).await
}

async fn workflow_names(attacker: Attacker) -> anyhow::Result<()> {
    let records = (0..35_000).map(|number| call(new_id(), &format!(r#","workflow":{{"slug":"w{number}"}}"#)));
    let question = |number| window("workflow-stats", number) + "&limit=50";
    send_and_ask(attacker, vec![zstd(&lines(records))], 1, Some(question)).await
}

async fn workflow_ids(attacker: Attacker) -> anyhow::Result<()> {
    let workflow = |_| format!(r#","workflow":{{"slug":"w","id":"{}"}}"#, new_id());
    let records = (0..35_000).map(|number| call(new_id(), &workflow(number)));
    let question = |number| window("workflow-stats", number) + "&limit=50";
    send_and_ask(attacker, vec![zstd(&lines(records))], 1, Some(question)).await
}

async fn sum_rows(attacker: Attacker) -> anyhow::Result<()> {
    let now = Utc::now();
    let body = |body: i64| {
        zstd(&lines((0..12_000).map(|number| {
            // Every quarter of an hour, so that three of four resolutions have rows of their own.
            let start = now - TimeDelta::minutes(15 * (number + 12_000 * body));
            let more = format!(r#","workflow":{{"slug":"w{number}"}}{}"#, providers(32, 0, "1,20,300"));
            call_at(new_id(), start, &more)
        })))
    };
    send_and_ask(attacker, (0..6).map(body).collect(), 4, None).await
}

async fn many_days(attacker: Attacker) -> anyhow::Result<()> {
    let now = Utc::now();
    let records = (0..50_000).map(|day| {
        call_at(new_id(), now - TimeDelta::days(1 + day), &format!(r#","workflow":{{"slug":"w{}"}}"#, day % 1000))
    });
    let question = |number| {
        let minute = number % 60;
        format!("summary?started_after=0100-01-01T00:{minute:02}:00Z&started_before=2100-01-01T00:00:00.{number:06}Z")
    };
    send_and_ask(attacker, vec![zstd(&lines(records))], 1, Some(question)).await
}

async fn overdue_calls(mut attacker: Attacker) -> anyhow::Result<()> {
    let started = Utc::now() - TimeDelta::hours(5);
    let bodies = (0..2).map(|_| zstd(&lines((0..50_000).map(|_| active_call(new_id(), started)))));
    let posts: Vec<Vec<u8>> =
        bodies.map(|body| request("POST", INGEST, &attacker.keys.acme, &[NDJSON, ZSTD], &body)).collect();
    attacker.begin().await;
    attacker
        .swarm(1, |_| {
            let (attacker, posts) = (attacker.clone(), posts.clone());
            async move {
                let mut line = attacker.open(TENANT).await?;
                for post in posts {
                    line.ask(&post).await?;
                }
                Ok(())
            }
        })
        .await;
    tokio::time::sleep_until(attacker.end()).await;
    Ok(())
}

async fn active_calls(attacker: Attacker) -> anyhow::Result<()> {
    let bodies =
        (0..2).map(|_| zstd(&lines((0..50_000).map(|_| active_call(new_id(), Utc::now() - TimeDelta::minutes(1))))));
    let question = |number: u64| {
        if number.is_multiple_of(2) {
            format!("active-calls?limit=50&offset={number}")
        } else {
            window("summary", number)
        }
    };
    send_and_ask(attacker, bodies.collect(), 1, Some(question)).await
}
