//! Tables of bad requests, and what is left to see when they are done.

use crate::client::Client;
use crate::layout::problem;
use crate::records::completed;
use crate::wire::Request;
use std::fmt::Write;

/// Sends every request, and gives each problem below the name of its request.
pub async fn problems(client: &Client, table: Vec<(String, Request)>) -> String {
    let mut seen = String::new();
    for (name, request) in table {
        let _ = writeln!(seen, "{name}\n  {}", problem(&client.send(&request).await));
    }
    seen
}

/// Asks every question, and gives each problem below it.
pub async fn problems_of_questions(client: &Client, path: &str, queries: &[&str]) -> String {
    let request = |query: &&str| Request::get(format!("/api/v1/analytics/{path}{query}"));
    problems(client, queries.iter().map(|query| ((*query).to_owned(), request(query))).collect()).await
}

/// After all of it the server takes a call, and shows that one and no other.
pub async fn still_works(client: &Client) {
    let response = client.put_call(&completed(999, "2026-01-17T11:00:00Z", 60)).await;
    assert_eq!(response.status, 201, "{}", response.text());
    assert_eq!(client.summary("?period=30d").await.value()["total_calls"], 1);
}
