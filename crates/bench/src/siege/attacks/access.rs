//! Attacks on credentials: guesses, keys that make keys, tokens of many subjects, tickets.

use super::Attack;
use crate::siege::attacker::{Attacker, STRANGER, TENANT};
use crate::siege::records::new_id;
use crate::siege::wire::{get, request};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::Utc;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const STRANGER_NAME: &str = "a stranger";
const ACME: &str = "acme";
const SUMMARY: &str = "/api/v1/analytics/summary";

/// What tokens of the attacked server are signed with.
const SECRET: &str = "a secret of the siege that has more than 32 bytes";
const TOKENS: &[(&str, &str)] = &[("CALLSCOPE__AUTH__JWT_SECRET", SECRET)];

/// The attacks.
pub fn attacks() -> Vec<Attack> {
    vec![
        Attack::new(
            "guessed-keys",
            STRANGER_NAME,
            "1,000 connections send keys of the right form that do not exist, each another one.",
            |attacker| Box::pin(guessed_keys(attacker)),
        ),
        Attack::new(
            "guessed-tickets",
            STRANGER_NAME,
            "200 connections open sockets with tickets of the right form, for a tenant that exists, that do not exist.",
            |attacker| Box::pin(guessed_tickets(attacker)),
        ),
        Attack::new(
            "forged-tokens",
            STRANGER_NAME,
            "200 connections send tokens of 7 KiB with a wrong signature and unknown keys.",
            |attacker| Box::pin(forged_tokens(attacker)),
        )
        .with(TOKENS),
        Attack::new(
            "health-flood",
            STRANGER_NAME,
            "500 connections ask for /health/ready and /health, which ask the database, without a pause.",
            |attacker| Box::pin(health_flood(attacker)),
        ),
        Attack::new(
            "unknown-paths",
            STRANGER_NAME,
            "200 connections use other paths and methods with each request, which must not become labels of metrics.",
            |attacker| Box::pin(unknown_paths(attacker)),
        ),
        Attack::new("key-factory", ACME, "A key makes keys, and each of those asks as often as it may.", |attacker| {
            Box::pin(key_factory(attacker))
        }),
        Attack::new(
            "subjects",
            ACME,
            "200 connections send tokens, each of another subject, which would each have a limit of requests of its own.",
            |attacker| Box::pin(subjects(attacker)),
        )
        .with(TOKENS),
        Attack::new(
            "revocations",
            ACME,
            "50 connections revoke keys that do not exist, which must not make the server forget the keys of others.",
            |attacker| Box::pin(revocations(attacker)),
        ),
        Attack::new("tickets", ACME, "50 connections make tickets that are never used.", |attacker| {
            Box::pin(tickets(attacker))
        }),
        Attack::new(
            "other-user",
            "another user of the machine",
            "Looks whether the files of the database, or their folder, can be read, when umask is 022.",
            |attacker| Box::pin(other_user(attacker)),
        )
        .for_sqlite_only(),
        Attack::new(
            "bodies-without-key",
            STRANGER_NAME,
            "50 connections send 1 MiB to ingestion with a key that does not exist, and do not wait for the answer to end.",
            |attacker| Box::pin(bodies_without_key(attacker)),
        ),
    ]
}

/// Looks at modes, which needs no user of its own.
async fn other_user(mut attacker: Attacker) -> anyhow::Result<()> {
    const OTHERS: u32 = 0o077;
    attacker.begin().await;
    let Some(file) = &attacker.file else { return Ok(()) };
    let beside = ["-wal", "-shm"].map(|suffix| PathBuf::from(format!("{}{suffix}", file.display())));
    let folder = file.parent().map(Path::to_owned);
    for path in [file.clone()].into_iter().chain(beside).chain(folder) {
        let mode = std::fs::metadata(&path)?.permissions().mode();
        if mode & OTHERS != 0 {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            attacker.tally.fault(format!("{name} has the mode {:o}", mode & 0o777));
        }
    }
    Ok(())
}

