//! `callscope demo`: what it prints works as printed.

use crate::client::Client;
use crate::fixture::Fixture;
use crate::process::{Server, eventually, run};
use callscope_testkit::Backend;
use serde_json::Value;
use std::net::TcpListener;
use std::process::Command;

/// Enough for the story to show.
const CALLS: u64 = 4000;
/// Enough to look at.
const FEW_CALLS: &str = "1000";

#[test]
fn the_demo_prints_a_tour_that_works() {
    let fixture = Fixture::new(Backend::Sqlite);
    let server = start_with(&fixture, &CALLS.to_string());
    let tour = tour(&server);
    let key = &key(&server);
    let commands: Vec<&String> = tour.iter().filter(|line| line.trim_start().starts_with("curl ")).collect();
    let answers: Vec<Value> = commands.iter().map(|command| answer_of(&server, key, command)).collect();
    assert_eq!(answers.len(), 19, "{tour:?}");
    assert_story_shows(&answers[6..15]);
    assert_queries_show(&answers[15..]);

    let client = server.client(key);
    let total = || client.ask("summary?period=30d")["total_calls"].as_u64().unwrap();
    assert!((CALLS - 50..=CALLS + 50).contains(&total()), "{}", total());
    eventually("a live call", || (client.ask("active-calls")["count"].as_u64() > Some(0)).then_some(()));
    let before = total();
    eventually("a further live call", || (total() > before).then_some(()));
    assert_swagger_ui_needs_nothing_else(&server, &tour);
    let mut server = server;
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(0));

    // A further demo replaces the database of an earlier one.
    let again = start(&fixture);
    assert_eq!(again.client(key).get("/api/v1/analytics/summary").status, 401);
}

/// What a printed request answers.
fn answer_of(server: &Server, key: &str, command: &str) -> Value {
    let [_, header, _, url, ref rest @ ..] = command.split('\'').collect::<Vec<_>>()[..] else { panic!("{command}") };
    let (host, question) = url.split_at(server.url().len());
    assert_eq!((host, header), (server.url().as_str(), format!("X-API-Key: {key}").as_str()));
    let client = Client::new(host, Some(key));
    let answer = match rest {
        [_, _, _, body, _] => client.post(question, "application/json", body.as_bytes()),
        _ => client.get(question),
    };
    assert_eq!(answer.status, 200, "{command}: {answer:?}");
    assert!(answer.text.len() > 2, "{command} answers nothing: {answer:?}");
    answer.json()
}

/// What the printed requests are to show: an incident, a release, a burst, a slow model in a growing month.
fn assert_story_shows(answers: &[Value]) {
    let [incident, month, outages, before, since, faults, refusals, volume, providers] = answers else {
        panic!("{answers:?}")
    };
    let p50 = |answer: &Value, name: &str| {
        let entries = answer.as_array().unwrap().iter();
        entries
            .filter(|entry| entry["provider_name"] == name)
            .find_map(|entry| entry["p50_latency_ms"].as_f64())
            .unwrap()
    };
    assert!(p50(incident, "openai") > 3.0 * p50(month, "openai"), "{incident} {month}");
    assert!(outages["total"].as_u64() > Some(5), "{outages}");
    let success_rate = |answer: &Value| answer["success_rate"].as_f64().unwrap();
    assert!(success_rate(before) > success_rate(since) + 15.0, "{before} {since}");
    let names = |answer: &Value, words: &str| {
        let mut items = answer["items"].as_array().unwrap().iter();
        items.any(|item| item["message"].as_str().unwrap().contains(words))
    };
    assert!(names(outages, "is degraded"), "{outages}");
    assert!(names(faults, "Release 2.4.0"), "{faults}");
    assert!(refusals["total"].as_u64() > Some(3), "{refusals}");
    assert!(names(refusals, "certificate"), "{refusals}");
    let days: Vec<u64> = volume["data"].as_array().unwrap().iter().map(|day| day["total"].as_u64().unwrap()).collect();
    let week = |days: &[u64]| days.iter().sum::<u64>();
    assert!(week(&days[days.len() - 8..days.len() - 1]) > week(&days[1..8]), "{days:?}");
    assert!(p50(providers, "self-hosted") > 2.0 * p50(providers, "anthropic"), "{providers}");
}

