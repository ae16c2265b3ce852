//! The HTTP interface as a client meets it: a real application behind a real socket, over a real store.

#![expect(clippy::too_many_lines, reason = "tables of requests and snapshots of answers are long")]

/// Lists the tests of a module, which take the database to run on.
macro_rules! on_each_backend {
    ($($test:ident),+ $(,)?) => {
        pub const CASES: &[callscope_testkit::BlockingCase] = &[$(callscope_testkit::BlockingCase {
            name: concat!(module_path!(), "::", stringify!($test)),
            backends: &callscope_testkit::Backend::ALL,
            // A snapshot holds on both databases.
            run: |backend| insta::allow_duplicates! { actix_web::rt::System::new().block_on($test(backend)) },
        }),+];
    };
}

/// Lists the tests of a module that need no server.
macro_rules! once {
    ($($test:ident),+ $(,)?) => {
        pub const ONCE: &[callscope_testkit::BlockingCase] = &[$(callscope_testkit::BlockingCase {
            name: concat!(module_path!(), "::", stringify!($test)),
            backends: &[],
            run: |_| $test(),
        }),+];
    };
}

mod client;
mod document;
mod external_ids;
mod failures;
mod field_codes;
mod follow;
mod issuer;
mod layout;
mod records;
mod schema;
mod server;
mod slow;
mod store;
mod table;
mod wire;

mod active_calls;
mod auth;
mod bad_body;
mod bad_query;
mod bad_record;
mod bad_record_fields;
mod bad_record_parts;
mod bad_route;
mod body_limits;
mod cache;
mod call_volume;
mod connections;
mod cors;
mod error_log;
mod guesses;
mod headers;
mod ingest;
mod kept;
mod keys;
mod live;
mod metrics;
mod protocol;
mod provider_latency;
mod rates;
mod shedding;
mod summary;
mod tenancy;
mod tickets;
mod token_keys;
mod tokens;
mod unknown_fields;
mod walk;
mod workflow_stats;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        active_calls::CASES,
        auth::CASES,
        bad_body::CASES,
        bad_query::CASES,
        bad_record_fields::CASES,
        bad_record_parts::CASES,
        bad_route::CASES,
        body_limits::CASES,
        cache::CASES,
        call_volume::CASES,
        connections::CASES,
        cors::CASES,
        document::CASES,
        document::ONCE,
        error_log::CASES,
        external_ids::CASES,
        failures::CASES,
        field_codes::CASES,
        guesses::CASES,
        headers::CASES,
        ingest::CASES,
        kept::CASES,
        keys::CASES,
        live::CASES,
        metrics::CASES,
        protocol::CASES,
        provider_latency::CASES,
        rates::CASES,
        shedding::CASES,
        summary::CASES,
        tenancy::CASES,
        tickets::CASES,
        token_keys::CASES,
        tokens::CASES,
        unknown_fields::CASES,
        walk::CASES,
        workflow_stats::CASES,
    ];
    callscope_testkit::run(&cases.concat())
}
