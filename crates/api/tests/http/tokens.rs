//! Tokens of an issuer: which are taken for what they say, and which are not.

use crate::issuer::{
    ISSUER, KEYS, Keys, LEEWAY_S, SECRET, claims, good, hmac_of, now_s, public_keys, shared_secret, signed, text,
    token, unreachable_keys,
};
use crate::layout::problem;
use crate::records::completed;
use crate::server::{Server, Setup};
use crate::wire::{Request, Response};
use callscope_api::JwtOptions;
use callscope_domain::{Scope, TenantId};
use callscope_testkit::Backend;
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::fmt::Write;
use uuid::Uuid;

on_each_backend!(
    a_token_opens_its_tenant_with_its_scopes,
    tokens_are_refused_where_none_are_expected,
    a_token_of_each_algorithm_is_checked_with_its_key,
    a_token_that_is_not_sound_is_refused_with_the_reason,
    clocks_may_be_off_by_the_leeway_and_no_more,
    a_forged_token_opens_nothing,
    without_the_issuers_keys_nothing_can_be_said,
    an_audience_that_nobody_told_the_server_of_is_anothers
);

async fn ask(server: &Server, token: &str) -> Response {
    let request = Request::get("/api/v1/analytics/summary").header("Authorization", format!("Bearer {token}"));
    server.stranger().send(&request).await
}

fn setup(jwt: fn() -> JwtOptions) -> Setup {
    Setup { jwt: Some(jwt), ..Setup::default() }
}

/// The claims with one changed; null takes it away.
fn with(claims: &Value, name: &str, value: Value) -> Value {
    let mut claims = claims.clone();
    if value.is_null() {
        claims.as_object_mut().expect("claims").remove(name);
    } else {
        claims[name] = value;
    }
    claims
}

async fn a_token_opens_its_tenant_with_its_scopes(backend: Backend) {
    let server = Server::start_with(backend, setup(shared_secret)).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60)]).await;
    for (tenant, calls) in [(acme.id, 1), (globex.id, 0)] {
        let response = ask(&server, &good(tenant, &[Scope::AnalyticsRead])).await;
        assert_eq!((response.status, &response.value()["total_calls"]), (200, &json!(calls)));
    }
    // As a list or as words; those of other servers do not matter.
    let base = claims(acme.id, &[]);
    for (scopes, status) in [
        (json!("analytics:read"), 200),
        (json!("openid analytics:read  calls:write"), 200),
        (json!(["openid", "analytics:read"]), 200),
        (json!(["calls:write"]), 403),
        (json!(["analytics:read calls:write"]), 403),
        (json!(""), 403),
        (json!([]), 403),
        (json!(null), 403),
        (json!("ANALYTICS:READ"), 403),
    ] {
        let response = ask(&server, &signed(&with(&base, "scopes", scopes.clone()))).await;
        assert_eq!(response.status, status, "{scopes}: {}", response.text());
    }
}

async fn tokens_are_refused_where_none_are_expected(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let response = ask(&server, &good(acme.id, Scope::ALL)).await;
    assert_snapshot!(problem(&response), @"401 authentication_error: tokens are not accepted here; send an API key");
}

async fn a_token_of_each_algorithm_is_checked_with_its_key(backend: Backend) {
    let server = Server::start_with(backend, setup(public_keys)).await;
    let acme = server.tenant("acme").await;
    let claims = claims(acme.id, Scope::ALL);
    for (algorithm, key) in [("RS256", "rsa"), ("ES256", "ec"), ("EdDSA", "ed")] {
        for header in [json!({"alg": algorithm, "kid": key}), json!({"alg": algorithm})] {
            let response = ask(&server, &KEYS.sign(&header, &claims)).await;
            assert_eq!(response.status, 200, "{header}: {}", response.text());
        }
        // The right key for the wrong algorithm, another issuer's key, and a key that nobody has.
        let others = ["rsa", "ec", "ed"].into_iter().filter(|other| *other != key);
        for other in others {
            let response = ask(&server, &KEYS.sign(&json!({"alg": algorithm, "kid": other}), &claims)).await;
            assert_eq!(response.status, 401, "{algorithm} with {other}");
        }
        if algorithm != "RS256" {
            let forged = Keys::new().sign(&json!({"alg": algorithm, "kid": key}), &claims);
            let refused = problem(&ask(&server, &forged).await);
            assert_eq!(refused, "401 authentication_error: the token's signature is not valid");
        }
        let unknown = KEYS.sign(&json!({"alg": algorithm, "kid": "stolen"}), &claims);
        let refused = problem(&ask(&server, &unknown).await);
        assert_eq!(refused, "401 authentication_error: the token is signed with a key that is not known here");
    }
}

