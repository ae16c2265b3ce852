//! The built binary as people run it: a process of its own, a database of its own, a free port, HTTP from outside.
//!
//! What is right is worked out here from the records that were sent, by plain loops: nothing is taken from the
//! domain crate.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

/// Makes a test of each function, which takes the database to run on.
macro_rules! on_each_backend {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(
                #[test]
                fn $test() {
                    super::$test(callscope_testkit::Backend::Sqlite);
                }
            )+
        }
    };
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
mod shutdown;
mod sweeper;
mod windows;
mod world;
