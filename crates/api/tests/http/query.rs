//! `POST /api/v1/analytics/query` against a recomputation of its own from the records.

use crate::layout::problem;
use crate::records::{Record, completed, failed};
use crate::server::{Server, TenantClient};
use crate::wire::{Request, Response};
use callscope_testkit::Backend;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;

on_each_backend!(
    random_questions_are_answered_as_the_records_say,
    a_week_is_compared_with_the_one_before,
    several_questions_are_answered_in_their_order,
    what_is_wrong_with_a_question_is_named,
    filters_narrow_the_six_endpoints,
    a_tenant_asks_about_its_own_calls_alone
);

const QUERY: &str = "/api/v1/analytics/query";
/// The window of all records, and more.
const WINDOW: [&str; 2] = ["2026-01-01T00:00:00Z", "2026-01-20T00:00:00Z"];

async fn ask(tenant: &TenantClient, question: &Value) -> Response {
    tenant.send(&Request::new("POST", QUERY).json(question.to_string())).await
}

async fn answer(tenant: &TenantClient, question: &Value) -> Value {
    let response = ask(tenant, question).await;
    assert_eq!(response.status, 200, "{question}: {}", response.text());
    response.value()
}

const DIMENSIONS: [(&str, &[&str]); 6] = [
    ("agent", &["ada", "bob", "cid"]),
    ("environment", &["production", "test"]),
    ("direction", &["inbound", "outbound", "web"]),
    ("outcome", &["success", "failure", "unknown"]),
    ("end_category", &["caller_hangup", "agent_hangup", "silence"]),
    ("language", &["en-US", "de-DE"]),
];

/// Records with each fact or without it, over twelve days.
fn records(random: &mut StdRng, count: u32) -> Vec<Record> {
    let mut made = Vec::new();
    for number in 1..=count {
        let (day, hour, minute) = (random.random_range(3..15), random.random_range(0..24), random.random_range(0..60));
        let started_at = format!("2026-01-{day:02}T{hour:02}:{minute:02}:{:02}Z", random.random_range(0..60));
        let seconds = random.random_range(1..900);
        let kind = if random.random_bool(0.8) { completed } else { failed };
        let mut record = kind(number, &started_at, seconds);
        for (name, values) in DIMENSIONS {
            if random.random_bool(0.8) {
                record = record.with(name, values[random.random_range(0..values.len())]);
            }
        }
        for (name, max) in [("turns", 30), ("interruptions", 5), ("total_tokens", 4000)] {
            if random.random_bool(0.8) {
                record = record.with(name, random.random_range(0..max));
            }
        }
        if random.random_bool(0.8) {
            record = record.with("cost_usd", f64::from(random.random_range(0..900_000)) / 1e6);
        }
        if random.random_bool(0.5) {
            record = record.with("tags", json!({"campaign": (["spring", "autumn"][random.random_range(0..2)])}));
        }
        let latencies: Vec<f64> =
            (0..random.random_range(0..5)).map(|_| f64::from(random.random_range(1000..30_000)) / 10.0).collect();
        record = record.with("turn_latencies_ms", json!(latencies));
        if random.random_bool(0.7) {
            let name = ["openai", "anthropic"][random.random_range(0..2)];
            let model = ["large", "small"][random.random_range(0..2)];
            let latency = f64::from(random.random_range(1000..9000)) / 10.0;
            record = record.with(
                "providers",
                json!([{"provider_type": "llm", "provider_name": name, "model": model, "latencies_ms": [latency]}]),
            );
        }
        made.push(record);
    }
    made
}

/// The value of a call for a dimension, as answers show it.
fn value_of(record: &Value, dimension: &str) -> Value {
    let provider = &record["providers"][0];
    match dimension {
        "tag.campaign" => record["tags"]["campaign"].clone(),
        "provider" if provider.is_object() => {
            json!(format!("llm:{}", provider["provider_name"].as_str().expect("a text")))
        }
        "model" if provider.is_object() => json!(format!("llm:{}", provider["model"].as_str().expect("a text"))),
        "provider" | "model" => Value::Null,
        name => record[name].clone(),
    }
}

fn lets_through(record: &Value, filter: &Value) -> bool {
    let value = value_of(record, filter["dimension"].as_str().expect("a text"));
    let values = filter["values"].as_array().expect("a list");
    let is_one = values.iter().any(|wanted| if wanted == "(none)" { value.is_null() } else { *wanted == value });
    is_one == (filter["operator"] == "is")
}

