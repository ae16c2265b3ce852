//! Assemblies: the facts of calls whose telemetry arrives in pieces.

use crate::conn::{Access, Conn, columns};
use crate::database::Database;
use crate::errors::damaged;
use crate::schema::{assemblies, assembly_segments, calls};
use crate::sql::{Id, Time};
use async_trait::async_trait;
use callscope_analytics::assemblies::{
    AssemblyChanges, AssemblyKey, AssemblyStore, AssemblyTransaction, Framework, LockedAssembly, State, TenantUse,
    Write,
};
use callscope_analytics::ports::StoreError;
use callscope_domain::{CallId, TenantId, Timestamp};
use diesel::dsl::{count_star, sum};
use diesel::prelude::*;

/// The columns of an assembly that are read.
#[derive(Queryable, Selectable)]
#[diesel(table_name = assemblies)]
struct AssemblyRow {
    state: String,
    revision: i64,
    reported_errors: Vec<u8>,
    last_seen_at: Time,
}

/// An assembly that begins.
#[derive(Insertable)]
#[diesel(table_name = assemblies)]
struct NewAssemblyRow {
    tenant_id: Id,
    framework: String,
    key: String,
    call_id: Id,
    state: String,
    revision: i64,
    facts: i32,
    segments: i32,
    reported_errors: Vec<u8>,
    first_seen_at: Time,
    last_seen_at: Time,
}

/// A segment.
#[derive(Insertable)]
#[diesel(table_name = assembly_segments)]
struct SegmentRow {
    tenant_id: Id,
    framework: String,
    key: String,
    number: i32,
    bytes: Vec<u8>,
}

#[async_trait]
impl AssemblyStore for Database {
    async fn lock_assembly(
        &self,
        tenant: TenantId,
        key: &AssemblyKey,
        call_id: CallId,
        now: Timestamp,
    ) -> Result<(Box<dyn AssemblyTransaction>, LockedAssembly), StoreError> {
        let mut write = AssemblyWrite {
            conn: self.transaction(Access::Write).await?,
            tenant: tenant.into(),
            framework: key.framework.source().to_owned(),
            key: key.key.clone(),
            call_id: call_id.into(),
        };
        let locked = write.lock(now).await?;
        Ok((Box::new(write), locked))
    }

    async fn list_idle_assemblies(
        &self,
        tenant: TenantId,
        seen_before: Timestamp,
        limit: u32,
    ) -> Result<Vec<(AssemblyKey, CallId)>, StoreError> {
        let query = assemblies::table
            .filter(assemblies::tenant_id.eq(Id::from(tenant)))
            .filter(assemblies::state.eq(word(State::Active).to_owned()))
            .filter(assemblies::last_seen_at.le(Time(seen_before)))
            .limit(limit.into())
            .select((assemblies::framework, assemblies::key, assemblies::call_id));
        let rows: Vec<(String, String, Id)> = self.connection(Access::Read).await?.load(query).await?;
        let assembly = |(name, key, call_id): (String, String, Id)| {
            Ok((AssemblyKey { framework: framework(&name)?, key }, call_id.into()))
        };
        rows.into_iter().map(assembly).collect()
    }

    async fn purge_assemblies(&self, tenant: TenantId, now: Timestamp, limit: u32) -> Result<usize, StoreError> {
        let is_due = || {
            assemblies::table
                .filter(assemblies::tenant_id.eq(Id::from(tenant)))
                .filter(assemblies::purge_at.le(Some(Time(now))))
        };
        let query = is_due().limit(limit.into()).select((assemblies::framework, assemblies::key));
        let due: Vec<(String, String)> = self.connection(Access::Read).await?.load(query).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let found = due.len();
        let mut conn = self.transaction(Access::Write).await?;
        for (framework, key) in due {
            // A request may have put the time off meanwhile.
            let assembly =
                is_due().filter(assemblies::framework.eq(framework.clone())).filter(assemblies::key.eq(key.clone()));
            if conn.execute(diesel::delete(assembly)).await? > 0 {
                delete_segments(&mut conn, tenant.into(), framework, key, 0).await?;
            }
        }
        conn.commit().await?;
        Ok(found)
    }
}

/// A transaction over one assembly.
struct AssemblyWrite {
    conn: Conn,
    tenant: Id,
    framework: String,
    key: String,
    call_id: Id,
}

impl AssemblyWrite {
    /// Locks the assembly against other transactions, by raising its revision.
    async fn lock(&mut self, now: Timestamp) -> Result<LockedAssembly, StoreError> {
        use assemblies::columns as row;
        let new = NewAssemblyRow {
            tenant_id: self.tenant,
            framework: self.framework.clone(),
            key: self.key.clone(),
            call_id: self.call_id,
            state: word(State::Active).to_owned(),
            revision: 1,
            facts: 0,
            segments: 0,
            reported_errors: Vec::new(),
            first_seen_at: Time(now),
            last_seen_at: Time(now),
        };
        let statement = diesel::insert_into(assemblies::table)
            .values(new)
            .on_conflict((row::tenant_id, row::framework, row::key))
            .do_update()
            .set(row::revision.eq(row::revision + 1_i64))
            .returning(columns::<AssemblyRow>());
        let rows: Vec<AssemblyRow> = self.conn.load(statement).await?;
        let locked = rows.into_iter().next().ok_or_else(|| damaged("the assembly was not returned"))?;
        let is_new = locked.revision == 1;
        Ok(LockedAssembly {
            is_new,
            revision: locked.revision,
            segments: if is_new { Vec::new() } else { self.load_segments().await? },
            reported_errors: locked.reported_errors,
            state: state(&locked.state)?,
            last_seen_at: locked.last_seen_at.0,
        })
    }

