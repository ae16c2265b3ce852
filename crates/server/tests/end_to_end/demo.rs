//! `callscope demo`: what it prints works as printed.

use crate::client::Client;
use crate::fixture::Fixture;
use crate::process::{Server, eventually};
use callscope_testkit::Backend;

const CALLS: u64 = 2000;

once!(the_demo_prints_a_tour_that_works);

fn the_demo_prints_a_tour_that_works() {
    let fixture = Fixture::new(Backend::Sqlite);
    let server = start(&fixture);
    let tour = tour(&server);
    let key = &key(&server);
    let commands: Vec<&String> = tour.iter().filter(|line| line.trim_start().starts_with("curl ")).collect();
    assert_eq!(commands.len(), 6, "{tour:?}");
    for command in commands {
        let [_, header, _, url, ..] = command.split('\'').collect::<Vec<_>>()[..] else { panic!("{command}") };
        let (host, question) = url.split_at(server.url().len());
        assert_eq!((host, header), (server.url().as_str(), format!("X-API-Key: {key}").as_str()));
        let answer = Client::new(host, Some(key)).get(question);
        assert_eq!(answer.status, 200, "{command}: {answer:?}");
        assert!(answer.text.len() > 2, "{command} answers nothing: {answer:?}");
    }

    let client = server.client(key);
    let total = || client.ask("summary?period=30d")["total_calls"].as_u64().unwrap();
    assert!((CALLS - 50..=CALLS + 50).contains(&total()), "{}", total());
    eventually("a live call", || (client.ask("active-calls")["count"].as_u64() > Some(0)).then_some(()));
    let before = total();
    eventually("a further live call", || (total() > before).then_some(()));
    assert_swagger_ui_needs_nothing_else(&server, &tour);
    drop(server);

    // It replaces what an earlier one left.
    let again = start(&fixture);
    assert_eq!(again.client(key).get("/api/v1/analytics/summary").status, 401);
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
    let calls = CALLS.to_string();
    let mut command = fixture.bare_command(&["demo", "--calls", &calls]);
    command.env("CALLSCOPE__SERVER__BIND", "127.0.0.1:0").env("CALLSCOPE__LOG__FORMAT", "json");
    let server = Server::start(command);
    assert!(fixture.folder().join("demo-data/demo.db").is_file());
    server
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
