//! Attacks with answers: made larger than their requests, or asked for and not read.

use super::Attack;
use crate::siege::attacker::{Attacker, TENANT};
use crate::siege::records::{call, errors, lines, new_id, zstd};
use crate::siege::wire::{get, request};
use std::time::Duration;
use tokio::time::{sleep, sleep_until};

const ACME: &str = "acme";
const INGEST: &str = "/api/v1/ingest/calls";
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const ZSTD: (&str, &str) = ("Content-Encoding", "zstd");

/// A page of errors.
const ERRORS: &str = "/api/v1/analytics/errors?period=24h&limit=200";

/// Records of a batch by default.
const RECORDS_MAX: usize = 50_000;
/// Most bytes of an answer to a batch, whatever is wrong with it.
const ANSWER_BYTES_MAX: u64 = 2 << 20;

/// The attacks.
pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::new(
            "rejected-records",
            ACME,
            "20 connections send 50,000 records each with an unknown field of 200 characters that JSON escapes sixfold, \
             and read the answers, which must have at most 2 MiB.",
            |attacker| Box::pin(rejected(attacker)),
        ),
        Attack::new(
            "unread-rejections",
            ACME,
            "60 connections send the same and read nothing. The server must have closed them before the attack ends.",
            |attacker| Box::pin(unread_rejections(attacker)),
        )
        .lasting(45),
        Attack::new(
            "unread-pages",
            ACME,
            "150 connections ask for eight pages of 200 long errors each, and read nothing. The server must have closed \
             them before the attack ends.",
            |attacker| Box::pin(unread_pages(attacker)),
        )
        .lasting(45),
        Attack::new(
            "slowly-read-pages",
            ACME,
            "150 connections ask for such pages and read 100 bytes a second.",
            |attacker| Box::pin(slowly_read_pages(attacker)),
        )
        .lasting(20),
        Attack::new(
            "many-faults",
            ACME,
            "10 connections send 1,000 records with 20 faults each, over and over.",
            |attacker| Box::pin(many_faults(attacker)),
        ),
    ]
}

/// A batch of which nothing is accepted.
fn rejected_batch(attacker: &Attacker) -> Vec<u8> {
    let record = format!("{{\"{}\":1}}\n", r"\u0001".repeat(200));
    let body = zstd(&record.into_bytes().repeat(RECORDS_MAX));
    request("POST", INGEST, &attacker.keys.acme, &[NDJSON, ZSTD], &body)
}

async fn rejected(mut attacker: Attacker) -> anyhow::Result<()> {
    use std::sync::atomic::Ordering;
    let post = rejected_batch(&attacker);
    attacker.begin().await;
    attacker.flood(TENANT, 20, move |_| post.clone()).await;
    let tally = &attacker.tally;
    let each = tally.received.load(Ordering::Relaxed) / tally.requests.load(Ordering::Relaxed).max(1);
    if each > ANSWER_BYTES_MAX {
        tally.fault(format!("an answer has {} MiB", each >> 20));
    }
    Ok(())
}

/// Sends requests on one connection, and reads nothing.
async fn hold(attacker: Attacker, requests: Vec<u8>) -> std::io::Result<()> {
    let mut line = attacker.open_narrow(TENANT).await?;
    line.request(&requests).await?;
    sleep_until(attacker.end()).await;
    Ok(())
}

async fn unread_rejections(mut attacker: Attacker) -> anyhow::Result<()> {
    let post = rejected_batch(&attacker).repeat(8);
    attacker.begin().await;
    attacker.swarm_to_be_closed(60, |_| hold(attacker.clone(), post.clone())).await;
    Ok(())
}

/// Stores errors with messages of 4,000 characters that are escaped, and gives a question for 200 of them.
async fn long_errors(attacker: &Attacker) -> anyhow::Result<Vec<u8>> {
    let member = errors(200, &r"\u0001".repeat(4000), "");
    let body = zstd(&lines((0..5).map(|_| call(new_id(), &member))));
    attacker.prepare(&request("POST", INGEST, &attacker.keys.acme, &[NDJSON, ZSTD], &body)).await?;
    Ok(get(ERRORS, &attacker.keys.acme))
}

async fn unread_pages(mut attacker: Attacker) -> anyhow::Result<()> {
    let question = long_errors(&attacker).await?;
    let last = request("GET", ERRORS, &attacker.keys.acme, &[("Connection", "close")], b"");
    let question = [question.repeat(7), last].concat();
    attacker.begin().await;
    attacker.swarm_to_be_closed(150, |_| hold(attacker.clone(), question.clone())).await;
    Ok(())
}

async fn slowly_read_pages(mut attacker: Attacker) -> anyhow::Result<()> {
    let question = long_errors(&attacker).await?;
    attacker.begin().await;
    attacker
        .swarm(150, |_| {
            let (attacker, question) = (attacker.clone(), question.clone());
            async move {
                let mut line = attacker.open_narrow(TENANT).await?;
                line.request(&question).await?;
                while !attacker.is_over() {
                    if line.receive_at_most(100).await.is_err() {
                        attacker.tally.count("closed");
                        return Ok(());
                    }
                    sleep(Duration::from_secs(1)).await;
                }
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn many_faults(mut attacker: Attacker) -> anyhow::Result<()> {
    let record = format!(
        r#"{{"call_id":"x","status":"x","started_at":"x","ended_at":"x","providers":[{}]}}"#,
        vec![r#"{"provider_type":"x","provider_name":""}"#; 20].join(",")
    );
    let body = lines((0..1000).map(|_| record.clone()));
    let post = request("POST", INGEST, &attacker.keys.acme, &[NDJSON], &body);
    attacker.begin().await;
    attacker.flood(TENANT, 10, move |_| post.clone()).await;
    Ok(())
}
