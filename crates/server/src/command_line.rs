//! The command line.

use callscope_domain::{DisplayName, Scope, Slug};
use chrono::NaiveDate;
use clap::{Args, Parser, Subcommand};
use std::fmt::Display;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// A self-hosted, multi-tenant analytics server for voice-AI calls.
///
/// Try it: `callscope demo`. Run it: create a tenant and a key, then `callscope serve`.
#[derive(Parser)]
#[command(name = "callscope", version = env!("CALLSCOPE_VERSION"), arg_required_else_help = true)]
pub struct CommandLine {
    /// A TOML file with settings that differ from the defaults; the environment wins over it.
    #[arg(long, global = true, value_name = "FILE", env = "CALLSCOPE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print the licences of the work of others in this program.
    #[arg(long)]
    pub licenses: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Subcommand)]
pub enum Command {
    /// Serve the HTTP interface until SIGTERM or Ctrl-C.
    Serve,
    /// Create the database, or bring its schema up to date. `serve` does that too.
    Migrate {
        /// Then spread the tables over the nodes of a PostgreSQL with Citus, by tenant. It is safe to run again, and
        /// due again after an upgrade that adds tables. Stop the servers first: it holds locks while it copies rows.
        #[arg(long)]
        distributed: bool,
    },
    /// Create and list tenants, the organisations that share this server.
    Tenants {
        /// What to do with them.
        #[command(subcommand)]
        command: TenantsCommand,
    },
    /// Create, list and revoke the API keys of a tenant.
    Keys {
        /// What to do with them.
        #[command(subcommand)]
        command: KeysCommand,
    },
    /// Check the sums that answers are made of, or make them anew from the calls.
    Rollups {
        /// What to do with them.
        #[command(subcommand)]
        command: RollupsCommand,
    },
    /// Import call records from files. It is safe to run again. Records in no order are put in the order of their starts first;
    /// temporary files for what does not fit into memory go to TMPDIR.
    Import(ImportArguments),
    /// Show the settings as they are, or say what is wrong with them.
    Config {
        /// What to do with them.
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// Ask the server of these settings, on this machine, whether it is ready; exit code 1 if not.
    Health {
        /// Only whether it runs, and not whether its database answers.
        #[arg(long)]
        live: bool,
    },
    /// Serve a month of made-up calls from a database of its own, to look around.
    Demo(DemoArguments),
}

/// What to do with tenants.
#[derive(Subcommand)]
pub enum TenantsCommand {
    /// Create a tenant.
    Create {
        /// The name for commands: lower-case letters, digits, `-` and `_`, at most 64.
        slug: Slug,
        /// The name for people; the slug if not given.
        #[arg(long)]
        name: Option<DisplayName>,
    },
    /// List all tenants.
    List,
}

/// What to do with keys.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Create a key and print it, alone on a line. It is shown this once: only its hash is stored.
    Create {
        /// The slug of the tenant that it gives access to.
        #[arg(long, value_name = "SLUG")]
        tenant: Slug,
        /// What it may do: analytics:read, calls:write, keys:manage. May be given more than once; the first two if not
        /// given.
        #[arg(long = "scope", value_name = "SCOPE")]
        scopes: Vec<Scope>,
        /// What it is for.
        #[arg(long)]
        name: Option<DisplayName>,
        /// How long it is valid, such as 90d; for ever if not given.
        #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
        expires_in: Option<Duration>,
        /// Most requests a second, in the long run; 0 for any number. The server's limit if not given.
        #[arg(long, value_name = "REQUESTS")]
        rate: Option<u32>,
        /// Most requests at once; twice the rate if not given.
        #[arg(long, value_name = "REQUESTS", requires = "rate")]
        burst: Option<u32>,
    },
    /// List the keys of a tenant, without their secrets.
    List {
        /// The slug of the tenant.
        #[arg(long, value_name = "SLUG")]
        tenant: Slug,
    },
    /// Revoke a key: it opens nothing from now on.
    Revoke {
        /// The slug of the tenant.
        #[arg(long, value_name = "SLUG")]
        tenant: Slug,
        /// The key's id, as `keys list` shows it.
        key_id: uuid::Uuid,
    },
}

/// What to do with settings.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Check defaults, file and environment together; exit code 1 if something is wrong. No database is opened.
    Check,
    /// Print the settings that are in force, as TOML; passwords, keys and tokens are masked.
    Show,
}

/// What to do with rollups.
#[derive(Subcommand)]
pub enum RollupsCommand {
    /// Compare every rollup with the calls beneath it; exit code 1 if one differs. A server may go on meanwhile.
    ///
    /// Of days whose calls are no longer kept, the sums by quarter of an hour, hour and day are compared with those by
    /// the minute.
    Verify(AuditArguments),
    /// Correct every rollup that is not the sum of the calls beneath it. A server may go on meanwhile.
    ///
    /// Of days whose calls are no longer kept, the sums by quarter of an hour, hour and day are made anew from those by
    /// the minute.
    Rebuild(AuditArguments),
}

/// Which rollups.
#[derive(Args)]
pub struct AuditArguments {
    /// Only this tenant.
    #[arg(long, value_name = "SLUG")]
    pub tenant: Option<Slug>,
    /// Go on at this day of this tenant, such as acme/2026-01-05, as an interrupted command says. Tenants are gone over
    /// by slug, their days in order.
    #[arg(long, value_name = "TENANT/DAY")]
    pub resume: Option<TenantDay>,
}

/// A day of UTC of one tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TenantDay {
    /// The slug of the tenant.
    pub tenant: Slug,
    /// Which.
    pub day: NaiveDate,
}

impl FromStr for TenantDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tenant, day) = text.split_once('/').ok_or("must be a tenant and a day, such as acme/2026-01-05")?;
        let tenant = Slug::new(tenant).map_err(|fault| format!("the tenant {fault}"))?;
        let day = day.parse().map_err(|_| "the day must be written like 2026-01-05")?;
        Ok(Self { tenant, day })
    }
}

impl Display for TenantDay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.tenant, self.day)
    }
}

/// What to import.
#[derive(Args)]
pub struct ImportArguments {
    /// The slug of the tenant that the calls belong to.
    #[arg(long, value_name = "SLUG")]
    pub tenant: Slug,
    /// Files with one JSON record a line, plain, gzip (.gz) or Zstandard (.zst); `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Reject records with unknown fields; otherwise such fields are ignored and named.
    #[arg(long)]
    pub strict: bool,
}

/// How to show.
#[derive(Args)]
pub struct DemoArguments {
    /// The folder for the demo's database. The database of an earlier demo there is replaced.
    #[arg(long, value_name = "DIR", default_value = "demo-data")]
    pub data: PathBuf,
    /// The address to listen on, such as 127.0.0.1:9000; that of the settings (server.bind) if not given.
    #[arg(long, value_name = "ADDR")]
    pub bind: Option<SocketAddr>,
    /// How many calls the past 30 days have.
    #[arg(long, default_value_t = 30_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub calls: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn a_day_of_a_tenant_is_read_as_it_is_written() {
        for text in ["acme/2026-01-05", "a-b_c/0001-12-31", "acme/-0044-03-15", "acme/+12026-01-05"] {
            assert_eq!(text.parse::<TenantDay>().unwrap().to_string(), text);
        }
        for text in ["", "acme", "acme/", "/2026-01-05", "ACME/2026-01-05", "acme/2026-02-30", "acme/2026-01-05T00:00"]
        {
            assert!(text.parse::<TenantDay>().is_err(), "{text}");
        }
    }
}
