//! Runs each case on both databases, as `sqlite::case` and `postgres::case`.

use crate::postgres::Postgres;
use crate::scratch::Backend;
use libtest_mimic::{Arguments, Trial};
use std::pin::Pin;
use std::process::ExitCode;

/// When this variable is set, PostgreSQL tests that cannot run are a failure.
const REQUIRE_POSTGRES: &str = "CALLSCOPE_REQUIRE_POSTGRES";

/// A case under way; it fails by a panic.
pub type CaseFuture = Pin<Box<dyn Future<Output = ()>>>;

/// Something to be shown of both databases.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// A sentence.
    pub name: &'static str,
    /// Shows it of one of them.
    pub run: fn(Backend) -> CaseFuture,
}

/// Runs cases as the command line says: the `main` of a test binary without libtest. Where there is no PostgreSQL
/// server, its tests are ignored and one line says why.
#[must_use]
pub fn run(cases: &[Case]) -> ExitCode {
    let arguments = Arguments::from_args();
    let on = |backend| cases.iter().map(move |&case| trial(backend, case));
    let mut trials: Vec<Trial> = on(Backend::Sqlite).collect();
    let is_wanted = !arguments.list && on(Backend::Postgres).any(|trial| !arguments.is_filtered_out(&trial));
    let missing = if is_wanted { Postgres::shared().err() } else { None };
    trials.extend(on(Backend::Postgres).map(|trial| trial.with_ignored_flag(missing.is_some())));
    if let Some(reason) = missing {
        eprintln!("PostgreSQL tests are IGNORED: {reason}");
        if std::env::var_os(REQUIRE_POSTGRES).is_some() {
            eprintln!("This is a failure, because {REQUIRE_POSTGRES} is set.");
            return ExitCode::FAILURE;
        }
    }
    libtest_mimic::run(&arguments, trials).exit_code()
}

fn trial(backend: Backend, case: Case) -> Trial {
    Trial::test(format!("{}::{}", backend.name(), case.name), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on((case.run)(backend));
        Ok(())
    })
}
