//! The built binary as people run it: a process of its own, a database of its own, a free port, HTTP from outside.
//!
//! What is right is worked out here from the records that were sent, by plain loops: nothing is taken from the
//! domain crate.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

/// Lists the tests of a module.
macro_rules! cases {
    ($backends:expr; $($test:ident = $run:expr),+) => {
        pub const CASES: &[callscope_testkit::BlockingCase] = &[$(callscope_testkit::BlockingCase {
            name: concat!(module_path!(), "::", stringify!($test)),
            backends: $backends,
            run: $run,
        }),+];
    };
}

/// Lists the tests of a module that take the database to run on.
macro_rules! on_each_backend {
    ($($test:ident),+ $(,)?) => { cases!(&callscope_testkit::Backend::ALL; $($test = $test),+); };
}

/// Lists the tests of a module that are about PostgreSQL.
macro_rules! on_postgres {
    ($($test:ident),+ $(,)?) => { cases!(&[callscope_testkit::Backend::Postgres]; $($test = |_| $test()),+); };
}

/// Lists the tests of a module that choose their database themselves.
macro_rules! once {
    ($($test:ident),+ $(,)?) => { cases!(&[]; $($test = |_| $test()),+); };
}

mod audit;
mod browser;
mod client;
mod commands;
mod compare;
mod comparison;
mod configuration;
mod crash;
mod cross_origin;
mod database_url;
mod demo;
mod distribution;
mod edge;
mod figures;
mod fixture;
mod full_disk;
mod health;
mod import;
mod isolation;
mod live;
mod log;
mod outage;
mod process;
mod read_only;
mod records;
mod replica;
mod resume;
mod retention;
mod session;
mod settings;
mod shutdown;
mod side_by_side;
mod sweeper;
mod terminal;
mod time_limits;
mod tls;
mod windows;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        audit::CASES,
        browser::CASES,
        commands::CASES,
        comparison::CASES,
        configuration::CASES,
        crash::CASES,
        cross_origin::CASES,
        database_url::CASES,
        demo::CASES,
        distribution::CASES,
        edge::CASES,
        full_disk::CASES,
        health::CASES,
        import::CASES,
        isolation::CASES,
        live::CASES,
        log::CASES,
        live::POSTGRES_CASES,
        outage::CASES,
        read_only::CASES,
        replica::CASES,
        resume::CASES,
        retention::CASES,
        settings::CASES,
        settings::health::CASES,
        shutdown::CASES,
        side_by_side::CASES,
        sweeper::CASES,
        time_limits::CASES,
        tls::CASES,
    ];
    callscope_testkit::run(&cases.concat())
}
