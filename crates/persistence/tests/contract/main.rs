//! What the ports promise, shown of both databases. Most cases write through the ingestion queue and read through the
//! service, as the server does; what those cannot reach is called directly.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

/// Makes two tests of each function, `name::sqlite` and `name::postgres`. The functions take a database of their own.
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

mod access;
mod assemblies;
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

use callscope_testkit::Backend;
use fixture::Fixture;

/// Runs a test on a new database, and checks the statements that PostgreSQL has seen of it.
fn run<F: Future<Output = ()>>(backend: Backend, test: impl FnOnce(Fixture) -> F) {
    callscope_testkit::run_on(backend, |backend| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let fixture = Fixture::new(backend).await;
            let url = fixture.scratch.url().to_owned();
            test(fixture).await;
            if backend == Backend::Postgres {
                statements::assert_one_tenant_each(&url).await;
            }
        });
    });
}