/// What the printed queries are to show: a slow model, a release that is interrupted, an expensive agent, slow tests.
fn assert_queries_show(answers: &[Value]) {
    let [models, versions, agents, environments] = answers else { panic!("{answers:?}") };
    let row = |answer: &Value, dimension: &str, value: &str| {
        let rows = answer["rows"].as_array().unwrap();
        rows.iter().find(|row| row["dimensions"][dimension] == value).unwrap_or_else(|| panic!("{answer}")).clone()
    };
    let figure = |row: &Value, metric: &str| row["metrics"][metric].as_f64().unwrap_or_else(|| panic!("{row}"));
    let slow = row(models, "model", "llm:claude-haiku-4-5");
    assert!(slow["change_percent"]["p95_llm_latency_ms"].as_f64() > Some(50.0), "{slow}");
    let [before, since] =
        ["3.1.0", "3.2.0"].map(|version| figure(&row(versions, "agent_version", version), "interruptions_per_turn"));
    assert!(since > 1.8 * before, "{versions}");
    let [expensive, other] = ["sales-agent", "triage-agent"]
        .map(|agent| figure(&row(agents, "agent", agent), "cost_per_successful_call_usd"));
    assert!(expensive > 1.5 * other, "{agents}");
    let [test, production] = ["test", "production"]
        .map(|environment| figure(&row(environments, "environment", environment), "p95_turn_latency_ms"));
    assert!(test > 1.2 * production, "{environments}");
}

#[test]
fn a_second_demo_in_the_same_folder_changes_nothing() {
    let fixture = Fixture::new(Backend::Sqlite);
    let first = start_with(&fixture, "200");
    let key = &key(&first);
    let second = run(command(&fixture, &["--calls", "100"]), b"").stderr_of_failure();
    assert!(second.contains("demo-data is in use by another callscope demo (pid "), "{second}");
    assert!(second.contains("--data"), "{second}");
    assert!(first.client(key).ask("summary?period=30d")["total_calls"].as_u64() > Some(190));
    // In a folder of its own it runs beside the first.
    let other = Server::start(command(&fixture, &["--calls", "100", "--data", "other"]));
    assert_eq!(other.client(key).get("/api/v1/analytics/summary").status, 401);
}

#[test]
fn a_demo_whose_address_is_taken_changes_nothing() {
    let fixture = Fixture::new(Backend::Sqlite);
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let refused = run(command(&fixture, &["--bind", &address]), b"").stderr_of_failure();
    assert!(refused.contains(&format!("cannot listen on {address}")) && refused.contains("--bind"), "{refused}");
    assert!(!fixture.folder().join("demo-data").exists());
    drop(holder);
    let server = Server::start(command(&fixture, &["--calls", "100", "--bind", &address]));
    assert_eq!(server.address.to_string(), address);
}

/// What it prints when it serves.
fn tour(server: &Server) -> Vec<String> {
    eventually("the tour", || {
        let printed = server.printed();
        printed.last()?.contains("Ctrl-C").then_some(printed)
    })
}

/// The key that it prints.
pub fn key(server: &Server) -> String {
    tour(server).iter().find_map(|line| line.strip_prefix("API key ")).unwrap().trim().to_owned()
}

/// Starts a demo.
pub fn start(fixture: &Fixture) -> Server {
    start_with(fixture, FEW_CALLS)
}

fn start_with(fixture: &Fixture, calls: &str) -> Server {
    let server = Server::start(command(fixture, &["--calls", calls]));
    assert!(fixture.folder().join("demo-data/demo.db").is_file());
    server
}

fn command(fixture: &Fixture, arguments: &[&str]) -> Command {
    let mut command = fixture.bare_command(&[&["demo"], arguments].concat());
    command.env("CALLSCOPE__SERVER__BIND", "127.0.0.1:0").env("CALLSCOPE__LOG__FORMAT", "json");
    command
}

fn assert_swagger_ui_needs_nothing_else(server: &Server, tour: &[String]) {
    let line = tour.iter().find_map(|line| line.strip_prefix("Swagger UI ")).unwrap();
    let path = line.split_whitespace().next().and_then(|url| url.strip_prefix(&server.url())).unwrap();
    let stranger = server.stranger();
    let page = stranger.get(path);
    assert_eq!((page.status, page.content_type.split(';').next()), (200, Some("text/html")), "{page:?}");
    assert!(!page.text.contains("http://") && !page.text.contains("https://"), "{}", page.text);
    let assets: Vec<&str> = ["src=\"", "href=\""]
        .iter()
        .flat_map(|attribute| page.text.split(attribute).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .collect();
    assert!(assets.len() >= 4, "{assets:?}");
    for asset in assets {
        let answer = stranger.get_bytes(&format!("{path}{}", asset.trim_start_matches("./")));
        assert!(answer.0 == 200 && answer.1 > 0, "{asset}: {answer:?}");
    }
    let document = stranger.get("/api-docs/openapi.json");
    assert!(document.json()["openapi"].as_str().unwrap().starts_with("3.1"));
    let initializer = stranger.get(&format!("{path}swagger-initializer.js"));
    assert!(initializer.text.contains("/api-docs/openapi.json"), "{initializer:?}");
    assert!(!initializer.text.contains("https://"), "{initializer:?}");
}