const METRICS: [&str; 14] = [
    "total_calls",
    "completed_calls",
    "success_rate",
    "outcome_success_rate",
    "avg_duration_seconds",
    "p95_duration_seconds",
    "turns",
    "interruptions_per_turn",
    "total_tokens",
    "cost_usd",
    "unpriced_calls",
    "p50_turn_latency_ms",
    "p95_turn_latency_ms",
    "avg_llm_latency_ms",
];

/// Each metric of some records, by its definition.
fn metric(records: &[&Value], name: &str) -> Option<f64> {
    let count = |is: &dyn Fn(&Value) -> bool| records.iter().filter(|record| is(record)).count() as f64;
    let given = |field: &str| records.iter().filter_map(|record| record[field].as_f64()).collect::<Vec<f64>>();
    let known = |field: &str| Some(given(field)).filter(|all| !all.is_empty()).map(|all| all.iter().sum::<f64>());
    let share = |part: f64, rest: f64| (part + rest > 0.0).then(|| 100.0 * part / (part + rest));
    let mean = |all: Vec<f64>| (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64);
    let percentile = |mut all: Vec<f64>, percent: usize| {
        all.sort_by(f64::total_cmp);
        let rank = (all.len() * percent).div_ceil(100);
        rank.checked_sub(1).map(|index| all[index])
    };
    let durations = || records.iter().map(|record| seconds(record)).collect::<Vec<f64>>();
    let turns = || {
        let of = |record: &&Value| record["turn_latencies_ms"].as_array().expect("a list").clone();
        records.iter().flat_map(of).map(|latency| latency.as_f64().expect("a number")).collect::<Vec<f64>>()
    };
    match name {
        "total_calls" => Some(records.len() as f64),
        "completed_calls" => Some(count(&|record| record["status"] == "completed")),
        "success_rate" => {
            share(count(&|record| record["status"] == "completed"), count(&|record| record["status"] == "failed"))
        }
        "outcome_success_rate" => {
            share(count(&|record| record["outcome"] == "success"), count(&|record| record["outcome"] == "failure"))
        }
        "avg_duration_seconds" => mean(durations()),
        "p95_duration_seconds" => percentile(durations(), 95),
        "turns" | "total_tokens" | "cost_usd" => known(name),
        "unpriced_calls" => Some(count(&|record| record["cost_usd"].is_null())),
        "interruptions_per_turn" => {
            let both =
                records.iter().filter_map(|record| record["turns"].as_f64().zip(record["interruptions"].as_f64()));
            let (turns, interruptions) = both.fold((0.0, 0.0), |sum, (turns, more)| (sum.0 + turns, sum.1 + more));
            (turns > 0.0).then(|| interruptions / turns)
        }
        "p50_turn_latency_ms" => percentile(turns(), 50),
        "p95_turn_latency_ms" => percentile(turns(), 95),
        "avg_llm_latency_ms" => {
            mean(records.iter().filter_map(|record| record["providers"][0]["latencies_ms"][0].as_f64()).collect())
        }
        other => panic!("no metric {other}"),
    }
}

fn seconds(record: &Value) -> f64 {
    let at = |field: &str| crate::records::instant(record[field].as_str().expect("a text")).as_micros() as f64;
    (at("ended_at") - at("started_at")) / 1e6
}

/// Percentiles may be half a percent off; what is rounded, half of its last digit.
fn assert_close(shown: &Value, expected: Option<f64>, name: &str, context: &str) {
    let Some(expected) = expected else { return assert!(shown.is_null(), "{name} is {shown}, not null: {context}") };
    let shown = shown.as_f64().unwrap_or_else(|| panic!("{name} is {shown}, not {expected}: {context}"));
    let relative = if name.starts_with('p') { 0.0051 } else { 1e-9 };
    let rounding = if name == "cost_usd" { 1e-6 } else { 0.051 };
    assert!((shown - expected).abs() <= expected.abs() * relative + rounding, "{name}: {shown}, {expected}: {context}");
}

