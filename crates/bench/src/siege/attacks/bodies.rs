//! Attacks on the reception and parsing of bodies: announced, slow, packed, large.

use super::Attack;
use crate::siege::attacker::{ACCOMPLICE, Attacker, TENANT};
use crate::siege::records::{call, errors, gzip, lines, new_id, zstd, zstd_bomb};
use crate::siege::wire::request;
use std::time::Duration;
use tokio::time::sleep;

const ACME: &str = "acme";
const TOGETHER: &str = "acme, initech";
const INGEST: &str = "/api/v1/ingest/calls";
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const JSON: (&str, &str) = ("Content-Type", "application/json");
const ZSTD: (&str, &str) = ("Content-Encoding", "zstd");
const GZIP: (&str, &str) = ("Content-Encoding", "gzip");

/// Bytes of a body that the server takes by default.
const BODY_BYTES_MAX: usize = 64 << 20;

/// The attacks.
pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::new(
            "announced-bodies",
            TOGETHER,
            "Two tenants announce 64 MiB on 16 connections each, and send one byte.",
            |attacker| Box::pin(announced(attacker)),
        ),
        Attack::new("slow-bodies", ACME, "900 connections send a chunked body, one byte a second.", |attacker| {
            Box::pin(slow(attacker))
        }),
        Attack::new(
            "slow-bodies-after-408",
            ACME,
            "50 connections send a chunked body one byte a second, and go on after the answer. The server must have closed \
             them before the attack ends.",
            |attacker| Box::pin(slow_after_answer(attacker)),
        )
        .with(&[("CALLSCOPE__SERVER__BODY_TIMEOUT", "5s")])
        .lasting(30),
        Attack::new(
            "line-feed-bombs",
            ACME,
            "150 connections send 64 MiB of line feeds as 2 KiB of Zstandard.",
            |attacker| Box::pin(bombs(attacker, 150, "zstd", vec![b'\n'; BODY_BYTES_MAX - 1], NDJSON)),
        ),
        Attack::new("array-bombs", ACME, "50 connections send 64 MiB of `[1,1,1,…]` as Zstandard.", |attacker| {
            let body = [b"[1".as_slice(), &b",1".repeat(BODY_BYTES_MAX / 2 - 4), b"]"].concat();
            Box::pin(bombs(attacker, 50, "zstd", body, JSON))
        }),
        Attack::new(
            "packed-arrays",
            ACME,
            "50 connections send 60 MiB of `[1,1,1,…]` as Zstandard that unpacks to 180 times its size, which is allowed.",
            |attacker| {
                let body = [b"[1".as_slice(), &b",1".repeat(30 << 20), b"]"].concat();
                Box::pin(async move { flood(attacker, 50, &zstd(&body), &[JSON, ZSTD]).await })
            },
        ),
        Attack::new(
            "nested-bombs",
            ACME,
            "50 connections send 60 MiB of opening brackets as Zstandard.",
            |attacker| Box::pin(bombs(attacker, 50, "zstd", vec![b'['; 60 << 20], JSON)),
        ),
        Attack::new("gzip-bombs", ACME, "50 connections send 64 MiB of spaces as gzip.", |attacker| {
            Box::pin(bombs(attacker, 50, "gzip", vec![b' '; BODY_BYTES_MAX - 1], NDJSON))
        }),
        Attack::new("empty-members", ACME, "20 connections send 1 MiB of empty gzip members.", |attacker| {
            Box::pin(packed(attacker, 20, gzip(b"").repeat((1 << 20) / gzip(b"").len()), GZIP))
        }),
        Attack::new("empty-frames", ACME, "20 connections send 1 MiB of empty Zstandard frames.", |attacker| {
            Box::pin(packed(attacker, 20, zstd_bomb(b"").repeat((1 << 20) / zstd_bomb(b"").len()), ZSTD))
        }),
        Attack::new(
            "tiny-chunks",
            ACME,
            "20 connections send a body in chunks of one byte, as fast as they can.",
            |attacker| Box::pin(tiny_chunks(attacker)),
        ),
        Attack::new(
            "large-bodies",
            TOGETHER,
            "Two tenants send 60 MiB of sound records with 10,000 latencies each, as Zstandard, on 4 connections each.",
            |attacker| Box::pin(large(attacker)),
        ),
        Attack::new(
            "escaped-messages",
            ACME,
            "4 connections send 60 MiB of errors whose messages are written as \\u escapes, as Zstandard; their records \
             are refused after they were read.",
            |attacker| Box::pin(escaped(attacker)),
        ),
        Attack::new(
            "single-calls",
            ACME,
            "300 connections put single calls, far more often than the limit allows.",
            |attacker| Box::pin(single_calls(attacker)),
        ),
    ]
}

