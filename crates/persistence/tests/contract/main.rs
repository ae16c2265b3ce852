//! What the ports promise, shown of both databases. Most cases write through the ingestion queue and read through the
//! service, as the server does; what those cannot reach is called directly.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod access;
mod audits;
mod contents;
mod distribution;
mod error_log;
mod events;
mod fixture;
mod history;
mod isolation;
mod kept;
mod lanes;
mod lifecycle;
mod retention;
mod rollups;
mod samples;
mod schema;
mod statements;
mod tenants;
mod transactions;
mod workflows;

use callscope_testkit::Case;
use std::process::ExitCode;

/// Lists cases: `async fn(Fixture)`, by their names.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        &[$(callscope_testkit::Case {
            name: stringify!($name),
            run: |backend| Box::pin(async move { $name($crate::fixture::Fixture::new(backend).await).await }),
        }),+]
    };
}
use cases;

fn main() -> ExitCode {
    let cases: Vec<Case> = [
        lifecycle::CASES,
        workflows::CASES,
        error_log::CASES,
        events::CASES,
        tenants::CASES,
        access::CASES,
        isolation::CASES,
        kept::CASES,
        rollups::CASES,
        retention::CASES,
        audits::CASES,
        lanes::CASES,
        transactions::CASES,
        contents::CASES,
        schema::CASES,
        distribution::CASES,
        statements::CASES,
    ]
    .concat();
    let outcome = callscope_testkit::run(&cases);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let strays = runtime.block_on(statements::strays());
    if strays.is_empty() {
        return outcome;
    }
    println!("These statements do not stay with one tenant:\n{}", strays.join("\n"));
    ExitCode::FAILURE
}
