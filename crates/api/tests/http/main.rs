//! The HTTP interface as a client meets it: a real application behind a real socket, over a real store.

#![expect(clippy::too_many_lines, reason = "tables of requests and snapshots of answers are long")]

/// Makes two tests of each function, `name::sqlite` and `name::postgres`. The functions take the database to run on.
macro_rules! on_each_backend {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use callscope_testkit::Backend;

            #[test]
            fn sqlite() {
                crate::run(Backend::Sqlite, super::$test);
            }

            #[test]
            fn postgres() {
                crate::run(Backend::Postgres, super::$test);
            }
        }
    )+};
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
mod otlp;
mod protocol;
mod provider_latency;
mod query;
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

use callscope_testkit::Backend;

/// Runs a test on one of the databases.
fn run<F: Future<Output = ()>>(backend: Backend, test: impl FnOnce(Backend) -> F) {
    callscope_testkit::run_on(backend, |backend| {
        // A snapshot holds on both databases.
        insta::allow_duplicates! { actix_web::rt::System::new().block_on(test(backend)) };
    });
}