    async fn load_segments(&mut self) -> Result<Vec<Vec<u8>>, StoreError> {
        use assembly_segments::columns as row;
        let query = assembly_segments::table
            .filter(row::tenant_id.eq(self.tenant))
            .filter(row::framework.eq(self.framework.clone()))
            .filter(row::key.eq(self.key.clone()))
            .order(row::number)
            .select(row::bytes);
        self.conn.load(query).await
    }

    async fn delete_segments(&mut self, from: usize) -> Result<(), StoreError> {
        let (framework, key) = (self.framework.clone(), self.key.clone());
        delete_segments(&mut self.conn, self.tenant, framework, key, count(from)).await
    }

    async fn add_segment(&mut self, number: usize, bytes: Vec<u8>) -> Result<(), StoreError> {
        let (framework, key) = (self.framework.clone(), self.key.clone());
        let segment = SegmentRow { tenant_id: self.tenant, framework, key, number: count(number), bytes };
        self.conn.execute(diesel::insert_into(assembly_segments::table).values(segment)).await.map(drop)
    }
}

#[async_trait]
impl AssemblyTransaction for AssemblyWrite {
    async fn has_call(&mut self) -> Result<bool, StoreError> {
        let call = calls::table
            .filter(calls::tenant_id.eq(self.tenant))
            .filter(calls::call_id.eq(self.call_id))
            .select(calls::call_id);
        let known: Vec<Id> = self.conn.load(call).await?;
        Ok(!known.is_empty())
    }

    async fn load_tenant_use(&mut self) -> Result<TenantUse, StoreError> {
        let of_tenant = assemblies::table
            .filter(assemblies::tenant_id.eq(self.tenant))
            .select((count_star(), sum(assemblies::facts)));
        let counts: Vec<(i64, Option<i64>)> = self.conn.load(of_tenant).await?;
        let (assemblies, facts) = counts.first().copied().unwrap_or_default();
        let whole = |number: i64| u64::try_from(number).unwrap_or_default();
        // The new one is among them.
        Ok(TenantUse { assemblies: whole(assemblies - 1), facts: whole(facts.unwrap_or_default()) })
    }

    async fn save(&mut self, changes: AssemblyChanges) -> Result<(), StoreError> {
        use assemblies::columns as row;
        match changes.write {
            Write::Nothing => {}
            Write::Append(bytes) => self.add_segment(changes.segments - 1, bytes).await?,
            Write::Replace(first, bytes) => {
                self.delete_segments(first).await?;
                self.add_segment(first, bytes).await?;
            }
        }
        let assembly = assemblies::table
            .filter(row::tenant_id.eq(self.tenant))
            .filter(row::framework.eq(self.framework.clone()))
            .filter(row::key.eq(self.key.clone()));
        let statement = diesel::update(assembly).set((
            row::state.eq(word(changes.state).to_owned()),
            row::facts.eq(count(changes.facts)),
            row::segments.eq(count(changes.segments)),
            row::reported_errors.eq(changes.reported_errors),
            row::last_seen_at.eq(Time(changes.last_seen_at)),
            row::purge_at.eq(changes.purge_at.map(Time)),
        ));
        self.conn.execute(statement).await.map(drop)
    }

    async fn delete(&mut self) -> Result<(), StoreError> {
        self.delete_segments(0).await?;
        let assembly = assemblies::table
            .filter(assemblies::tenant_id.eq(self.tenant))
            .filter(assemblies::framework.eq(self.framework.clone()))
            .filter(assemblies::key.eq(self.key.clone()));
        self.conn.execute(diesel::delete(assembly)).await.map(drop)
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        self.conn.commit().await
    }
}

/// Deletes the segments of an assembly from a number on.
async fn delete_segments(
    conn: &mut Conn,
    tenant: Id,
    framework: String,
    key: String,
    from: i32,
) -> Result<(), StoreError> {
    use assembly_segments::columns as row;
    let segments = assembly_segments::table
        .filter(row::tenant_id.eq(tenant))
        .filter(row::framework.eq(framework))
        .filter(row::key.eq(key))
        .filter(row::number.ge(from));
    conn.execute(diesel::delete(segments)).await.map(drop)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

const fn word(state: State) -> &'static str {
    match state {
        State::Active => "active",
        State::Ended => "ended",
        State::Lost => "lost",
    }
}

fn state(stored: &str) -> Result<State, StoreError> {
    let known = [State::Active, State::Ended, State::Lost].into_iter().find(|state| word(*state) == stored);
    known.ok_or_else(|| damaged("an unknown state of an assembly"))
}

fn framework(stored: &str) -> Result<Framework, StoreError> {
    let known = [Framework::LiveKit, Framework::Pipecat].into_iter().find(|known| known.source() == stored);
    known.ok_or_else(|| damaged("an unknown framework of an assembly"))
}
