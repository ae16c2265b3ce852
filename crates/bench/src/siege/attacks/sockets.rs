//! Attacks through the live interfaces: sockets, and streams of events.

use super::Attack;
use crate::siege::attacker::{Attacker, TENANT};
use crate::siege::records::{call, errors, lines, new_id, zstd};
use crate::siege::wire::{Line, frame, get, request, upgrade};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

const ACME: &str = "acme";
const CALLS: &str = "/ws/calls";
const STREAM: &str = "/api/v1/sse/calls/stream";
const NDJSON: (&str, &str) = ("Content-Type", "application/x-ndjson");
const ZSTD: (&str, &str) = ("Content-Encoding", "zstd");
const TEXT: u8 = 1;
const PING: u8 = 9;

/// The attacks.
pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::new(
            "endless-frame",
            ACME,
            "4 sockets announce a frame of 1 TiB and send it.",
            |attacker| Box::pin(endless_frame(attacker)),
        ),
        Attack::new(
            "half-frames",
            ACME,
            "1,000 sockets announce a frame of 4,096 bytes and send all but one.",
            |attacker| Box::pin(half_frames(attacker)),
        ),
        Attack::new(
            "endless-fragments",
            ACME,
            "20 sockets send fragments of a message that never ends.",
            |attacker| Box::pin(endless_fragments(attacker)),
        ),
        Attack::new(
            "unread-pongs",
            ACME,
            "300 sockets send pings and read nothing. The server must have closed them before the attack ends.",
            |attacker| Box::pin(unread_pongs(attacker)),
        )
        .lasting(50),
        Attack::new("ping-flood", ACME, "8 sockets send empty pings without a pause.", |attacker| {
            Box::pin(message_flood(attacker, frame(PING, b"")))
        }),
        Attack::new("message-flood", ACME, "8 sockets send messages of no known type.", |attacker| {
            Box::pin(message_flood(attacker, frame(TEXT, br#"{"action":"dance","steps":[[[[[[[[]]]]]]]]}"#)))
        }),
        Attack::new(
            "subscription-flood",
            ACME,
            "8 sockets subscribe to call-volume and unsubscribe, without a pause.",
            |attacker| Box::pin(subscription_flood(attacker)),
        ),
        Attack::new("socket-churn", ACME, "100 tasks open sockets and close them.", |attacker| {
            Box::pin(socket_churn(attacker))
        }),
        Attack::new(
            "many-figures",
            ACME,
            "Opens 300 sockets for figures of as many workflows and periods, while calls are written.",
            |attacker| Box::pin(many_figures(attacker)),
        )
        .lasting(15),
        Attack::new(
            "replayed-events",
            ACME,
            "Makes 100,000 events, then 150 streams at a time replay all of them.",
            |attacker| Box::pin(replayed_events(attacker)),
        )
        .lasting(15),
        Attack::new(
            "followers",
            ACME,
            "1,000 streams follow while calls that happen now are written in batches of 2,000.",
            |attacker| Box::pin(followers(attacker, STREAM.to_owned(), 1000)),
        )
        .lasting(20),
        Attack::new(
            "repeated-types",
            ACME,
            "300 streams ask for one type of events 4,000 times over, while events of another type are made.",
            |attacker| {
                let path = format!("{STREAM}?types={}", vec!["call.error"; 4000].join(","));
                Box::pin(followers(attacker, path, 300))
            },
        )
        .lasting(15),
        Attack::new(
            "unread-streams",
            ACME,
            "300 streams are not read while errors with long messages are written. The server must have closed them before \
             the attack ends.",
            |attacker| Box::pin(unread_streams(attacker)),
        )
        .lasting(50),
    ]
}

/// An open socket.
async fn open(attacker: &Attacker, path: &str, is_narrow: bool) -> io::Result<Line> {
    let mut line = if is_narrow { attacker.open_narrow(TENANT).await? } else { attacker.open(TENANT).await? };
    line.request(&upgrade(path, &attacker.keys.acme)).await?;
    let status = line.answer().await?.status;
    attacker.tally.count(status.to_string());
    if status == 101 { Ok(line) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
}

/// Opens a socket again and again, until the attack is over, and lets `work` use it until it fails.
async fn again_and_again<F>(attacker: Attacker, work: impl Fn(Line) -> F) -> io::Result<()>
where
    F: Future<Output = io::Result<()>>,
{
    while !attacker.is_over() {
        if let Ok(line) = open(&attacker, CALLS, false).await
            && work(line).await.is_err()
        {
            attacker.tally.count("closed");
        }
        // A server that refuses is not asked without a pause: this attack is about what it accepts.
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

async fn endless_frame(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let send = |mut line: Line| async move {
        let head = [&[0x81, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
        line.send(&head).await?;
        let piece = vec![0; 1 << 20];
        // Each piece is counted; past the server's memory there is nothing to show.
        for _ in 0..1024 {
            line.send(&piece).await?;
        }
        Ok(())
    };
    attacker.swarm(4, |_| again_and_again(attacker.clone(), send)).await;
    Ok(())
}

async fn half_frames(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    attacker
        .swarm(1000, |_| {
            let attacker = attacker.clone();
            async move {
                let mut line = open(&attacker, CALLS, false).await?;
                let head = [0x81, 0xfe, 0x10, 0x00, 0, 0, 0, 0];
                line.send(&[&head[..], &[b'a'; 4095]].concat()).await?;
                line.wait_for_end().await;
                attacker.tally.count("closed");
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn endless_fragments(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let send = |mut line: Line| async move {
        let mut first = frame(TEXT, &[b'a'; 125]);
        first[0] = TEXT;
        line.send(&first).await?;
        let mut next = frame(0, &[b'a'; 125]);
        next[0] = 0;
        let next = next.repeat(1000);
        for _ in 0..10_000 {
            line.send(&next).await?;
        }
        Ok(())
    };
    attacker.swarm(20, |_| again_and_again(attacker.clone(), send)).await;
    Ok(())
}

async fn unread_pongs(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    attacker
        .swarm_to_be_closed(300, |_| {
            let attacker = attacker.clone();
            async move {
                let mut line = open(&attacker, CALLS, true).await?;
                let pings = frame(PING, &[b'a'; 125]).repeat(100);
                // Once the server reads no more, this waits for it.
                while line.send(&pings).await.is_ok() {}
                attacker.tally.count("closed");
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn message_flood(mut attacker: Attacker, message: Vec<u8>) -> anyhow::Result<()> {
    attacker.begin().await;
    let messages = Arc::new(message.repeat(1000));
    let send = move |mut line: Line| {
        let messages = Arc::clone(&messages);
        async move {
            for _ in 0..100_000 {
                // What is answered is read, so that the server has no other reason to stop.
                line.send_and_receive(&messages).await?;
            }
            Ok(())
        }
    };
    attacker.swarm(8, |_| again_and_again(attacker.clone(), send.clone())).await;
    Ok(())
}

async fn subscription_flood(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let subscribe = frame(TEXT, br#"{"action":"subscribe","topic":"call-volume"}"#);
    let unsubscribe = frame(TEXT, br#"{"action":"unsubscribe","topic":"call-volume"}"#);
    let messages = [subscribe, unsubscribe].concat().repeat(500);
    attacker
        .swarm(8, |_| {
            let (attacker, messages) = (attacker.clone(), messages.clone());
            async move {
                while !attacker.is_over() {
                    if let Ok(mut line) = open(&attacker, "/ws/analytics?period=30d", false).await {
                        while line.send_and_receive(&messages).await.is_ok() {}
                        attacker.tally.count("closed");
                    }
                    sleep(Duration::from_millis(50)).await;
                }
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn socket_churn(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    attacker
        .swarm(100, |index| {
            let attacker = attacker.clone();
            async move {
                let path = if index % 2 == 0 { CALLS } else { "/ws/analytics" };
                while !attacker.is_over() {
                    drop(open(&attacker, path, false).await);
                }
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn many_figures(mut attacker: Attacker) -> anyhow::Result<()> {
    const PERIODS: [&str; 3] = ["24h", "7d", "30d"];
    let records = (0..200).map(|number| call(new_id(), &format!(r#","workflow":{{"slug":"w{number}"}}"#)));
    let key = attacker.keys.acme.clone();
    let post = request("POST", "/api/v1/ingest/calls", &key, &[NDJSON, ZSTD], &zstd(&lines(records)));
    attacker.prepare(&post).await?;
    attacker.begin().await;
    let follow = attacker.swarm(300, |index| {
        let attacker = attacker.clone();
        async move {
            // Within the limit of requests.
            sleep(Duration::from_millis(15) * u32::try_from(index).unwrap_or_default()).await;
            let path = format!("/ws/analytics?period={}&workflow=w{}", PERIODS[index % 3], index / 3);
            let mut line = open(&attacker, &path, false).await?;
            line.send(&frame(TEXT, br#"{"action":"subscribe","topic":"call-volume"}"#)).await?;
            line.wait_for_end().await;
            Ok(())
        }
    });
    let write = attacker.flood(TENANT, 1, move |_| post.clone());
    tokio::join!(follow, write);
    Ok(())
}

async fn replayed_events(mut attacker: Attacker) -> anyhow::Result<()> {
    let key = attacker.keys.acme.clone();
    for _ in 0..10 {
        let body = zstd(&lines((0..10_000).map(|_| call(new_id(), ""))));
        attacker.prepare(&request("POST", "/api/v1/ingest/calls", &key, &[NDJSON, ZSTD], &body)).await?;
    }
    attacker.begin().await;
    let replay = get(&format!("{STREAM}?since=0"), &key);
    attacker
        .swarm(150, |_| {
            let (attacker, replay) = (attacker.clone(), replay.clone());
            async move {
                while !attacker.is_over() {
                    let mut line = attacker.open(TENANT).await?;
                    line.request(&replay).await?;
                    let status = line.answer().await?.status;
                    attacker.tally.count(status.to_string());
                    // Some five seconds of it, and then from the start.
                    let _ = tokio::time::timeout(Duration::from_secs(5), line.wait_for_end()).await;
                }
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn followers(mut attacker: Attacker, path: String, count: usize) -> anyhow::Result<()> {
    let key = attacker.keys.acme.clone();
    let follow = get(&path, &key);
    attacker.begin().await;
    let follow = attacker.swarm(count, |index| {
        let (attacker, follow) = (attacker.clone(), follow.clone());
        async move {
            // Within the limit of requests.
            sleep(Duration::from_millis(8) * u32::try_from(index).unwrap_or_default()).await;
            let mut line = attacker.open(TENANT).await?;
            line.request(&follow).await?;
            let status = line.answer().await?.status;
            attacker.tally.count(status.to_string());
            line.wait_for_end().await;
            Ok(())
        }
    });
    let write = attacker.flood(TENANT, 1, move |_| {
        let body = zstd(&lines((0..2000).map(|_| call(new_id(), ""))));
        request("POST", "/api/v1/ingest/calls", &key, &[NDJSON, ZSTD], &body)
    });
    tokio::join!(follow, write);
    Ok(())
}

async fn unread_streams(mut attacker: Attacker) -> anyhow::Result<()> {
    let key = attacker.keys.acme.clone();
    let member = errors(100, &"a".repeat(4000), "");
    attacker.begin().await;
    let follow = get(STREAM, &key);
    let follow = attacker.swarm_to_be_closed(300, |_| {
        let (attacker, follow) = (attacker.clone(), follow.clone());
        async move {
            let mut line = attacker.open_narrow(TENANT).await?;
            line.request(&follow).await?;
            let status = line.answer().await?.status;
            attacker.tally.count(status.to_string());
            // A stream that is refused leaves a connection that waits for another request, which is no harm.
            if status == 200 {
                tokio::time::sleep_until(attacker.end()).await;
            }
            Ok(())
        }
    });
    let write = attacker.flood(TENANT, 1, move |_| {
        let body = zstd(&lines((0..10).map(|_| call(new_id(), &member))));
        request("POST", "/api/v1/ingest/calls", &key, &[NDJSON, ZSTD], &body)
    });
    tokio::join!(follow, write);
    Ok(())
}
