//! The built binary as people run it: a process of its own, a database of its own, a free port, HTTP from outside.
//!
//! What is right is worked out here from the records that were sent, by plain loops: nothing is taken from the
//! domain crate.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

/// Lists the tests of a module, which take the database to run on.
macro_rules! cases {
    ($backends:expr; $($test:ident),+) => {
        pub const CASES: &[callscope_testkit::BlockingCase] = &[$(callscope_testkit::BlockingCase {
            name: concat!(module_path!(), "::", stringify!($test)),
            backends: $backends,
            run: $test,
        }),+];
    };
}

/// Lists the tests of a module that run on both databases.
macro_rules! on_each_backend {
    ($($test:ident),+ $(,)?) => { cases!(&callscope_testkit::Backend::ALL; $($test),+); };
}

/// Lists the tests of a module that have a database of their own.
macro_rules! once {
    ($($test:ident),+ $(,)?) => { cases!(&[]; $($test),+); };
}

mod audit;
mod client;
mod commands;
mod compare;
mod comparison;
mod configuration;
mod crash;
mod demo;
mod figures;
mod fixture;
mod health;
mod import;
mod isolation;
mod process;
mod records;
mod session;
mod shutdown;
mod sweeper;
mod windows;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cases = [
        audit::CASES,
        commands::CASES,
        comparison::CASES,
        configuration::CASES,
        crash::CASES,
        demo::CASES,
        health::CASES,
        import::CASES,
        isolation::CASES,
        shutdown::CASES,
        sweeper::CASES,
    ];
    callscope_testkit::run(&cases.concat())
}
