//! Turning the tables into distributed ones, on a PostgreSQL with the extension Citus: each tenant's rows on one node.
//!
//! Nothing else in this crate knows of it: every key starts with the tenant, and every statement names one.

use crate::schema::{Placement, TABLES};
use diesel::sql_types::{Bool, Nullable, Text};
use diesel::{Connection, QueryableByName, RunQueryDsl, sql_query};
use diesel_async::AsyncPgConnection;
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use std::error::Error;

/// How Citus lists a reference table; a local table that it only knows of has another `repmodel`.
const REFERENCE: &str = "partmethod = 'n' AND repmodel = 't'";
/// How Citus lists a table whose rows are spread.
const DISTRIBUTED: &str = "partmethod = 'h'";

/// Shards that the tables are split into: room for as many nodes. It cannot be changed later without rewriting all.
const SHARDS: u32 = 64;

/// Why tables are not distributed.
#[derive(Debug, thiserror::Error)]
pub enum DistributionError {
    /// The extension is not there.
    #[error(
        "the database has no extension citus: install Citus on every node, then run CREATE EXTENSION citus in this \
         database and add the workers with citus_add_node"
    )]
    NoCitus,
    /// Another database.
    #[error("database.url must start with postgres://: only PostgreSQL with Citus can be distributed")]
    NotPostgres,
    /// The database refused.
    #[error("the tables cannot be distributed")]
    Failed(#[source] Box<dyn Error + Send + Sync>),
}

#[derive(QueryableByName)]
struct Answer {
    #[diesel(sql_type = Bool)]
    is_so: bool,
}

#[derive(QueryableByName)]
struct Name {
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
}

type Pg = AsyncConnectionWrapper<AsyncPgConnection>;

/// Distributes every table that is not yet distributed, and names them. All or none. Blocks.
pub fn distribute(connection: AsyncPgConnection) -> Result<Vec<&'static str>, DistributionError> {
    let mut connection = Pg::from(connection);
    connection.transaction(|connection| {
        if !has_citus(connection)? {
            return Err(DistributionError::NoCitus);
        }
        let mut done = Vec::new();
        let mut first = None;
        for (table, placement) in TABLES {
            let beside = first.map_or_else(
                || format!("colocate_with => 'none', shard_count => {SHARDS}"),
                |first| format!("colocate_with => '{first}'"),
            );
            let statement = match placement {
                Placement::EveryNode => format!("SELECT create_reference_table('{table}')"),
                Placement::NodeOfTenant => {
                    first.get_or_insert(table);
                    format!("SELECT create_distributed_table('{table}', 'tenant_id', {beside})")
                }
            };
            if !is_listed(connection, table, placement)? {
                run(connection, &statement)?;
                done.push(table);
            }
        }
        Ok(done)
    })
}

/// Tables that are not distributed although others are: a migration that came later made them. Blocks.
pub fn left_behind(connection: AsyncPgConnection) -> Result<Vec<&'static str>, DistributionError> {
    let mut connection = Pg::from(connection);
    if !has_citus(&mut connection)? {
        return Ok(Vec::new());
    }
    let mut missing = Vec::new();
    for (table, placement) in TABLES {
        if !is_listed(&mut connection, table, placement)? {
            missing.push(table);
        }
    }
    Ok(if missing.len() < TABLES.len() { missing } else { Vec::new() })
}

fn has_citus(connection: &mut Pg) -> Result<bool, DistributionError> {
    let query = sql_query("SELECT to_regclass('pg_dist_partition')::text AS name");
    let names: Vec<Name> = query.load(connection)?;
    Ok(names.iter().any(|row| row.name.is_some()))
}

fn is_listed(connection: &mut Pg, table: &str, placement: Placement) -> Result<bool, DistributionError> {
    let condition = match placement {
        Placement::EveryNode => REFERENCE,
        Placement::NodeOfTenant => DISTRIBUTED,
    };
    let query = format!(
        "SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = '{table}'::regclass AND {condition}) AS is_so"
    );
    let answers: Vec<Answer> = sql_query(query).load(connection)?;
    Ok(answers.iter().any(|answer| answer.is_so))
}

fn run(connection: &mut Pg, statement: &str) -> Result<(), DistributionError> {
    sql_query(statement).execute(connection)?;
    Ok(())
}

impl From<diesel::result::Error> for DistributionError {
    fn from(error: diesel::result::Error) -> Self {
        Self::Failed(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn the_deployment_guide_names_every_table() {
        let guide = include_str!("../../../DEPLOYMENT.md");
        let end = guide.find("are distributed").expect("the sentence about distributed tables");
        let sentence = guide[..end].rsplit("\n\n").next().unwrap_or_default();
        let named: BTreeSet<&str> = sentence.split('`').skip(1).step_by(2).collect();
        let tables: BTreeSet<&str> = TABLES.into_iter().map(|(table, _)| table).collect();
        assert_eq!(named, tables);
        assert!(guide[end..].contains(&format!("in {SHARDS} shards")));
    }
}