async fn announced(mut attacker: Attacker) -> anyhow::Result<()> {
    const EACH: usize = 16;
    attacker.begin().await;
    attacker
        .swarm(2 * EACH, |index| {
            let attacker = attacker.clone();
            async move {
                let is_first = index % 2 == 0;
                let key = if is_first { &attacker.keys.acme } else { &attacker.keys.initech };
                let head = format!(
                    "POST {INGEST} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nContent-Type: {}\r\n\
                     Content-Length: {BODY_BYTES_MAX}\r\n\r\n ",
                    NDJSON.1
                );
                while !attacker.is_over() {
                    let mut line = attacker.open(if is_first { TENANT } else { ACCOMPLICE }).await?;
                    line.request(head.as_bytes()).await?;
                    if let Ok(answer) = line.answer().await {
                        attacker.tally.count(answer.status.to_string());
                    }
                    sleep(Duration::from_millis(100)).await;
                }
                Ok(())
            }
        })
        .await;
    Ok(())
}

fn chunked_head(key: &str) -> String {
    format!(
        "POST {INGEST} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: {key}\r\nContent-Type: {}\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        NDJSON.1
    )
}

async fn slow(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    attacker
        .swarm(900, |_| {
            let attacker = attacker.clone();
            async move {
                while !attacker.is_over() {
                    let mut line = attacker.open(TENANT).await?;
                    line.request(chunked_head(&attacker.keys.acme).as_bytes()).await?;
                    while !line.is_closed() && line.send(b"1\r\n \r\n").await.is_ok() {
                        sleep(Duration::from_secs(1)).await;
                    }
                    attacker.tally.count("closed");
                }
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn slow_after_answer(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    attacker
        .swarm_to_be_closed(50, |_| {
            let attacker = attacker.clone();
            async move {
                let mut line = attacker.open(TENANT).await?;
                line.request(chunked_head(&attacker.keys.acme).as_bytes()).await?;
                while line.send(b"1\r\n \r\n").await.is_ok() {
                    // Reads the answer as well, and goes on sending.
                    tokio::select! {
                        () = line.wait_for_end() => break,
                        () = sleep(Duration::from_secs(1)) => {}
                    }
                }
                attacker.tally.count("closed");
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn bombs(
    attacker: Attacker,
    connections: usize,
    packing: &'static str,
    body: Vec<u8>,
    media_type: (&'static str, &'static str),
) -> anyhow::Result<()> {
    let packed = if packing == "gzip" { gzip(&body) } else { zstd_bomb(&body) };
    drop(body);
    flood(attacker, connections, &packed, &[media_type, ("Content-Encoding", packing)]).await
}

async fn packed(
    attacker: Attacker,
    connections: usize,
    body: Vec<u8>,
    packing: (&'static str, &'static str),
) -> anyhow::Result<()> {
    flood(attacker, connections, &body, &[NDJSON, packing]).await
}

async fn flood(
    mut attacker: Attacker,
    connections: usize,
    body: &[u8],
    headers: &[(&str, &str)],
) -> anyhow::Result<()> {
    let post = request("POST", INGEST, &attacker.keys.acme, headers, body);
    attacker.begin().await;
    attacker.flood(TENANT, connections, move |_| post.clone()).await;
    Ok(())
}

async fn tiny_chunks(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let chunks = b"1\r\n \r\n".repeat(10_000);
    attacker
        .swarm(20, |_| {
            let (attacker, chunks) = (attacker.clone(), chunks.clone());
            async move {
                while !attacker.is_over() {
                    let mut line = attacker.open(TENANT).await?;
                    line.request(chunked_head(&attacker.keys.acme).as_bytes()).await?;
                    let mut sent = 0;
                    while sent < BODY_BYTES_MAX && !attacker.is_over() && line.send(&chunks).await.is_ok() {
                        sent += 10_000;
                    }
                    attacker.tally.count("closed");
                }
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn large(mut attacker: Attacker) -> anyhow::Result<()> {
    const LATENCIES: usize = 9_990;
    let latencies = vec!["1"; LATENCIES].join(",");
    let member =
        format!(r#","providers":[{{"provider_type":"stt","provider_name":"p","latencies_ms":[{latencies}]}}]"#);
    let count = (60 << 20) / (member.len() + 200);
    let body = zstd(&lines((0..count).map(|_| call(new_id(), &member))));
    let keys = [attacker.keys.acme.clone(), attacker.keys.initech.clone()];
    let posts = keys.map(|key| request("POST", INGEST, &key, &[NDJSON, ZSTD], &body));
    attacker.begin().await;
    attacker.flood(TENANT, 8, move |number| posts[usize::from(number % 2 == 1)].clone()).await;
    Ok(())
}

async fn escaped(mut attacker: Attacker) -> anyhow::Result<()> {
    let message = r"\u0061".repeat(4000);
    // One service is unknown, so the record is refused.
    let member = errors(100, &message, "").replacen("\"stt\"", "\"none\"", 1);
    let count = (60 << 20) / (member.len() + 200);
    let body = zstd(&lines((0..count).map(|_| call(new_id(), &member))));
    let post = request("POST", INGEST, &attacker.keys.acme, &[NDJSON, ZSTD], &body);
    attacker.begin().await;
    attacker.flood(TENANT, 4, move |_| post.clone()).await;
    Ok(())
}

async fn single_calls(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let key = attacker.keys.acme.clone();
    attacker
        .flood(TENANT, 300, move |_| {
            let id = new_id();
            request("PUT", &format!("{INGEST}/{id}"), &key, &[JSON], call(id, "").as_bytes())
        })
        .await;
    Ok(())
}
