//! Attacks with questions: dear to answer, dear to keep, or dear to compare.

use super::Attack;
use crate::siege::attacker::{Attacker, TENANT};
use crate::siege::records::{call, errors, lines, new_id, zstd};
use crate::siege::wire::{get, request};
use chrono::{SecondsFormat, TimeDelta, Utc};

const ACME: &str = "acme";
const ANALYTICS: &str = "/api/v1/analytics";
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const ZSTD: (&str, &str) = ("Content-Encoding", "zstd");

/// The attacks.
pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::new(
            "long-series",
            ACME,
            "40 connections ask for call-volume by the hour in other time zones, over as many buckets as allowed.",
            |attacker| Box::pin(long_series(attacker)),
        ),
        Attack::new(
            "deep-pages",
            ACME,
            "Stores 200,000 errors, then 40 connections ask for their last pages.",
            |attacker| Box::pin(deep_pages(attacker)),
        ),
        Attack::new(
            "other-windows",
            ACME,
            "100 connections ask every question about windows that are new each time, so that every request misses the \
             cache and evicts other tenants' answers.",
            |attacker| Box::pin(other_windows(attacker)),
        ),
        Attack::new(
            "same-question",
            ACME,
            "500 connections ask the same question, which is answered from the cache.",
            |attacker| Box::pin(same_question(attacker)),
        ),
        Attack::new(
            "long-tag-lists",
            ACME,
            "100 connections send If-None-Match with 60 KiB of tags that do not match.",
            |attacker| Box::pin(long_tag_lists(attacker)),
        ),
        Attack::new(
            "long-queries",
            ACME,
            "100 connections send query strings of 30 KiB: unknown parameters, repeated ones, and percent-encoding.",
            |attacker| Box::pin(long_queries(attacker)),
        ),
        Attack::new(
            "unknown-workflows",
            ACME,
            "100 connections ask for summaries of workflows that do not exist, each another one.",
            |attacker| Box::pin(unknown_workflows(attacker)),
        ),
    ]
}

/// A window of so many days; each number gives another one.
fn window(number: u64, days: i64) -> String {
    let micros = i64::try_from(number).unwrap_or_default();
    let end = Utc::now() - TimeDelta::microseconds(1 + micros * 61_000_007 % 3_600_000_000);
    let text = |instant: chrono::DateTime<Utc>| instant.to_rfc3339_opts(SecondsFormat::Micros, true);
    format!("started_after={}&started_before={}", text(end - TimeDelta::days(days)), text(end))
}

async fn long_series(mut attacker: Attacker) -> anyhow::Result<()> {
    const ZONES: [&str; 4] = ["Asia/Kolkata", "America/New_York", "Pacific/Chatham", "Africa/Casablanca"];
    attacker.begin().await;
    let key = attacker.keys.acme.clone();
    attacker
        .flood(TENANT, 40, move |number| {
            let zone = ZONES[usize::try_from(number % 4).unwrap_or_default()];
            get(&format!("{ANALYTICS}/call-volume?{}&interval=hour&timezone={zone}", window(number, 390)), &key)
        })
        .await;
    Ok(())
}

async fn deep_pages(mut attacker: Attacker) -> anyhow::Result<()> {
    let member = errors(200, "x", "");
    let body = zstd(&lines((0..250).map(|_| call(new_id(), &member))));
    let key = attacker.keys.acme.clone();
    for _ in 0..4 {
        attacker.prepare(&request("POST", "/api/v1/ingest/calls", &key, &[NDJSON, ZSTD], &body)).await?;
    }
    attacker.begin().await;
    attacker
        .flood(TENANT, 40, move |number| {
            let offset = 49_000 - number % 20_000;
            get(&format!("{ANALYTICS}/errors?{}&limit=200&offset={offset}", window(number, 30)), &key)
        })
        .await;
    Ok(())
}

async fn other_windows(mut attacker: Attacker) -> anyhow::Result<()> {
    const QUESTIONS: [&str; 5] = ["summary", "call-volume", "workflow-stats", "provider-latency", "errors"];
    attacker.begin().await;
    let key = attacker.keys.acme.clone();
    attacker
        .flood(TENANT, 100, move |number| {
            let question = QUESTIONS[usize::try_from(number % 5).unwrap_or_default()];
            get(&format!("{ANALYTICS}/{question}?{}", window(number, 29)), &key)
        })
        .await;
    Ok(())
}

async fn same_question(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let question = get(&format!("{ANALYTICS}/provider-latency?period=30d"), &attacker.keys.acme);
    attacker.flood(TENANT, 500, move |_| question.clone()).await;
    Ok(())
}

async fn long_tag_lists(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let tags = vec![r#"W/"0123456789abcdef0123456789abcdef""#; 1600].join(",");
    let path = format!("{ANALYTICS}/summary?period=30d");
    let question = request("GET", &path, &attacker.keys.acme, &[("If-None-Match", &tags)], b"");
    attacker.flood(TENANT, 100, move |_| question.clone()).await;
    Ok(())
}

async fn long_queries(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let queries = [
        (0..3000).map(|number| format!("p{number}=1")).collect::<Vec<_>>().join("&"),
        vec!["period=30d"; 2700].join("&"),
        format!("workflow={}", "%61".repeat(10_000)),
        "&".repeat(30_000),
    ];
    let key = attacker.keys.acme.clone();
    attacker
        .flood(TENANT, 100, move |number| {
            let query = &queries[usize::try_from(number % 4).unwrap_or_default()];
            get(&format!("{ANALYTICS}/summary?{query}"), &key)
        })
        .await;
    Ok(())
}

async fn unknown_workflows(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let key = attacker.keys.acme.clone();
    attacker
        .flood(TENANT, 100, move |number| get(&format!("{ANALYTICS}/summary?period=30d&workflow=none-{number}"), &key))
        .await;
    Ok(())
}
