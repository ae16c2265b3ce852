//! Rows of rollups: how deltas are added to them, and how an audit reads and deletes them.

use crate::bulk::{Columns, OnConflict, OneOf, Target, Used, columns};
use crate::codec::{decode_distributions, encode_distributions};
use crate::conn::Conn;
use crate::errors::damaged;
use crate::fragment::Keys;
use crate::schema::{rollup_distributions, rollup_sums};
use crate::sql::{Id, Instant, Key, Time};
use crate::statement::Statement;
use callscope_analytics::ports::StoreError;
use callscope_analytics::rollup_deltas::{RollupDeltas, RollupKey};
use callscope_domain::{
    Dimension, GroupId, LatencyHistogram, LatencyTotals, Measure, Resolution, Sums, TenantId, Totals, Window,
};
use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, QueryableByName};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::row::NamedRow;
use diesel::sql_types::{Array, BigInt, Binary, Integer, SmallInt, Untyped};
use diesel::sqlite::Sqlite;
use std::collections::HashMap;
use std::ops::Range;

const SUMS: Target = Target { table: "rollup_sums", key: &KEY, on_conflict: OnConflict::Add };
/// Replaced and not added to: histograms are added here and not in SQL.
const DISTRIBUTIONS: Target = Target { table: "rollup_distributions", key: &KEY, on_conflict: OnConflict::Replace };
const NEW_DISTRIBUTIONS: Target = Target { on_conflict: OnConflict::Fail, ..DISTRIBUTIONS };

/// Distributions that are in memory at one time.
const DISTRIBUTIONS_MAX: usize = 20_000;

/// The columns that a row of sums is found by, beside `tenant_id`.
const KEY: [&str; 4] = ["dimension", "resolution", "group_id", "bucket"];

/// Sums of rollups, to be written: the key, and a column for each measure.
#[derive(Debug)]
pub struct SumColumns {
    dimension: Vec<i16>,
    resolution: Vec<i16>,
    group_id: Vec<i32>,
    bucket: Vec<Time>,
    sums: [Vec<i64>; Measure::COUNT],
}

impl SumColumns {
    /// The rows of deltas.
    pub fn new(deltas: &RollupDeltas) -> Self {
        let (dimension, resolution, group_id, bucket) = Default::default();
        let mut rows = Self { dimension, resolution, group_id, bucket, sums: [const { Vec::new() }; Measure::COUNT] };
        for (key, totals) in deltas.rows() {
            if key.resolution >= key.dimension.row().finest && totals.sums != Sums::default() {
                rows.push(*key, &totals.sums);
            }
        }
        rows
    }

    fn used_sums(&self, used: Used) -> impl Iterator<Item = &Vec<i64>> {
        self.sums
            .iter()
            .enumerate()
            .filter(move |(position, _)| used.has(KEY.len() + position))
            .map(|(_, column)| column)
    }

    fn push(&mut self, key: RollupKey, sums: &Sums) {
        self.dimension.push(key.dimension.row().code);
        self.resolution.push(key.resolution.code());
        self.group_id.push(key.group.0);
        self.bucket.push(key.bucket.into());
        for (column, sum) in self.sums.iter_mut().zip(sums.as_array()) {
            column.push(*sum);
        }
    }
}

/// The names of all columns of [`SumColumns`].
const SUM_NAMES: [&str; KEY.len() + Measure::COUNT] = {
    let mut names = [""; KEY.len() + Measure::COUNT];
    let mut at = 0;
    while at < names.len() {
        names[at] = if at < KEY.len() { KEY[at] } else { Measure::WORDS[at - KEY.len()] };
        at += 1;
    }
    names
};