async fn random_questions_are_answered_as_the_records_say(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let mut random = StdRng::seed_from_u64(14);
    let records = records(&mut random, 250);
    acme.given(&records).await;
    // Each once more, and some of them corrected to what they are.
    acme.given(&records).await;
    let calls: Vec<Value> =
        records.iter().map(|record| serde_json::from_str(&record.to_string()).expect("JSON")).collect();
    let names = ["agent", "environment", "direction", "outcome", "language", "provider", "model", "tag.campaign"];
    for round in 0..60 {
        let mut pick = |count: usize| {
            let mut picked: Vec<&str> = (0..count).map(|_| names[random.random_range(0..names.len())]).collect();
            picked.sort_unstable();
            picked.dedup();
            picked
        };
        let (mut dimensions, filtered) = (pick(round % 3), pick(round / 3 % 4));
        if dimensions.contains(&"provider") {
            dimensions.retain(|name| *name != "model");
        }
        let filters: Vec<Value> = filtered
            .iter()
            .map(|name| {
                let mut values: Vec<Value> = calls.iter().map(|call| value_of(call, name)).collect();
                let value = values.swap_remove(random.random_range(0..values.len()));
                let value = if value.is_null() { json!("(none)") } else { value };
                let operator = ["is", "is_not"][random.random_range(0..2)];
                json!({"dimension": name, "operator": operator, "values": [value]})
            })
            .collect();
        let question = json!({"metrics": METRICS, "dimensions": dimensions, "filters": filters, "limit": 1000,
                              "started_after": WINDOW[0], "started_before": WINDOW[1]});
        let answer = answer(&acme, &question).await;
        let matching: Vec<&Value> =
            calls.iter().filter(|call| filters.iter().all(|filter| lets_through(call, filter))).collect();
        let context = question.to_string();
        for name in METRICS {
            assert_close(&answer["totals"]["metrics"][name], metric(&matching, name), name, &context);
        }
        let mut groups: BTreeMap<Vec<String>, Vec<&Value>> = BTreeMap::new();
        for call in &matching {
            let key: Vec<Value> = dimensions.iter().map(|name| value_of(call, name)).collect();
            // Calls that used no provider are in none of the groups.
            let is_shown = dimensions
                .iter()
                .zip(&key)
                .all(|(name, value)| !value.is_null() || !["provider", "model"].contains(name));
            if is_shown {
                groups.entry(key.iter().map(ToString::to_string).collect()).or_default().push(call);
            }
        }
        if dimensions.is_empty() {
            groups = BTreeMap::from([(Vec::new(), matching.clone())]);
        }
        let rows = answer["rows"].as_array().expect("a list");
        assert_eq!(rows.len(), groups.len(), "{context}");
        for row in rows {
            let key: Vec<String> = dimensions.iter().map(|name| row["dimensions"][name].to_string()).collect();
            let group = groups.get(&key).unwrap_or_else(|| panic!("{key:?} has no calls: {context}"));
            for name in METRICS {
                assert_close(&row["metrics"][name], metric(group, name), name, &format!("{key:?} of {context}"));
            }
            assert_link(&acme, row, group.len(), &context).await;
        }
        let coverage =
            matching.iter().map(|call| call["turn_latencies_ms"].as_array().expect("a list").len()).sum::<usize>();
        assert_eq!(answer["coverage"]["p95_turn_latency_ms"], coverage, "{context}");
    }
}

/// The link of a row leads to exactly its calls.
async fn assert_link(tenant: &TenantClient, row: &Value, count: usize, context: &str) {
    let mut target = format!("{}&limit=200&total=true", row["calls"].as_str().expect("a link"));
    let mut found = 0;
    loop {
        let page = tenant.send(&Request::get(target.clone())).await;
        assert_eq!(page.status, 200, "{target}: {}", page.text());
        let page = page.value();
        found += page["items"].as_array().expect("a list").len();
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        target = format!("{}&limit=200&cursor={cursor}", row["calls"].as_str().expect("a link"));
    }
    assert_eq!(found, count, "{target}: {context}");
}

