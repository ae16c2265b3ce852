//! Query strings that are refused, each with the parameter and the fix.

use crate::server::Server;
use crate::table::{problems, problems_of_questions, still_works};
use crate::wire::Request;
use callscope_testkit::Backend;
use insta::assert_snapshot;

on_each_backend!(
    windows,
    series_and_workflows,
    lists,
    operations_without_parameters_take_none,
    strings_that_are_no_query_strings
);

async fn windows(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let seen = problems_of_questions(
        &acme,
        "summary",
        &[
            "?period=2d",
            "?period=24H",
            "?period=",
            "?period",
            "?period=%201h",
            "?period=1h%00",
            "?period=1h&period=1h",
            "?PERIOD=1h",
            "?started_after=yesterday",
            "?started_after=",
            "?started_after=2026-01-17",
            "?started_after=2026-01-17T10:00:00",
            "?started_after=1768644000",
            "?started_after=2026-02-30T00:00:00Z",
            "?started_after=2026-01-17T24:00:00Z",
            "?started_after=10000-01-01T00:00:00Z",
            "?started_after=2026-01-17T10:00:00+02:00",
            "?started_after=2026-01-17T12:00:00Z&period=30d",
            "?started_before=now",
            "?started_before=2026-01-17T10:00:00Z&started_before=2026-01-17T10:00:00Z",
            "?started_after=2026-01-17T10:00:00Z&started_before=2026-01-17T09:00:00Z",
            "?started_after=2026-01-17T10:00:00Z&started_before=2026-01-17T10:00:00Z",
            "?started_after=2026-01-17T12:00:00%2B02:00&started_before=2026-01-17T10:00:00Z",
            // Equal to the microsecond, which is as fine as time is here.
            "?started_after=2026-01-17T10:00:00.0000001Z&started_before=2026-01-17T10:00:00.0000009Z",
            "?period=2d&started_after=x&started_before=y&workflow=Z",
        ],
    )
    .await;
    assert_snapshot!(seen, @"
    ?period=2d
      422 validation_error: period: must be one of 1h, 24h, 7d, 30d, 90d
    ?period=24H
      422 validation_error: period: must be one of 1h, 24h, 7d, 30d, 90d
    ?period=
      422 validation_error: period: must be one of 1h, 24h, 7d, 30d, 90d
    ?period
      422 validation_error: period: must be one of 1h, 24h, 7d, 30d, 90d
    ?period=%201h
      422 validation_error: period: must be one of 1h, 24h, 7d, 30d, 90d
    ?period=1h%00
      422 validation_error: period: must be one of 1h, 24h, 7d, 30d, 90d
    ?period=1h&period=1h
      422 validation_error: period: must not be given more than once
    ?PERIOD=1h
      422 validation_error: PERIOD: is unknown; allowed: period, started_after, started_before, workflow, provider, agent, end_reason, agent_version, environment, direction, language, source, end_category, outcome, model, tag.KEY
    ?started_after=yesterday
      422 validation_error: started_after: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    ?started_after=
      422 validation_error: started_after: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    ?started_after=2026-01-17
      422 validation_error: started_after: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    ?started_after=2026-01-17T10:00:00
      422 validation_error: started_after: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    ?started_after=1768644000
      422 validation_error: started_after: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    ?started_after=2026-02-30T00:00:00Z
      422 validation_error: started_after: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    ?started_after=2026-01-17T24:00:00Z
      422 validation_error: started_after: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    ?started_after=10000-01-01T00:00:00Z
      422 validation_error: started_after: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    ?started_after=2026-01-17T10:00:00+02:00
      422 validation_error: started_after: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z; send the + of an offset as %2B
    ?started_after=2026-01-17T12:00:00Z&period=30d
      422 validation_error: started_after: must be in the past: without started_before the window lasts until now
    ?started_before=now
      422 validation_error: started_before: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
    ?started_before=2026-01-17T10:00:00Z&started_before=2026-01-17T10:00:00Z
      422 validation_error: started_before: must not be given more than once
    ?started_after=2026-01-17T10:00:00Z&started_before=2026-01-17T09:00:00Z
      422 validation_error: started_before: must be later than started_after
    ?started_after=2026-01-17T10:00:00Z&started_before=2026-01-17T10:00:00Z
      422 validation_error: started_before: must be later than started_after
    ?started_after=2026-01-17T12:00:00%2B02:00&started_before=2026-01-17T10:00:00Z
      422 validation_error: started_before: must be later than started_after
    ?started_after=2026-01-17T10:00:00.0000001Z&started_before=2026-01-17T10:00:00.0000009Z
      422 validation_error: started_before: must be later than started_after
    ?period=2d&started_after=x&started_before=y&workflow=Z
      422 validation_error: 4 fields are at fault
        period: must be one of 1h, 24h, 7d, 30d, 90d
        started_after: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
        started_before: must be an RFC 3339 timestamp such as 2026-01-17T10:30:00Z
        workflow: must match [a-z0-9][a-z0-9_-]{0,63}: lower-case letters, digits, `-` and `_`, at most 64 characters
    ");
    assert_eq!(acme.connections_opened(), 1);
    still_works(&acme).await;
}

async fn series_and_workflows(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let too_long = format!("?workflow={}", "x".repeat(65));
    let seen = problems_of_questions(
        &acme,
        "call-volume",
        &[
            "?interval=minute",
            "?interval=",
            "?interval=day&interval=week",
            "?timezone=Mars/Olympus_Mons",
            "?timezone=europe/berlin",
            "?timezone=",
            "?timezone=%2B02:00",
            "?timezone=UTC&timezone=UTC",
            "?workflow=Daily+Call",
            "?workflow=",
            "?workflow=-daily",
            &too_long,
            "?workflow=d%C3%A9j%C3%A0-vu",
            "?started_after=2024-11-26T08:00:00Z&started_before=2026-01-17T00:00:00.000001Z",
            "?interval=day&started_after=1900-01-01T00:00:00Z&started_before=2026-01-01T00:00:00Z",
            "?interval=week&started_after=0001-01-01T00:00:00Z&started_before=9999-12-31T23:59:59Z",
            "?limit=5",
        ],
    )
    .await;
    assert_snapshot!(seen, @"
    ?interval=minute
      422 validation_error: interval: must be one of hour, day, week
    ?interval=
      422 validation_error: interval: must be one of hour, day, week
    ?interval=day&interval=week
      422 validation_error: interval: must not be given more than once
    ?timezone=Mars/Olympus_Mons
      422 validation_error: timezone: must be an IANA time zone name, such as Europe/Berlin or UTC
    ?timezone=europe/berlin
      422 validation_error: timezone: must be an IANA time zone name, such as Europe/Berlin or UTC
    ?timezone=
      422 validation_error: timezone: must be an IANA time zone name, such as Europe/Berlin or UTC
    ?timezone=%2B02:00
      422 validation_error: timezone: must be an IANA time zone name, such as Europe/Berlin or UTC
    ?timezone=UTC&timezone=UTC
      422 validation_error: timezone: must not be given more than once
    ?workflow=Daily+Call
      422 validation_error: workflow: must match [a-z0-9][a-z0-9_-]{0,63}: lower-case letters, digits, `-` and `_`, at most 64 characters
    ?workflow=
      422 validation_error: workflow: must not have an empty value
    ?workflow=-daily
      422 validation_error: workflow: must match [a-z0-9][a-z0-9_-]{0,63}: lower-case letters, digits, `-` and `_`, at most 64 characters
    ?workflow=xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
      422 validation_error: workflow: must match [a-z0-9][a-z0-9_-]{0,63}: lower-case letters, digits, `-` and `_`, at most 64 characters
    ?workflow=d%C3%A9j%C3%A0-vu
      422 validation_error: workflow: must match [a-z0-9][a-z0-9_-]{0,63}: lower-case letters, digits, `-` and `_`, at most 64 characters
    ?started_after=2024-11-26T08:00:00Z&started_before=2026-01-17T00:00:00.000001Z
      422 validation_error: interval: gives more than 10000 buckets: ask for a shorter window or a wider interval
    ?interval=day&started_after=1900-01-01T00:00:00Z&started_before=2026-01-01T00:00:00Z
      422 validation_error: interval: gives more than 10000 buckets: ask for a shorter window or a wider interval
    ?interval=week&started_after=0001-01-01T00:00:00Z&started_before=9999-12-31T23:59:59Z
      422 validation_error: interval: gives more than 10000 buckets: ask for a shorter window or a wider interval
    ?limit=5
      422 validation_error: limit: is unknown; allowed: period, started_after, started_before, interval, timezone, workflow, provider, agent, end_reason, agent_version, environment, direction, language, source, end_category, outcome, model, tag.KEY
    ");
    let longest = "?started_after=2024-11-26T08:00:00Z&started_before=2026-01-17T00:00:00Z";
    assert_eq!(acme.call_volume(longest).await.value()["data"].as_array().map(Vec::len), Some(10_000));
    still_works(&acme).await;
}

async fn lists(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let seen = problems_of_questions(
        &acme,
        "workflow-stats",
        &[
            "?limit=0",
            "?limit=51",
            "?limit=-1",
            "?limit=%2B5",
            "?limit=1.5",
            "?limit=1e1",
            "?limit=ten",
            "?limit=",
            "?limit=18446744073709551617",
            "?limit=5&limit=5",
            "?service=stt",
        ],
    )
    .await;
    assert_snapshot!(seen, @"
    ?limit=0
      422 validation_error: limit: must be a whole number from 1 to 50
    ?limit=51
      422 validation_error: limit: must be a whole number from 1 to 50
    ?limit=-1
      422 validation_error: limit: must be a whole number from 1 to 50
    ?limit=%2B5
      422 validation_error: limit: must be a whole number from 1 to 50
    ?limit=1.5
      422 validation_error: limit: must be a whole number from 1 to 50
    ?limit=1e1
      422 validation_error: limit: must be a whole number from 1 to 50
    ?limit=ten
      422 validation_error: limit: must be a whole number from 1 to 50
    ?limit=
      422 validation_error: limit: must be a whole number from 1 to 50
    ?limit=18446744073709551617
      422 validation_error: limit: must be a whole number from 1 to 50
    ?limit=5&limit=5
      422 validation_error: limit: must not be given more than once
    ?service=stt
      422 validation_error: service: is unknown; allowed: period, started_after, started_before, workflow, provider, agent, end_reason, agent_version, environment, direction, language, source, end_category, outcome, model, tag.KEY, limit
    ");
    let seen = problems_of_questions(
        &acme,
        "errors",
        &[
            "?service=STT",
            "?service=",
            "?service=asr",
            "?service=stt&service=llm",
            "?level=info",
            "?level=",
            "?offset=-1",
            "?offset=4294967296",
            "?offset=x",
            "?limit=0",
            "?limit=201",
            "?service=asr&level=info&offset=-1&limit=0",
        ],
    )
    .await;
    assert_snapshot!(seen, @"
    ?service=STT
      422 validation_error: service: must be one of stt, llm, tts, workflow, tool
    ?service=
      422 validation_error: service: must be one of stt, llm, tts, workflow, tool
    ?service=asr
      422 validation_error: service: must be one of stt, llm, tts, workflow, tool
    ?service=stt&service=llm
      422 validation_error: service: must not be given more than once
    ?level=info
      422 validation_error: level: must be one of error, warning
    ?level=
      422 validation_error: level: must be one of error, warning
    ?offset=-1
      422 validation_error: offset: must be a whole number from 0 to 4294967295
    ?offset=4294967296
      422 validation_error: offset: must be a whole number from 0 to 4294967295
    ?offset=x
      422 validation_error: offset: must be a whole number from 0 to 4294967295
    ?limit=0
      422 validation_error: limit: must be a whole number from 1 to 200
    ?limit=201
      422 validation_error: limit: must be a whole number from 1 to 200
    ?service=asr&level=info&offset=-1&limit=0
      422 validation_error: 4 fields are at fault
        service: must be one of stt, llm, tts, workflow, tool
        level: must be one of error, warning
        offset: must be a whole number from 0 to 4294967295
        limit: must be a whole number from 1 to 200
    ");
    still_works(&acme).await;
}

async fn operations_without_parameters_take_none(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let call = "/api/v1/ingest/calls/31c02e4f-12e0-4af0-869b-aab222503a09?dry_run=true";
    let table = [
        Request::get("/api/v1/analytics/active-calls?period=24h"),
        Request::get("/api/v1/analytics/provider-latency?limit=5"),
        Request::new("PUT", call).json("{}"),
        Request::new("POST", "/api/v1/ingest/calls?wait=1&wait=2").ndjson("{}"),
    ];
    let table = table.into_iter().map(|request| (request.target.clone(), request)).collect();
    assert_snapshot!(problems(&acme, table).await, @"
    /api/v1/analytics/active-calls?period=24h
      422 validation_error: period: is unknown; allowed: workflow, agent, end_reason, agent_version, environment, direction, language, source, end_category, outcome
    /api/v1/analytics/provider-latency?limit=5
      422 validation_error: limit: is unknown; allowed: period, started_after, started_before, workflow, provider, agent, end_reason, agent_version, environment, direction, language, source, end_category, outcome, model, tag.KEY
    /api/v1/ingest/calls/31c02e4f-12e0-4af0-869b-aab222503a09?dry_run=true
      422 validation_error: dry_run: is unknown; allowed: strict
    /api/v1/ingest/calls?wait=1&wait=2
      422 validation_error: wait: is unknown; allowed: strict
    ");
    still_works(&acme).await;
}

async fn strings_that_are_no_query_strings(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let seen = problems_of_questions(
        &acme,
        "summary",
        &[
            "?period=%zz",
            "?period=1h%",
            "?period=1h%2",
            "?period=%+1",
            "?period=%ff",
            "?%ff=1h",
            "?period=%C3%28",
            "?=1h",
            "?1h",
            "?a=1&b=2",
            "?period[]=1h",
            "?period=1h;workflow=x",
        ],
    )
    .await;
    assert_snapshot!(seen, @"
    ?period=%zz
      400 malformed_request: the query string is not valid percent-encoded UTF-8
    ?period=1h%
      400 malformed_request: the query string is not valid percent-encoded UTF-8
    ?period=1h%2
      400 malformed_request: the query string is not valid percent-encoded UTF-8
    ?period=%+1
      400 malformed_request: the query string is not valid percent-encoded UTF-8
    ?period=%ff
      400 malformed_request: the query string is not valid percent-encoded UTF-8
    ?%ff=1h
      400 malformed_request: the query string is not valid percent-encoded UTF-8
    ?period=%C3%28
      400 malformed_request: the query string is not valid percent-encoded UTF-8
    ?=1h
      400 malformed_request: the query string is not of the form name=value&name=value
    ?1h
      422 validation_error: 1h: is unknown; allowed: period, started_after, started_before, workflow, provider, agent, end_reason, agent_version, environment, direction, language, source, end_category, outcome, model, tag.KEY
    ?a=1&b=2
      422 validation_error: 2 fields are at fault
        a: is unknown; allowed: period, started_after, started_before, workflow, provider, agent, end_reason, agent_version, environment, direction, language, source, end_category, outcome, model, tag.KEY
        b: is unknown; allowed: period, started_after, started_before, workflow, provider, agent, end_reason, agent_version, environment, direction, language, source, end_category, outcome, model, tag.KEY
    ?period[]=1h
      422 validation_error: period[]: is unknown; allowed: period, started_after, started_before, workflow, provider, agent, end_reason, agent_version, environment, direction, language, source, end_category, outcome, model, tag.KEY
    ?period=1h;workflow=x
      422 validation_error: period: must be one of 1h, 24h, 7d, 30d, 90d
    ");
    // What holds no parameter at all is as good as nothing.
    for query in ["?", "?&", "?&&period=1h&"] {
        assert_eq!(acme.summary(query).await.status, 200, "{query}");
    }
    still_works(&acme).await;
}