impl Columns for SumColumns {
    const NAMES: &'static [&'static str] = &SUM_NAMES;

    fn len(&self) -> usize {
        self.bucket.len()
    }

    /// Many measures are zero in all rows of some groups: a provider has the latencies of one stage.
    fn used(&self, rows: &Range<usize>) -> Used {
        let is_used = |column: &[i64]| column[rows.clone()].iter().any(|&sum| sum != 0);
        let measures = self.sums.iter().enumerate().filter(|(_, column)| is_used(column));
        Used::at((0..KEY.len()).chain(measures.map(|(position, _)| KEY.len() + position)))
    }

    fn bind_arrays<'b>(&'b self, rows: Range<usize>, used: Used, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_bind_param::<Array<SmallInt>, [i16]>(&self.dimension[rows.clone()])?;
        out.push_sql(", ");
        out.push_bind_param::<Array<SmallInt>, [i16]>(&self.resolution[rows.clone()])?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Integer>, [i32]>(&self.group_id[rows.clone()])?;
        out.push_sql(", ");
        out.push_bind_param::<Array<Instant>, [Time]>(&self.bucket[rows.clone()])?;
        for column in self.used_sums(used) {
            out.push_sql(", ");
            out.push_bind_param::<Array<BigInt>, [i64]>(&column[rows.clone()])?;
        }
        Ok(())
    }

    fn bind_row<'b>(&'b self, row: usize, used: Used, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_bind_param::<SmallInt, i16>(&self.dimension[row])?;
        out.push_sql(", ");
        out.push_bind_param::<SmallInt, i16>(&self.resolution[row])?;
        out.push_sql(", ");
        out.push_bind_param::<Integer, i32>(&self.group_id[row])?;
        out.push_sql(", ");
        out.push_bind_param::<Instant, Time>(&self.bucket[row])?;
        for column in self.used_sums(used) {
            out.push_sql(", ");
            out.push_bind_param::<BigInt, i64>(&column[row])?;
        }
        Ok(())
    }
}

columns! {
    /// The keys of distributions.
    DistributionKeys {
        dimension: i16 as SmallInt,
        resolution: i16 as SmallInt,
        group_id: i32 as Integer,
        bucket: Time as Instant,
    }
}

columns! {
    /// Distributions, to be written.
    DistributionColumns {
        dimension: i16 as SmallInt,
        resolution: i16 as SmallInt,
        group_id: i32 as Integer,
        bucket: Time as Instant,
        histograms: Vec<u8> as Binary,
    }
}

/// What the distributions of a group are found by in their table.
type DistributionKey = (i16, i16, i32, Time);

/// The distributions of a group, as they are read.
struct DistributionRow {
    key: DistributionKey,
    histograms: Vec<u8>,
}

/// The distributions of a tenant that have one of many keys, each looked up in the index. On SQLite this is a join and not
/// an IN, which would sort the keys into an index of their own first.
struct StoredDistributions {
    tenant: Id,
    keys: OneOf<DistributionKeys>,
}

/// What is read of them.
const DISTRIBUTION_ROW: &str = "SELECT stored.dimension, stored.resolution, stored.group_id, stored.bucket, \
                                stored.histograms FROM ";

impl Query for StoredDistributions {
    type SqlType = Untyped;
}

impl<Connection> diesel::RunQueryDsl<Connection> for StoredDistributions {}

impl QueryId for StoredDistributions {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl QueryFragment<Pg> for StoredDistributions {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT found.* FROM ");
        self.keys.walk_source(out.reborrow())?;
        out.push_sql(" CROSS JOIN LATERAL (");
        out.push_sql(DISTRIBUTION_ROW);
        out.push_sql("rollup_distributions AS stored WHERE stored.tenant_id = ");
        out.push_bind_param::<Key, Id>(&self.tenant)?;
        for column in DistributionKeys::NAMES {
            out.push_sql(&format!(" AND stored.{column} = chosen.{column}"));
        }
        out.push_sql(" OFFSET 0) AS found");
        Ok(())
    }
}

impl QueryFragment<Sqlite> for StoredDistributions {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Sqlite>) -> QueryResult<()> {
        out.push_sql(DISTRIBUTION_ROW);
        out.push_sql("(");
        self.keys.walk_list(out.reborrow())?;
        out.push_sql(") AS chosen CROSS JOIN rollup_distributions AS stored WHERE stored.tenant_id = ");
        out.push_bind_param::<Key, Id>(&self.tenant)?;
        for (column, number) in DistributionKeys::NAMES.iter().zip(1..) {
            out.push_sql(&format!(" AND stored.{column} = chosen.column{number}"));
        }
        Ok(())
    }
}

