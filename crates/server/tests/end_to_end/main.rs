//! The built binary as people run it: a process of its own, a database of its own, a free port, HTTP from outside.
//!
//! What is right is worked out here from the records that were sent, by plain loops: nothing is taken from the
//! domain crate.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

/// Makes two tests of each function, `name::sqlite` and `name::postgres`. The functions take the database to run on.
macro_rules! on_each_backend {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use callscope_testkit::{Backend, run_on};

            #[test]
            fn sqlite() {
                run_on(Backend::Sqlite, super::$test);
            }

            #[test]
            fn postgres() {
                run_on(Backend::Postgres, super::$test);
            }
        }
    )+};
}

/// Makes a test of each function, `name::postgres`. The functions need PostgreSQL, and take nothing.
macro_rules! on_postgres {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use callscope_testkit::{Backend, run_on};

            #[test]
            fn postgres() {
                run_on(Backend::Postgres, |_| super::$test());
            }
        }
    )+};
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
mod grouped;
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