/// A key that has the right form.
fn made_up_key() -> String {
    format!("cs_live_{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>())
}

async fn guessed_keys(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    attacker.flood(STRANGER, 1000, |_| get(SUMMARY, &made_up_key())).await;
    Ok(())
}

async fn guessed_tickets(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    // A ticket names its tenant; what comes after is its secret.
    let tenant = attacker.keys.acme_id.replace('-', "");
    attacker
        .flood(STRANGER, 200, move |_| {
            let secret = format!("{:032x}{:032x}", rand::random::<u128>(), rand::random::<u128>());
            get(&format!("/api/v1/sse/calls/stream?ticket=cs_ticket_{tenant}_{secret}"), "")
        })
        .await;
    Ok(())
}

/// A token over some claims; the signature is right only if `is_signed`.
fn token(claims: &serde_json::Value, is_signed: bool) -> String {
    let part = |json: &serde_json::Value| BASE64_URL_SAFE_NO_PAD.encode(json.to_string());
    let key_id = if is_signed { String::new() } else { format!("{:x}", rand::random::<u64>()) };
    let header = if is_signed {
        serde_json::json!({"alg": "HS256", "typ": "JWT"})
    } else {
        serde_json::json!({"alg": "HS256", "typ": "JWT", "kid": key_id})
    };
    let signed = format!("{}.{}", part(&header), part(claims));
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, SECRET.as_bytes());
    let mut signature = ring::hmac::sign(&key, signed.as_bytes()).as_ref().to_vec();
    if !is_signed {
        signature.reverse();
    }
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

async fn forged_tokens(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let (padding, tenant) = ("a".repeat(5000), attacker.keys.acme_id.clone());
    attacker
        .flood(STRANGER, 200, move |number| {
            let claims = serde_json::json!({"sub": number.to_string(), "tenant_id": tenant, "padding": padding,
                "exp": Utc::now().timestamp() + 600, "scopes": ["analytics:read"]});
            get(SUMMARY, &token(&claims, false))
        })
        .await;
    Ok(())
}

async fn subjects(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let tenant = attacker.keys.acme_id.clone();
    attacker
        .flood(TENANT, 200, move |number| {
            let claims = serde_json::json!({"sub": format!("subject-{number}"), "tenant_id": tenant,
                "exp": Utc::now().timestamp() + 600, "scopes": ["analytics:read"]});
            get(&format!("{SUMMARY}?period=7d&workflow=w{number}"), &token(&claims, true))
        })
        .await;
    Ok(())
}

async fn health_flood(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    attacker.flood(STRANGER, 500, |number| get(if number % 2 == 0 { "/health/ready" } else { "/health" }, "")).await;
    Ok(())
}

async fn unknown_paths(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    attacker
        .flood(STRANGER, 200, |number| {
            let path = match number % 4 {
                0 => format!("/p{number}"),
                1 => format!("/api/v1/analytics/x{number}"),
                2 => format!("/api/v1/ingest/calls/{number}"),
                _ => format!("/swagger-ui/{number}"),
            };
            request(&format!("M{}", number % 100_000), &path, "", &[], b"")
        })
        .await;
    Ok(())
}

async fn key_factory(mut attacker: Attacker) -> anyhow::Result<()> {
    const BODY: &[u8] = br#"{"scopes":["analytics:read","calls:write","keys:manage"]}"#;
    const JSON: &[(&str, &str)] = &[("Content-Type", "application/json")];
    attacker.begin().await;
    let parent = attacker.keys.admin.clone();
    attacker
        .swarm(100, |_| {
            let (attacker, mut key) = (attacker.clone(), parent.clone());
            async move {
                let mut line = attacker.open(TENANT).await?;
                while !attacker.is_over() {
                    let answer = line.ask(&request("POST", "/api/v1/keys", &key, JSON, BODY)).await?;
                    let made: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
                    if let Some(secret) = made["secret"].as_str() {
                        // A child makes the next one, and asks as well.
                        secret.clone_into(&mut key);
                        for _ in 0..20 {
                            line.ask(&get(&format!("{SUMMARY}?period=30d"), &key)).await?;
                        }
                    }
                }
                Ok(())
            }
        })
        .await;
    Ok(())
}

async fn revocations(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let key = attacker.keys.admin.clone();
    attacker.flood(TENANT, 50, move |_| request("DELETE", &format!("/api/v1/keys/{}", new_id()), &key, &[], b"")).await;
    Ok(())
}

async fn tickets(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let make = request("POST", "/api/v1/auth/tickets", &attacker.keys.acme, &[], b"");
    attacker.flood(TENANT, 50, move |_| make.clone()).await;
    Ok(())
}

async fn bodies_without_key(mut attacker: Attacker) -> anyhow::Result<()> {
    attacker.begin().await;
    let body = vec![b' '; 1 << 20];
    let headers = [("Content-Type", "application/x-ndjson")];
    let post = request("POST", "/api/v1/ingest/calls", &made_up_key(), &headers, &body);
    attacker.flood(STRANGER, 50, move |_| post.clone()).await;
    Ok(())
}