impl<DB> QueryableByName<DB> for DistributionRow
where
    DB: Backend,
    i16: FromSql<SmallInt, DB>,
    i32: FromSql<Integer, DB>,
    Vec<u8>: FromSql<Binary, DB>,
    Time: FromSql<Instant, DB>,
{
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        Ok(Self {
            key: (
                row.get_value::<SmallInt, i16, usize>(0)?,
                row.get_value::<SmallInt, i16, usize>(1)?,
                row.get_value::<Integer, i32, usize>(2)?,
                row.get_value::<Instant, Time, usize>(3)?,
            ),
            histograms: row.get_value::<Binary, Vec<u8>, usize>(4)?,
        })
    }
}

/// Adds deltas to a tenant's rollups; `sums` are the rows of their sums. The transaction holds the tenant's lock.
pub async fn add_rollups(
    conn: &mut Conn,
    tenant: TenantId,
    deltas: &RollupDeltas,
    sums: SumColumns,
) -> Result<(), StoreError> {
    conn.insert(SUMS, tenant, sums).await?;
    add_distributions(conn, tenant, deltas).await
}

/// Loads the histograms that exist, adds, and writes the sums. Under the tenant's lock they stay as they were loaded.
async fn add_distributions(conn: &mut Conn, tenant: TenantId, deltas: &RollupDeltas) -> Result<(), StoreError> {
    let changed: Vec<(DistributionKey, i64, &Totals)> = deltas
        .rows()
        .iter()
        .filter(|(key, totals)| counted_calls(key, totals) != 0 || !totals.distributions().is_empty())
        .map(|(key, totals)| {
            let codes = (key.dimension.row().code, key.resolution.code());
            ((codes.0, codes.1, key.group.0, key.bucket.into()), counted_calls(key, totals), totals)
        })
        .collect();
    for changed in changed.chunks(DISTRIBUTIONS_MAX) {
        let mut keys = DistributionKeys::default();
        for &(key, ..) in changed {
            keys.push(key);
        }
        let mut stored: HashMap<DistributionKey, Totals> = HashMap::new();
        for keys in OneOf::split(keys, conn.is_embedded()) {
            let rows: Vec<DistributionRow> = conn.load(StoredDistributions { tenant: tenant.into(), keys }).await?;
            for DistributionRow { key, histograms } in rows {
                stored.insert(key, distributions_of(&histograms)?);
            }
        }
        let (mut new_rows, mut known_rows) = (DistributionColumns::default(), DistributionColumns::default());
        for &(key, calls, delta) in changed {
            let known = stored.remove(&key);
            let rows = if known.is_some() { &mut known_rows } else { &mut new_rows };
            let mut sum = known.unwrap_or_default();
            sum.sums.add(Measure::Calls, calls);
            for (distribution, totals) in delta.distributions() {
                sum.add_distribution(*distribution, totals);
            }
            let (of_dimension, of_resolution, group, start) = key;
            rows.push((of_dimension, of_resolution, group, start, encode_distributions(&sum)));
        }
        conn.insert(NEW_DISTRIBUTIONS, tenant, new_rows).await?;
        conn.insert(DISTRIBUTIONS, tenant, known_rows).await?;
    }
    Ok(())
}

/// The calls that stand beside the distributions of a group, where its sums do not tell them.
fn counted_calls(key: &RollupKey, totals: &Totals) -> i64 {
    if key.resolution < key.dimension.row().finest { totals.sums[Measure::Calls] } else { 0 }
}

/// Totals of distributions, and of the calls that stand beside them.
fn distributions_of(bytes: &[u8]) -> Result<Totals, StoreError> {
    let mut totals = Totals::default();
    let (calls, distributions) = decode_distributions(bytes).map_err(damaged)?;
    totals.sums.add(Measure::Calls, calls);
    for (distribution, sum_us, histogram) in distributions {
        let histogram = LatencyHistogram::from_bytes(histogram).map_err(damaged)?;
        totals.add_distribution(distribution, &LatencyTotals { sum_us, histogram });
    }
    Ok(totals)
}

/// A row of sums, as it is read.
struct SumsRow {
    group_id: i32,
    bucket: Time,
    sums: Sums,
}