async fn a_week_is_compared_with_the_one_before(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[
        completed(1, "2026-01-05T22:30:00Z", 60).with("agent", "ada"),
        completed(2, "2026-01-12T22:30:00Z", 60).with("agent", "ada"),
        completed(3, "2026-01-12T23:30:00Z", 60).with("agent", "ada"),
        completed(4, "2026-01-13T00:30:00Z", 60).with("agent", "bob"),
    ])
    .await;
    let question = json!({
        "metrics": ["total_calls"], "dimensions": ["agent"], "interval": "day", "timezone": "Europe/Berlin",
        "started_after": "2026-01-11T23:00:00Z", "started_before": "2026-01-13T23:00:00Z", "compare": "previous_week",
        "order_by": [{"by": "agent", "direction": "asc"}]
    });
    let answer = answer(&acme, &question).await;
    let rows: Vec<Value> = answer["rows"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|row| {
            json!([
                row["bucket"],
                row["dimensions"]["agent"],
                row["metrics"]["total_calls"],
                row["previous"]["total_calls"],
                row["change"]["total_calls"],
                row["change_percent"]["total_calls"]
            ])
        })
        .collect();
    assert_eq!(
        json!(rows),
        json!([
            ["2026-01-11T23:00:00Z", "ada", 1, 1, 0, 0.0],
            ["2026-01-12T23:00:00Z", "ada", 1, 0, 1, null],
            ["2026-01-11T23:00:00Z", "bob", 0, null, null, null],
            ["2026-01-12T23:00:00Z", "bob", 1, null, null, null],
        ])
    );
    assert_eq!(answer["totals"]["metrics"]["total_calls"], 3);
    assert_eq!(answer["totals"]["change_percent"]["total_calls"], 200.0);
    let hours = json!({
        "metrics": ["total_calls"], "dimensions": ["hour_of_week"], "timezone": "Asia/Kolkata",
        "started_after": "2026-01-01T00:00:00Z", "started_before": "2026-01-20T00:00:00Z"
    });
    let answer = self::answer(&acme, &hours).await;
    let rows = answer["rows"].as_array().expect("a list");
    let counted: Vec<(usize, u64)> = rows
        .iter()
        .enumerate()
        .filter_map(|(hour, row)| {
            assert_eq!(row["dimensions"]["hour_of_week"], hour);
            Some((hour, row["metrics"]["total_calls"].as_u64()?)).filter(|(_, calls)| *calls > 0)
        })
        .collect();
    // 22:30 UTC of a Monday is 4:00 of a Tuesday in Kolkata.
    assert_eq!((rows.len(), counted), (168, vec![(24 + 4, 2), (24 + 5, 1), (24 + 6, 1)]));
}

async fn several_questions_are_answered_in_their_order(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60), failed(2, "2026-01-17T10:00:00Z", 60)]).await;
    let question = json!({"queries": [{"metrics": ["failed_calls"]}, {"metrics": ["success_rate"]}]});
    let answer = answer(&acme, &question).await;
    assert_eq!(answer["results"][0]["totals"]["metrics"], json!({"failed_calls": 1}));
    assert_eq!(answer["results"][1]["totals"]["metrics"], json!({"success_rate": 50.0}));
    let eleven = json!({"queries": vec![json!({"metrics": ["total_calls"]}); 11]});
    assert_eq!(problem(&ask(&acme, &eleven).await), "422 validation_error: queries: must have at most 10 entries");
    let second = json!({"queries": [{"metrics": ["total_calls"]}, {"metrics": ["calls"]}]});
    let named = problem(&ask(&acme, &second).await);
    assert!(named.contains("queries[1].metrics[0]: must be a metric of the catalogue"), "{named}");
}

async fn what_is_wrong_with_a_question_is_named(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let filter = |filter: Value| json!({"metrics": ["total_calls"], "filters": [filter]});
    for (question, expected) in [
        (json!({}), "metrics: is required"),
        (json!({"metrics": []}), "metrics: must have at least one entry"),
        (json!({"metrics": ["x"]}), "metrics[0]: must be a metric of the catalogue"),
        (json!({"metrics": ["total_calls", "total_calls"]}), "metrics[1]: must not be given more than once"),
        (json!({"metrics": ["total_calls"], "dimensions": ["colour"]}), "dimensions[0]: must be one of workflow"),
        (json!({"metrics": ["total_calls"], "dimensions": ["tenant"]}), "dimensions[0]: must be one of workflow"),
        (json!({"metrics": ["total_calls"], "dimensions": ["tag.A B"]}), "dimensions[0]: must be one of workflow"),
        (json!({"metrics": ["total_calls"], "dimensions": ["provider", "model"]}), "dimensions: provider and model"),
        (json!({"metrics": ["total_errors"], "dimensions": ["model"]}), "metrics: total_errors cannot be grouped"),
        (json!({"metrics": ["total_calls"], "interval": "second"}), "interval: must be one of minute, 15m, hour"),
        (json!({"metrics": ["total_calls"], "interval": "minute", "period": "90d"}), "interval: gives more than 10000"),
        (json!({"metrics": ["total_calls"], "timezone": "Mars"}), "timezone: must be an IANA time zone"),
        (json!({"metrics": ["total_calls"], "compare": "yesterday"}), "compare: must be previous_period"),
        (json!({"metrics": ["total_calls"], "limit": 0}), "limit: must be a whole number from 1 to 1000"),
        (json!({"metrics": ["total_calls"], "order_by": [{"by": "agent"}]}), "order_by[0].by: must be a metric"),
        (json!({"metrics": ["total_calls"], "colour": 1}), "colour: is unknown; allowed: metrics"),
        (json!({"metrics": "total_calls"}), "metrics: must be a list"),
        (filter(json!({"dimension": "agent", "values": []})), "filters[0].values: must have at least one entry"),
        (filter(json!({"dimension": "agent", "values": ["a\0"]})), "filters[0].values[0]: must not contain the NUL"),
        (
            filter(json!({"dimension": "agent", "operator": "like", "values": ["a"]})),
            "filters[0].operator: must be one",
        ),
        (filter(json!({"dimension": "direction", "values": ["up"]})), "filters[0].values[0]: must be one of inbound"),
        (
            json!({"metrics": ["total_calls"], "started_after": "2026-01-02T00:00:00Z",
                   "started_before": "2026-01-01T00:00:00Z"}),
            "started_before: must be later than started_after",
        ),
    ] {
        let seen = problem(&ask(&acme, &question).await);
        assert!(seen.starts_with("422 validation_error") && seen.contains(expected), "{question}: {seen}");
    }
    let request = Request::new("POST", QUERY).json("{".to_owned());
    assert!(problem(&acme.send(&request).await).starts_with("400 "), "half a question");
}

