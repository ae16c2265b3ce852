//! Bodies that are refused as a whole.

use crate::client::INGEST;
use crate::ingest::{gzip, zstd};
use crate::layout::answer;
use crate::records::{active, call_id, completed};
use crate::server::Server;
use crate::table::{problems, still_works};
use crate::wire::Request;
use callscope_testkit::Backend;
use insta::assert_snapshot;

on_each_backend!(types_and_encodings, batches_that_hold_no_records, lines_that_are_no_json_cost_only_themselves);

const AT: &str = "2026-01-17T10:00:00Z";

fn post() -> Request {
    Request::new("POST", INGEST)
}

fn put() -> Request {
    Request::new("PUT", format!("{INGEST}/{}", call_id(1)))
}

fn packed(encoding: &str, bytes: Vec<u8>) -> Request {
    post().ndjson(bytes).header("Content-Encoding", encoding)
}

fn named(table: Vec<(&str, Request)>) -> Vec<(String, Request)> {
    table.into_iter().map(|(name, request)| (name.to_owned(), request)).collect()
}

fn line() -> String {
    completed(1, AT, 60).to_string()
}

async fn types_and_encodings(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let mut untyped = post();
    untyped.body = line().into_bytes();
    let mut untyped_put = put();
    untyped_put.body = line().into_bytes();
    let (zipped, zstandard) = (gzip(line().as_bytes()), zstd(line().as_bytes()));
    let truncated = |bytes: &[u8]| bytes[..bytes.len() - 9].to_vec();
    let mut damaged = zipped.clone();
    damaged[20] ^= 0xff;
    let table = vec![
        ("no Content-Type", untyped),
        ("no Content-Type for one call", untyped_put),
        ("text/plain", post().body("text/plain", line())),
        ("a form", post().body("application/x-www-form-urlencoded", "call_id=1")),
        ("JSON with a suffix", post().body("application/json5", line())),
        ("an empty Content-Type", post().body("", line())),
        ("many lines for one call", put().ndjson(line())),
        ("an unknown encoding", packed("br", line().into_bytes())),
        ("two encodings", packed("gzip, gzip", gzip(&zipped))),
        ("an empty encoding", packed("", line().into_bytes())),
        ("gzip that is none", packed("gzip", line().into_bytes())),
        ("gzip cut short", packed("gzip", truncated(&zipped))),
        ("gzip with a wrong bit", packed("gzip", damaged)),
        ("gzip with something after it", packed("gzip", [zipped.clone(), b"{}".to_vec()].concat())),
        ("gzip of nothing", packed("gzip", gzip(b""))),
        ("zstd that is none", packed("zstd", zipped.clone())),
        ("zstd cut short", packed("zstd", truncated(&zstandard))),
        ("zstd of white space", packed("zstd", zstd(b" \n\t\r\n"))),
        ("gzip cut short for one call", put().json(truncated(&zipped)).header("Content-Encoding", "gzip")),
    ];
    assert_snapshot!(problems(&acme, named(table)).await, @"
    no Content-Type
      415 unsupported_media_type: Content-Type must be application/x-ndjson or application/json
    no Content-Type for one call
      415 unsupported_media_type: Content-Type must be application/json
    text/plain
      415 unsupported_media_type: Content-Type must be application/x-ndjson or application/json
    a form
      415 unsupported_media_type: Content-Type must be application/x-ndjson or application/json
    JSON with a suffix
      415 unsupported_media_type: Content-Type must be application/x-ndjson or application/json
    an empty Content-Type
      415 unsupported_media_type: Content-Type must be application/x-ndjson or application/json
    many lines for one call
      415 unsupported_media_type: Content-Type must be application/json
    an unknown encoding
      415 unsupported_media_type: Content-Encoding must be gzip, deflate, zstd or identity
    two encodings
      415 unsupported_media_type: Content-Encoding must be gzip, deflate, zstd or identity
    an empty encoding
      415 unsupported_media_type: Content-Encoding must be gzip, deflate, zstd or identity
    gzip that is none
      400 malformed_request: the body is not valid gzip, or is cut short
    gzip cut short
      400 malformed_request: the body is not valid gzip, or is cut short
    gzip with a wrong bit
      400 malformed_request: the body is not valid gzip, or is cut short
    gzip with something after it
      400 malformed_request: the body is not valid gzip, or is cut short
    gzip of nothing
      422 validation_error: (body): must hold at least one record
    zstd that is none
      400 malformed_request: the body is not valid zstd, or is cut short
    zstd cut short
      400 malformed_request: the body is not valid zstd, or is cut short
    zstd of white space
      422 validation_error: (body): must hold at least one record
    gzip cut short for one call
      400 malformed_request: the body is not valid gzip, or is cut short
    ");
    assert_eq!(acme.connections_opened(), 1);
    still_works(&acme).await;
}

async fn batches_that_hold_no_records(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let two_lines = format!("{}\n{}", line(), line());
    let table = vec![
        ("nothing", post().ndjson("")),
        ("white space", post().ndjson(" \n\t\r\n \n")),
        ("nothing as JSON", post().json("")),
        ("white space as JSON", post().json(" \n ")),
        ("an empty list", post().json("[ ]")),
        ("an object", post().json(line())),
        ("lines as JSON", post().json(two_lines.clone())),
        ("a number", post().json("7")),
        ("null", post().json("null")),
        ("a list that does not end", post().json(format!("[{}", line()))),
        ("a comma too many", post().json(format!("[{},]", line()))),
        ("something after the list", post().json(format!("[{}] x", line()))),
        ("a line that is no JSON", post().json("[\n{},\n{]\n]")),
        ("text that is no UTF-8", post().json(b"[\xff]".to_vec())),
        ("NUL", post().json("\0")),
        ("one call: nothing", put().json("")),
        ("one call: white space", put().json("  ")),
        ("one call: cut short", put().json(&line()[..30])),
        ("one call: two of them", put().json(two_lines)),
        ("one call: a list", put().json(format!("[{}]", line()))),
        ("one call: a comma too many, lines below", put().json("{\n  \"status\": \"active\",\n}")),
        ("one call: single quotes", put().json("{'status': 'active'}")),
        ("one call: no UTF-8", put().json(b"{\"status\":\"\xff\"}".to_vec())),
        ("one call: half a surrogate", put().json(r#"{"agent":"\ud800"}"#)),
        ("one call: NUL", put().json("{\0}")),
        ("one call: deep", put().json("[".repeat(100_000))),
        ("one call: deep in a field", put().json(format!("{{\"agent\":{}", "[".repeat(100_000)))),
    ];
    assert_snapshot!(problems(&acme, named(table)).await, @"
    nothing
      422 validation_error: (body): must hold at least one record
    white space
      422 validation_error: (body): must hold at least one record
    nothing as JSON
      422 validation_error: (body): must hold at least one record
    white space as JSON
      422 validation_error: (body): must hold at least one record
    an empty list
      422 validation_error: (body): must hold at least one record
    an object
      422 validation_error: (body): must be a JSON array of records; to send one record a line, set Content-Type to application/x-ndjson
    lines as JSON
      422 validation_error: (body): must be a JSON array of records; to send one record a line, set Content-Type to application/x-ndjson
    a number
      422 validation_error: (body): must be a JSON array of records; to send one record a line, set Content-Type to application/x-ndjson
    null
      422 validation_error: (body): must be a JSON array of records; to send one record a line, set Content-Type to application/x-ndjson
    a list that does not end
      400 malformed_request: the body is not valid JSON: EOF while parsing a list (column 142)
    a comma too many
      400 malformed_request: the body is not valid JSON: trailing comma (column 144)
    something after the list
      400 malformed_request: the body is not valid JSON: trailing characters (column 145)
    a line that is no JSON
      400 malformed_request: the body is not valid JSON: key must be a string (line 3, column 2)
    text that is no UTF-8
      400 malformed_request: the body is not valid JSON: expected value (column 2)
    NUL
      400 malformed_request: the body is not valid JSON: expected value (column 1)
    one call: nothing
      400 malformed_request: the body is not valid JSON: EOF while parsing a value
    one call: white space
      400 malformed_request: the body is not valid JSON: EOF while parsing a value (column 2)
    one call: cut short
      400 malformed_request: the body is not valid JSON: EOF while parsing a string (column 30)
    one call: two of them
      400 malformed_request: the body is not valid JSON: trailing characters (line 2, column 1)
    one call: a list
      422 validation_error: (record): must be an object
    one call: a comma too many, lines below
      400 malformed_request: the body is not valid JSON: trailing comma (line 3, column 1)
    one call: single quotes
      400 malformed_request: the body is not valid JSON: key must be a string (column 2)
    one call: no UTF-8
      400 malformed_request: the body is not valid JSON: invalid unicode code point (column 12)
    one call: half a surrogate
      400 malformed_request: the body is not valid JSON: unexpected end of hex escape (column 17)
    one call: NUL
      400 malformed_request: the body is not valid JSON: key must be a string (column 2)
    one call: deep
      422 validation_error: (record): must be an object
    one call: deep in a field
      422 validation_error: agent: must be a string
    ");
    assert_eq!(acme.connections_opened(), 1);
    still_works(&acme).await;
}

async fn lines_that_are_no_json_cost_only_themselves(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let deep = format!("{{\"errors\":[{{\"details\":{}", "{\"a\":".repeat(100_000));
    let lines: [&[u8]; 9] = [
        b"{\"call_id\":\"\xff\"}",
        b"\0\0\0",
        b"{\"agent\":\"a\0b\"}",
        "\u{feff}{}".as_bytes(),
        b"[{}]",
        b"{} {}",
        b"{\"call_id\": tru",
        deep.as_bytes(),
        b"<html>",
    ];
    let mut body = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        body.extend_from_slice(line);
        let good = active(u32::try_from(number).expect("few lines"), AT);
        body.extend_from_slice(format!("\n{good}\n").as_bytes());
    }
    assert_snapshot!(answer(&acme.send(&post().ndjson(body)).await), @r#"
    200
    {
      "accepted":9,
      "rejected":[
        {
          "index":0,
          "call_id":null,
          "errors":[
            {
              "field":"(record)",
              "code":"invalid_json",
              "message":"is not valid JSON: invalid unicode code point (column 13)"
            }
          ]
        },
        {
          "index":2,
          "call_id":null,
          "errors":[{"field":"(record)","code":"invalid_json","message":"is not valid JSON: expected value (column 1)"}]
        },
        {
          "index":4,
          "call_id":null,
          "errors":[
            {
              "field":"(record)",
              "code":"invalid_json",
              "message":"is not valid JSON: control character (\\u0000-\\u001F) found while parsing a string (column 12)"
            }
          ]
        },
        {
          "index":6,
          "call_id":null,
          "errors":[{"field":"(record)","code":"invalid_json","message":"is not valid JSON: expected value (column 1)"}]
        },
        {"index":8,"call_id":null,"errors":[{"field":"(record)","code":"invalid_type","message":"must be an object"}]},
        {
          "index":10,
          "call_id":null,
          "errors":[{"field":"(record)","code":"invalid_json","message":"is not valid JSON: trailing characters (column 4)"}]
        },
        {
          "index":12,
          "call_id":null,
          "errors":[
            {
              "field":"(record)",
              "code":"invalid_json",
              "message":"is not valid JSON: EOF while parsing a value (column 15)"
            }
          ]
        },
        {
          "index":14,
          "call_id":null,
          "errors":[
            {
              "field":"(record)",
              "code":"invalid_json",
              "message":"is not valid JSON: EOF while parsing a value (column 500022)"
            }
          ]
        },
        {
          "index":16,
          "call_id":null,
          "errors":[{"field":"(record)","code":"invalid_json","message":"is not valid JSON: expected value (column 1)"}]
        }
      ],
      "dropped_samples":0,
      "ignored_fields":[]
    }
    "#);
    assert_eq!(acme.active_calls().await.value()["count"], lines.len());
}