impl<DB> QueryableByName<DB> for SumsRow
where
    DB: Backend,
    i32: FromSql<Integer, DB>,
    i64: FromSql<BigInt, DB>,
    Time: FromSql<Instant, DB>,
{
    fn build<'a>(row: &impl NamedRow<'a, DB>) -> deserialize::Result<Self> {
        let mut sums = Sums::default();
        for (at, &measure) in Measure::ALL.iter().enumerate() {
            sums.add(measure, row.get_value::<BigInt, i64, usize>(2 + at)?);
        }
        Ok(Self {
            group_id: row.get_value::<Integer, i32, usize>(0)?,
            bucket: row.get_value::<Instant, Time, usize>(1)?,
            sums,
        })
    }
}

/// The sums of some groups in a window.
pub async fn load_sums(
    conn: &mut Conn,
    tenant: TenantId,
    (of, width): (Dimension, Resolution),
    groups: &[i32],
    window: Window,
) -> Result<Vec<(RollupKey, Sums)>, StoreError> {
    let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
    let mut query = Statement::default();
    query.push(format!("SELECT group_id, bucket, {} FROM rollup_sums", Measure::WORDS.join(", ")));
    query.push(" WHERE tenant_id = ").bind_id(tenant.into()).push(" AND dimension = ").bind_code(of.row().code);
    query.push(" AND resolution = ").bind_code(width.code());
    query.push(format!(" AND group_id IN ({})", groups.join(", ")));
    query.push(" AND bucket >= ").bind_time(Time(window.start()));
    query.push(" AND bucket < ").bind_time(Time(window.end()));
    let rows: Vec<SumsRow> = conn.load(query).await?;
    let key = |row: &SumsRow| RollupKey {
        dimension: of,
        resolution: width,
        group: GroupId(row.group_id),
        bucket: row.bucket.0,
    };
    Ok(rows.iter().map(|row| (key(row), row.sums)).collect())
}

/// The distributions of some groups in a window.
pub async fn load_distributions(
    conn: &mut Conn,
    tenant: TenantId,
    (of, width): (Dimension, Resolution),
    groups: &[i32],
    window: Window,
) -> Result<Vec<(RollupKey, Totals)>, StoreError> {
    use rollup_distributions::columns::*;
    let query = rollup_distributions::table
        .filter(tenant_id.eq(Id::from(tenant)))
        .filter(dimension.eq(of.row().code))
        .filter(resolution.eq(width.code()))
        .filter(group_id.eq_any(groups.to_vec()))
        .filter(bucket.ge(Time(window.start())))
        .filter(bucket.lt(Time(window.end())))
        .select((group_id, bucket, histograms));
    let rows: Vec<(i32, Time, Vec<u8>)> = conn.load(query).await?;
    let totals = |(group, start, bytes): (i32, Time, Vec<u8>)| {
        let key = RollupKey { dimension: of, resolution: width, group: GroupId(group), bucket: start.0 };
        Ok((key, distributions_of(&bytes)?))
    };
    rows.into_iter().map(totals).collect()
}

/// Deletes what some groups have in a window, at every resolution. Groups are named because the keys have the group
/// before the bucket.
pub async fn delete_rollups_of(
    conn: &mut Conn,
    tenant: TenantId,
    of: Dimension,
    groups: &[i32],
    window: Window,
) -> Result<(), StoreError> {
    for &width in Resolution::ALL {
        let sums = rollup_sums::table
            .filter(rollup_sums::tenant_id.eq(Id::from(tenant)))
            .filter(rollup_sums::dimension.eq(of.row().code))
            .filter(rollup_sums::resolution.eq(width.code()))
            .filter(rollup_sums::group_id.eq_any(groups.to_vec()))
            .filter(rollup_sums::bucket.ge(Time(window.start())))
            .filter(rollup_sums::bucket.lt(Time(window.end())));
        conn.execute(diesel::delete(sums)).await?;
        let distributions = rollup_distributions::table
            .filter(rollup_distributions::tenant_id.eq(Id::from(tenant)))
            .filter(rollup_distributions::dimension.eq(of.row().code))
            .filter(rollup_distributions::resolution.eq(width.code()))
            .filter(rollup_distributions::group_id.eq_any(groups.to_vec()))
            .filter(rollup_distributions::bucket.ge(Time(window.start())))
            .filter(rollup_distributions::bucket.lt(Time(window.end())));
        conn.execute(diesel::delete(distributions)).await?;
    }
    Ok(())
}
