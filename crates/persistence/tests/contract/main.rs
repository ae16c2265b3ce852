//! What the ports promise, shown of both databases. Most cases write through the ingestion queue and read through the
//! service, as the server does; what those cannot reach is called directly.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod audits;
mod contents;
mod error_log;
mod fixture;
mod history;
mod isolation;
mod lanes;
mod lifecycle;
mod retention;
mod rollups;
mod samples;
mod schema;
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
        tenants::CASES,
        isolation::CASES,
        rollups::CASES,
        retention::CASES,
        audits::CASES,
        lanes::CASES,
        transactions::CASES,
        contents::CASES,
        schema::CASES,
    ]
    .concat();
    callscope_testkit::run(&cases)
}