async fn a_token_that_is_not_sound_is_refused_with_the_reason(backend: Backend) {
    let server = Server::start_with(backend, setup(shared_secret)).await;
    let acme = server.tenant("acme").await;
    let good = claims(acme.id, Scope::ALL);
    let nobody = TenantId(Uuid::from_u128(7)).to_string();
    let table = [
        ("no exp", with(&good, "exp", Value::Null)),
        ("exp that is text", with(&good, "exp", json!("tomorrow"))),
        ("exp of long ago", with(&good, "exp", json!(1))),
        ("exp before the epoch", with(&good, "exp", json!(-1e300))),
        ("not yet", with(&good, "nbf", json!(now_s() + 3600))),
        ("made tomorrow", with(&good, "iat", json!(now_s() + 86_400))),
        ("no sub", with(&good, "sub", Value::Null)),
        ("empty sub", with(&good, "sub", json!(""))),
        ("long sub", with(&good, "sub", json!("a".repeat(256)))),
        ("sub that is a number", with(&good, "sub", json!(7))),
        ("no tenant", with(&good, "tenant_id", Value::Null)),
        ("tenant by its slug", with(&good, "tenant_id", json!("acme"))),
        ("tenant that does not exist", with(&good, "tenant_id", json!(nobody))),
        ("no audience", with(&good, "aud", Value::Null)),
        ("another audience", with(&good, "aud", json!("other"))),
        ("other audiences", with(&good, "aud", json!(["other", "another"]))),
        ("no issuer", with(&good, "iss", Value::Null)),
        ("another issuer", with(&good, "iss", json!("https://other.example"))),
        ("a list of issuers", with(&good, "iss", json!(["https://other.example", ISSUER]))),
        ("a list of the issuer", with(&good, "iss", json!([ISSUER]))),
        ("scopes that are a number", with(&good, "scopes", json!(7))),
        ("claims that are a list", json!([1])),
    ];
    let mut seen = String::new();
    for (name, claims) in table {
        let _ = writeln!(seen, "{name}\n  {}", problem(&ask(&server, &signed(&claims)).await));
    }
    assert_snapshot!(seen, @r#"
    no exp
      401 authentication_error: the token lacks the claim exp
    exp that is text
      401 authentication_error: a claim of the token is not of its type
    exp of long ago
      401 authentication_error: the token has expired
    exp before the epoch
      401 authentication_error: the token has expired
    not yet
      401 authentication_error: the token is not valid yet
    made tomorrow
      401 authentication_error: the token is not valid yet
    no sub
      401 authentication_error: the token lacks the claim sub
    empty sub
      401 authentication_error: the token's sub is empty, too long or contains control characters
    long sub
      401 authentication_error: the token's sub is empty, too long or contains control characters
    sub that is a number
      401 authentication_error: a claim of the token is not of its type
    no tenant
      401 authentication_error: the token lacks the claim tenant_id
    tenant by its slug
      401 authentication_error: the token's tenant_id is no UUID
    tenant that does not exist
      401 authentication_error: the token's tenant does not exist
    no audience
      401 authentication_error: the token is not meant for this server: its aud is another's, or missing
    another audience
      401 authentication_error: the token is not meant for this server: its aud is another's, or missing
    other audiences
      401 authentication_error: the token is not meant for this server: its aud is another's, or missing
    no issuer
      401 authentication_error: the token's iss is not accepted here
    another issuer
      401 authentication_error: the token's iss is not accepted here
    a list of issuers
      401 authentication_error: the token's iss is not accepted here
    a list of the issuer
      401 authentication_error: the token's iss is not accepted here
    scopes that are a number
      401 authentication_error: a claim of the token is not of its type
    claims that are a list
      401 authentication_error: a claim of the token is not of its type
    "#);
    for audience in [json!(["other", "callscope"]), json!("callscope")] {
        assert_eq!(ask(&server, &signed(&with(&good, "aud", audience))).await.status, 200);
    }
    for expiry in [json!(now_s() + 1), json!(1e300), json!(9_999_999_999.5)] {
        assert_eq!(ask(&server, &signed(&with(&good, "exp", expiry.clone()))).await.status, 200, "{expiry}");
    }
    assert_eq!(ask(&server, &signed(&with(&good, "iat", Value::Null))).await.status, 200, "iat may be left out");
}

async fn clocks_may_be_off_by_the_leeway_and_no_more(backend: Backend) {
    let server = Server::start_with(backend, setup(shared_secret)).await;
    let acme = server.tenant("acme").await;
    let claims = claims(acme.id, Scope::ALL);
    for (name, offset, status) in [
        ("exp", 1 - LEEWAY_S, 200),
        ("exp", -LEEWAY_S, 401),
        ("nbf", LEEWAY_S, 200),
        ("nbf", LEEWAY_S + 1, 401),
        ("iat", LEEWAY_S, 200),
        ("iat", LEEWAY_S + 1, 401),
    ] {
        let response = ask(&server, &signed(&with(&claims, name, json!(now_s() + offset)))).await;
        assert_eq!(response.status, status, "{name} {offset}: {}", response.text());
    }
}

async fn a_forged_token_opens_nothing(backend: Backend) {
    let secret = Server::start_with(backend, setup(shared_secret)).await;
    let public = Server::start_with(backend, setup(public_keys)).await;
    let (one, other) = (secret.tenant("acme").await, public.tenant("acme").await);
    assert_eq!(one.id, other.id);
    let claims = claims(one.id, Scope::ALL);
    let good_by_secret = signed(&claims);
    assert_eq!(ask(&secret, &good_by_secret).await.status, 200);
    let unsigned = |alg: &str| token(&json!({"alg": alg}), &claims, |_| Vec::new());
    let by = |alg: &str, secret: Vec<u8>| token(&json!({"alg": alg}), &claims, |message| hmac_of(&secret, message));
    let with_kid = |kid: &str, secret: Vec<u8>| {
        token(&json!({"alg": "HS256", "kid": kid}), &claims, |message| hmac_of(&secret, message))
    };
    let (head, signature) = good_by_secret.rsplit_once('.').expect("three parts");
    let swapped = with(&claims, "tenant_id", json!(Uuid::from_u128(8).to_string()));
    let stretched = head.split_once('.').expect("two parts").0.to_owned() + "." + &text(swapped.to_string().as_bytes());
    let own_key = json!({"alg": "EdDSA", "jwk": Keys::new().set()["keys"][2], "jku": ISSUER, "x5u": ISSUER});
    let critical = json!({"alg": "HS256", "crit": ["exp"]});
    let tokens = [
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        ("alg NONE", unsigned("NONE")),
        ("no alg", token(&json!({}), &claims, |_| Vec::new())),
        ("empty signature", unsigned("HS256")),
        ("signature left out", head.to_owned()),
        ("another's secret", by("HS256", b"another secret of thirty-two bytes!".to_vec())),
        ("the empty secret", by("HS256", Vec::new())),
        ("HS512 for HS256", by("HS512", SECRET.as_bytes().to_vec())),
        ("the public RSA key as a secret", by("HS256", KEYS.rsa_public_der())),
        ("the public RSA key as a secret, by its id", with_kid("rsa", KEYS.rsa_public_der())),
        ("the public modulus as a secret", with_kid("rsa", KEYS.set()["keys"][0]["n"].to_string().into_bytes())),
        ("the public Ed25519 key as a secret", with_kid("ed", KEYS.set()["keys"][2]["x"].to_string().into_bytes())),
        ("other claims under the signature", format!("{stretched}.{signature}")),
        ("a key of its own in the header", Keys::new().sign(&own_key, &claims)),
        ("an extension that must be understood", KEYS.sign(&critical, &claims)),
        ("no JSON", format!("{}.{}.{}", text(b"{"), text(b"{"), text(b"x"))),
        ("no base64", "?.?.?".to_owned()),
        ("dots", "..".to_owned()),
        ("long", format!("{}.{}.{signature}", text(&[b' '; 3000]), text(&[b' '; 3000]))),
    ];
    for (name, token) in tokens {
        for server in [&secret, &public] {
            let response = ask(server, &token).await;
            assert_eq!(response.status, 401, "{name}: {}", response.text());
            assert!(response.value()["code"] == "authentication_error", "{name}");
        }
    }
    // What one server takes is nothing to the other.
    assert_eq!(ask(&public, &good_by_secret).await.status, 401);
    assert_eq!(ask(&secret, &KEYS.sign(&json!({"alg": "RS256", "kid": "rsa"}), &claims)).await.status, 401);
}

async fn without_the_issuers_keys_nothing_can_be_said(backend: Backend) {
    let server = Server::start_with(backend, setup(unreachable_keys)).await;
    let acme = server.tenant("acme").await;
    let token = KEYS.sign(&json!({"alg": "RS256", "kid": "rsa"}), &claims(acme.id, Scope::ALL));
    for _ in 0..3 {
        let response = ask(&server, &token).await;
        assert_snapshot!(problem(&response), @"503 unavailable: the keys that tokens are signed with cannot be fetched; try again later");
    }
    assert_eq!(acme.summary("").await.status, 200, "API keys go on working");
}

async fn an_audience_that_nobody_told_the_server_of_is_anothers(backend: Backend) {
    let without = || JwtOptions { audience: None, issuer: None, ..shared_secret() };
    let server = Server::start_with(backend, setup(without)).await;
    let acme = server.tenant("acme").await;
    let claims = claims(acme.id, Scope::ALL);
    assert_eq!(ask(&server, &signed(&claims)).await.status, 401);
    assert_eq!(ask(&server, &signed(&with(&claims, "aud", Value::Null))).await.status, 200);
}
