//! Attacks on connections: held open, fed slowly, never read, or made faster than they are served. No credential needed.

use super::Attack;
use crate::siege::attacker::{Attacker, STRANGER};
use crate::siege::wire::{get, request};
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::time::{sleep, sleep_until};

const FROM: &str = "a stranger";

/// Connections of the attack that holds them: more than the server takes. By default that is more than many machines let
/// one process open, so the server takes fewer.
const HELD: usize = 5000;
const FEWER: &[(&str, &str)] =
    &[("CALLSCOPE__SERVER__CONNECTIONS_MAX", "4000"), ("CALLSCOPE__LIVE__SOCKETS_MAX", "3000")];
/// Connections of the attacks that feed them slowly.
const SLOW: usize = 500;
/// Large files of Swagger UI that are asked for on one connection: more than the kernel buffers.
const PIPELINED: usize = 8;
const ASSET: &str = "/swagger-ui/swagger-ui-bundle.js";

/// The attacks.
pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::new(
            "idle-connections",
            FROM,
            "Opens 5,000 connections from one address to a server that takes 4,000, and sends nothing.",
            |attacker| Box::pin(idle(attacker)),
        )
        .with(FEWER),
        Attack::new(
            "slow-first-head",
            FROM,
            "500 connections send a head, one byte a second.",
            |attacker| Box::pin(slow(attacker, Slow::FirstHead)),
        )
        .lasting(25),
        Attack::new(
            "slow-next-head",
            FROM,
            "500 connections get an answer, then send the head of the next request, one byte a second. The server must \
             have closed them before the attack ends.",
            |attacker| Box::pin(slow(attacker, Slow::NextHead)),
        )
        .lasting(25),
        Attack::new(
            "line-breaks",
            FROM,
            "500 connections get an answer, then send a line break every second, which is part of no request.",
            |attacker| Box::pin(slow(attacker, Slow::LineBreaks)),
        )
        .lasting(25),
        Attack::new(
            "unread-assets",
            FROM,
            "300 connections ask for 12 MiB of Swagger UI each and read nothing. The server must have closed them before \
             the attack ends.",
            |attacker| Box::pin(unread_assets(attacker)),
        )
        .lasting(45),
        Attack::new(
            "unread-assets-of-many",
            FROM,
            "The same from 64 addresses, five connections each.",
            |attacker| Box::pin(unread_assets_of_many(attacker)),
        )
        .lasting(45),
        Attack::new(
            "connection-churn",
            FROM,
            "200 tasks open connections, ask for /health/live and close them, as fast as they can.",
            |attacker| Box::pin(churn(attacker)),
        ),
        Attack::new(
            "pipelined",
            FROM,
            "50 connections send 1,000 small requests at a time before they read the answers.",
            |attacker| Box::pin(pipelined(attacker)),
        ),
        Attack::new(
            "documents",
            FROM,
            "100 connections ask for the OpenAPI document, and 20 for the largest file of Swagger UI.",
            |attacker| Box::pin(documents(attacker)),
        ),
        Attack::new(
            "large-heads",
            FROM,
            "100 connections send heads of 64 KiB with 90 headers, or with a path of 60 KiB, to an operation.",
            |attacker| Box::pin(large_heads(attacker)),
        ),
    ]
}

async fn idle(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    attacker
        .swarm(HELD, |_| {
            let attacker = attacker.clone();
            async move {
                let mut line = attacker.open(STRANGER).await?;
                line.wait_for_end().await;
                attacker.tally.count("closed");
                Ok(())
            }
        })
        .await;
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Slow {
    FirstHead,
    NextHead,
    LineBreaks,
}

/// Holds connections by sending just enough, and opens none anew.
async fn slow(mut attacker: Attacker, kind: Slow) -> anyhow::Result<()> {
    attacker.begin().await;
    attacker
        .swarm_to_be_closed(SLOW, |_| {
            let attacker = attacker.clone();
            async move {
                let mut line = attacker.open(STRANGER).await?;
                if kind != Slow::FirstHead {
                    line.ask(&get("/health/live", "")).await?;
                }
                line.send(if kind == Slow::LineBreaks { b"\r\n" } else { b"GET /health/live HTTP/1.1\r\nX: " }).await?;
                let piece: &[u8] = if kind == Slow::LineBreaks { b"\r\n" } else { b"a" };
                while !line.is_closed() && line.send(piece).await.is_ok() {
                    sleep(Duration::from_secs(1)).await;
                }
                attacker.tally.count("closed");
                Ok(())
            }
        })
        .await;
    Ok(())
}

/// Asks for much, and reads nothing.
async fn hold_unread(attacker: Attacker, source: Ipv4Addr) -> std::io::Result<()> {
    let mut line = attacker.open_narrow(source).await?;
    // Where all answers are small refusals, the kernel takes them, and nothing holds the connection.
    let last = request("GET", ASSET, "", &[("Connection", "close")], b"");
    line.request(&[get(ASSET, "").repeat(PIPELINED - 1), last].concat()).await?;
    sleep_until(attacker.end()).await;
    Ok(())
}

async fn unread_assets(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    attacker.swarm_to_be_closed(300, |_| hold_unread(attacker.clone(), STRANGER)).await;
    Ok(())
}

async fn unread_assets_of_many(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let source = |index: usize| Ipv4Addr::new(127, 0, 1, u8::try_from(1 + index % 64).unwrap_or(1));
    attacker.swarm_to_be_closed(320, |index| hold_unread(attacker.clone(), source(index))).await;
    Ok(())
}

async fn churn(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let request = get("/health/live", "");
    attacker
        .swarm(200, |_| {
            let (attacker, request) = (attacker.clone(), request.clone());
            async move {
                while !attacker.is_over() {
                    let asked = async { attacker.open(STRANGER).await?.ask(&request).await };
                    if asked.await.is_err() {
                        attacker.tally.count("closed");
                        sleep(Duration::from_millis(5)).await;
                    }
                }
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn pipelined(mut attacker: Attacker) -> anyhow::Result<()> {
    const AT_ONCE: usize = 1000;
    attacker.begin().await;
    let requests = get("/no/such/path", "").repeat(AT_ONCE);
    attacker
        .swarm(50, |_| {
            let (attacker, requests) = (attacker.clone(), requests.clone());
            async move {
                let mut line = attacker.open(STRANGER).await?;
                while !attacker.is_over() {
                    line.request(&requests).await?;
                    for _ in 0..AT_ONCE {
                        let status = line.answer().await?.status;
                        attacker.tally.count(status.to_string());
                    }
                }
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn documents(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let document = attacker.flood(STRANGER, 100, |_| get("/api-docs/openapi.json", ""));
    let asset = attacker.flood(STRANGER, 20, |_| get(ASSET, ""));
    tokio::join!(document, asset);
    Ok(())
}

async fn large_heads(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let padding = "a".repeat(700);
    let headers = (0..90).map(|number| format!("X-Padding-{number}: {padding}\r\n")).collect::<Vec<_>>().concat();
    let many = format!("GET /api/v1/analytics/summary HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n").into_bytes();
    let query = "period=24h&".repeat(5000);
    let long = format!("GET /api/v1/analytics/summary?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes();
    attacker.flood(STRANGER, 100, move |number| if number % 2 == 0 { many.clone() } else { long.clone() }).await;
    Ok(())
}
