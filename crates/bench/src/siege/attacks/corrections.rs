//! Attacks with corrections: records that replace others, again and again, each time differently.

use super::Attack;
use crate::siege::attacker::{Attacker, TENANT};
use crate::siege::records::{call, call_at, errors, lines, new_id, providers, zstd};
use crate::siege::wire::request;
use chrono::{TimeDelta, Utc};
use uuid::Uuid;

const ACME: &str = "acme";
const INGEST: &str = "/api/v1/ingest/calls";
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const JSON: (&str, &str) = ("Content-Type", "application/json");
const ZSTD: (&str, &str) = ("Content-Encoding", "zstd");

/// The attacks.
pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::new(
            "one-call",
            ACME,
            "40 connections put the same call over and over, each time with other latencies and errors.",
            |attacker| Box::pin(one_call(attacker)),
        ),
        Attack::new(
            "one-call-batches",
            ACME,
            "4 connections send 50,000 records of one call, each different from the one before.",
            |attacker| Box::pin(one_call_batches(attacker)),
        ),
        Attack::new(
            "moved-calls",
            ACME,
            "4 connections send the same 5,000 calls with 8 providers, each time on another day.",
            |attacker| Box::pin(moved_calls(attacker)),
        ),
        Attack::new(
            "replaced-errors",
            ACME,
            "4 connections send the same 300 calls, each time with 200 other errors of 300 characters.",
            |attacker| Box::pin(replaced_errors(attacker)),
        ),
        Attack::new(
            "refreshed-status",
            ACME,
            "4 connections send 10,000 calls that complete and fail in turn, so that each record is an event.",
            |attacker| Box::pin(refreshed_status(attacker)),
        ),
    ]
}

async fn flood(mut attacker: Attacker, connections: usize, bodies: Vec<Vec<u8>>) -> anyhow::Result<()> {
    let key = &attacker.keys.acme;
    let posts: Vec<Vec<u8>> = bodies.iter().map(|body| request("POST", INGEST, key, &[NDJSON, ZSTD], body)).collect();
    attacker.begin().await;
    attacker
        .flood(TENANT, connections, move |number| {
            posts[usize::try_from(number).unwrap_or_default() % posts.len()].clone()
        })
        .await;
    Ok(())
}

async fn one_call(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let (key, id) = (attacker.keys.acme.clone(), new_id());
    let latencies: Vec<String> = (1..1000).map(|number| (number * 7).to_string()).collect();
    let latencies = latencies.join(",");
    attacker
        .flood(TENANT, 40, move |number| {
            let first = usize::try_from(number % 1000).unwrap_or_default();
            let more = providers(8, first, &latencies) + &errors(50, &format!("error {number}"), "");
            request("PUT", &format!("{INGEST}/{id}"), &key, &[JSON], call(id, &more).as_bytes())
        })
        .await;
    Ok(())
}

async fn one_call_batches(attacker: Attacker) -> anyhow::Result<()> {
    let id = new_id();
    let body = |_| {
        zstd(&lines((0..50_000_i64).map(|number| {
            let start = Utc::now() - TimeDelta::minutes(2 + number);
            call_at(id, start, &providers(2, usize::try_from(number % 50).unwrap_or_default(), "1"))
        })))
    };
    flood(attacker, 4, (0..2).map(body).collect()).await
}

async fn moved_calls(attacker: Attacker) -> anyhow::Result<()> {
    let ids: Vec<Uuid> = (0..5000).map(|_| new_id()).collect();
    let now = Utc::now();
    let body = |body: i64| {
        zstd(&lines(ids.iter().zip(0_i64..).map(|(id, number)| {
            let start = now - TimeDelta::days(1 + body) - TimeDelta::minutes(number % 1440);
            call_at(*id, start, &providers(8, 0, "1,20,300"))
        })))
    };
    flood(attacker, 4, (0..60).map(body).collect()).await
}

async fn replaced_errors(attacker: Attacker) -> anyhow::Result<()> {
    let ids: Vec<Uuid> = (0..300).map(|_| new_id()).collect();
    let body = |body: usize| {
        let member = errors(200, &format!("{body}").repeat(300), "");
        zstd(&lines(ids.iter().map(|id| call(*id, &member))))
    };
    flood(attacker, 4, (1..10).map(body).collect()).await
}

async fn refreshed_status(attacker: Attacker) -> anyhow::Result<()> {
    let ids: Vec<Uuid> = (0..10_000).map(|_| new_id()).collect();
    let body = |body: usize| {
        let status = ["completed", "failed"][body % 2];
        zstd(&lines(ids.iter().map(|id| call(*id, "").replace("completed", status))))
    };
    flood(attacker, 4, (0..2).map(body).collect()).await
}
