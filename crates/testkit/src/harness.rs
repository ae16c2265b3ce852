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

/// Something to be shown without a runtime of the harness, perhaps of one database only.
#[derive(Clone, Copy, Debug)]
pub struct BlockingCase {
    /// A sentence. Its path, as `module_path!()` gives it, may come first.
    pub name: &'static str,
    /// Of which databases. None: it has nothing to do with them, and runs once.
    pub backends: &'static [Backend],
    /// Shows it of one of them.
    pub run: fn(Backend),
}

/// What [`run`] takes.
pub trait Runnable: Copy + Send + 'static {
    /// A sentence, after the modules that it is in.
    fn name(self) -> &'static str;
    /// The databases to show it of.
    fn backends(self) -> &'static [Backend];
    /// Shows it, or panics.
    fn run(self, backend: Backend);
}

impl Runnable for Case {
    fn name(self) -> &'static str {
        self.name
    }

    fn backends(self) -> &'static [Backend] {
        &Backend::ALL
    }

    fn run(self, backend: Backend) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime can be made").block_on((self.run)(backend));
    }
}

impl Runnable for BlockingCase {
    fn name(self) -> &'static str {
        // What comes first is the name of the binary.
        self.name.split_once("::").map_or(self.name, |(_, name)| name)
    }

    fn backends(self) -> &'static [Backend] {
        self.backends
    }

    fn run(self, backend: Backend) {
        (self.run)(backend);
    }
}

/// Runs cases as the command line says: the `main` of a test binary without libtest. Where there is no PostgreSQL
/// server, its tests are ignored and one line says why.
#[must_use]
pub fn run(cases: &[impl Runnable]) -> ExitCode {
    let arguments = Arguments::from_args();
    let on = |backend| cases.iter().filter(move |case| case.backends().contains(&backend));
    let on = |backend| on(backend).map(move |&case| trial(Some(backend), case));
    let once = cases.iter().filter(|case| case.backends().is_empty()).map(|&case| trial(None, case));
    let mut trials: Vec<Trial> = once.chain(on(Backend::Sqlite)).collect();
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

/// A case on one of its databases, or on none.
fn trial(backend: Option<Backend>, case: impl Runnable) -> Trial {
    let name = backend.map_or_else(String::new, |backend| format!("{}::", backend.name())) + case.name();
    Trial::test(name, move || {
        case.run(backend.unwrap_or(Backend::Sqlite));
        Ok(())
    })
}