async fn filters_narrow_the_six_endpoints(backend: Backend) {
    let server = Server::start(backend).await;
    let acme = server.tenant("acme").await;
    let of = |number, agent: &str, environment: &str| {
        completed(number, "2026-01-17T10:00:00Z", 60)
            .with("agent", agent)
            .with("environment", environment)
            .workflow("daily", "Daily")
            .provider("stt", agent, &[100.0 * f64::from(number)])
            .error(crate::records::error("2026-01-17T10:00:30Z", "stt", "error", agent))
    };
    acme.given(&[of(1, "ada", "production"), of(2, "bob", "production"), of(3, "ada", "test")]).await;
    let total = async |query: &str| acme.summary(query).await.value()["total_calls"].as_u64().expect("a number");
    assert_eq!(total("?agent=ada").await, 2);
    assert_eq!(total("?agent=ada,bob").await, 3);
    assert_eq!(total("?agent=!ada").await, 1);
    assert_eq!(total("?agent=ada&environment=!test").await, 1);
    assert_eq!(total("?provider=bob&workflow=daily").await, 1);
    assert_eq!(total("?language=(none)").await, 3);
    assert_eq!(total("?language=!(none)").await, 0);
    assert_eq!(total("?tag.campaign=spring").await, 0);
    assert_eq!(acme.workflow_stats("?agent=bob").await.value()[0]["total_calls"], 1);
    assert_eq!(acme.provider_latency("?environment=test").await.value().as_array().expect("a list").len(), 1);
    assert_eq!(acme.provider_latency("?environment=test").await.value()[0]["avg_latency_ms"], 300.0);
    let log = acme.errors("?agent=ada&environment=production").await.value();
    assert_eq!((log["total"].as_u64(), log["items"].as_array().expect("a list").len()), (Some(1), 1));
    let log = acme.errors("?agent=ada&service=stt").await.value();
    assert_eq!((log["total"].as_u64(), log["items"].as_array().expect("a list").len()), (Some(2), 2));
    let volume = acme.call_volume("?interval=day&agent=ada").await.value();
    assert_eq!(
        volume["data"].as_array().expect("a list").iter().filter_map(|cell| cell["total"].as_u64()).sum::<u64>(),
        2
    );
    let values = acme.send(&Request::get("/api/v1/analytics/dimensions/agent?search=AD".to_owned())).await.value();
    assert_eq!(values["values"], json!([{"value": "ada", "calls": 2}]));
}

async fn a_tenant_asks_about_its_own_calls_alone(backend: Backend) {
    let server = Server::start(backend).await;
    let (acme, globex) = (server.tenant("acme").await, server.tenant("globex").await);
    let tags = json!({"campaign": "spring"});
    acme.given(&[completed(1, "2026-01-17T10:00:00Z", 60).with("agent", "ada").with("tags", tags)]).await;
    for dimension in ["agent", "tag.campaign"] {
        let question = json!({"metrics": ["total_calls"], "dimensions": [dimension]});
        assert_eq!(answer(&globex, &question).await["rows"], json!([]));
        assert_eq!(answer(&acme, &question).await["rows"].as_array().expect("a list").len(), 1);
    }
    let list = async |tenant: &TenantClient| {
        tenant.send(&Request::get("/api/v1/analytics/calls".to_owned())).await.value()["items"].clone()
    };
    assert_eq!((list(&acme).await.as_array().expect("a list").len(), list(&globex).await), (1, json!([])));
    let id = crate::records::call_id(1);
    let of =
        async |tenant: &TenantClient| tenant.send(&Request::get(format!("/api/v1/analytics/calls/{id}"))).await.status;
    assert_eq!((of(&acme).await, of(&globex).await), (200, 404));
}
