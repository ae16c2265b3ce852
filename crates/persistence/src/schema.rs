//! The tables, as both migrations make them.

/// What columns are made of.
mod sql_types {
    pub use crate::sql::{Instant, Key};
    pub use diesel::sql_types::*;
}

diesel::table! {
    use super::sql_types::*;
    tenants (tenant_id) {
        tenant_id -> Key,
        slug -> Text,
        name -> Text,
        created_at -> Instant,
    }
}

diesel::table! {
    use super::sql_types::*;
    tenant_states (tenant_id) {
        tenant_id -> Key,
        revision -> BigInt,
        calls_kept_from -> Nullable<Instant>,
        rebuilds -> BigInt,
        last_event -> BigInt,
        events_before -> BigInt,
        active_calls -> BigInt,
        stored_rows -> BigInt,
        errors_day -> Nullable<Instant>,
        errors_logged -> BigInt,
        groups -> BigInt,
    }
}

diesel::table! {
    use super::sql_types::*;
    api_keys (tenant_id, key_id) {
        tenant_id -> Key,
        key_id -> Key,
        secret_hash -> Binary,
        name -> Nullable<Text>,
        scopes -> Text,
        created_at -> Instant,
        expires_at -> Nullable<Instant>,
        revoked_at -> Nullable<Instant>,
        requests_per_second -> Nullable<Integer>,
        burst -> Nullable<Integer>,
    }
}

diesel::table! {
    use super::sql_types::*;
    key_audits (tenant_id, audit_id) {
        tenant_id -> Key,
        audit_id -> Key,
        audited_at -> Instant,
        actor -> Text,
        action -> Text,
        key_id -> Key,
    }
}

diesel::table! {
    use super::sql_types::*;
    tickets (tenant_id, ticket_hash) {
        tenant_id -> Key,
        ticket_hash -> Binary,
        scopes -> Text,
        holder -> Text,
        expires_at -> Instant,
        credential_expires_at -> Nullable<Instant>,
    }
}

diesel::table! {
    use super::sql_types::*;
    workflows (tenant_id, workflow_id) {
        tenant_id -> Key,
        workflow_id -> Key,
        group_id -> Integer,
        slug -> Text,
        name -> Nullable<Text>,
        named_at -> Instant,
    }
}

diesel::table! {
    use super::sql_types::*;
    groups (tenant_id, dimension, group_id) {
        tenant_id -> Key,
        dimension -> SmallInt,
        group_id -> Integer,
        value -> Text,
    }
}

// Its other columns are in `rows::CallColumns`, and the texts in `callscope_domain::TextFact::WORDS`.
diesel::table! {
    use super::sql_types::*;
    calls (tenant_id, call_id) {
        tenant_id -> Key,
        call_id -> Key,
        status -> Text,
        started_at -> Instant,
        workflow_id -> Nullable<Key>,
        end_reason -> Nullable<Text>,
        end_category -> Nullable<Text>,
        logged_errors -> Integer,
    }
}

diesel::table! {
    use super::sql_types::*;
    call_errors (tenant_id, call_id, position) {
        tenant_id -> Key,
        call_id -> Key,
        position -> Integer,
        call_started_at -> Instant,
        occurred_at -> Instant,
        service -> Text,
        level -> Text,
        message -> Text,
        details -> Nullable<Text>,
        agent -> Nullable<Text>,
        provider_name -> Nullable<Text>,
    }
}

// Its other columns are `callscope_domain::Measure::WORDS`, which is why none stands here.
diesel::table! {
    use super::sql_types::*;
    rollup_sums (tenant_id, dimension, resolution, group_id, bucket) {
        tenant_id -> Key,
        dimension -> SmallInt,
        resolution -> SmallInt,
        group_id -> Integer,
        bucket -> Instant,
    }
}

diesel::table! {
    use super::sql_types::*;
    rollup_distributions (tenant_id, dimension, resolution, group_id, bucket) {
        tenant_id -> Key,
        dimension -> SmallInt,
        resolution -> SmallInt,
        group_id -> Integer,
        bucket -> Instant,
        histograms -> Binary,
    }
}

diesel::table! {
    use super::sql_types::*;
    call_events (tenant_id, event_id) {
        tenant_id -> Key,
        event_id -> BigInt,
        recorded_at -> Instant,
        kind -> Text,
        call_id -> Key,
        occurred_at -> Instant,
        workflow_id -> Nullable<Key>,
        workflow_slug -> Nullable<Text>,
        agent -> Nullable<Text>,
        duration_us -> Nullable<BigInt>,
        end_reason -> Nullable<Text>,
        position -> Nullable<Integer>,
        service -> Nullable<Text>,
        level -> Nullable<Text>,
        message -> Nullable<Text>,
    }
}

diesel::table! {
    use super::sql_types::*;
    assemblies (tenant_id, framework, key) {
        tenant_id -> Key,
        framework -> Text,
        key -> Text,
        call_id -> Key,
        state -> Text,
        revision -> BigInt,
        facts -> Integer,
        segments -> Integer,
        reported_errors -> Binary,
        first_seen_at -> Instant,
        last_seen_at -> Instant,
        purge_at -> Nullable<Instant>,
    }
}

diesel::table! {
    use super::sql_types::*;
    assembly_segments (tenant_id, framework, key, number) {
        tenant_id -> Key,
        framework -> Text,
        key -> Text,
        number -> Integer,
        bytes -> Binary,
    }
}

/// Where the rows of a table are in a distributed database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Whole on every node: small tables that a tenant is found in.
    EveryNode,
    /// On the node of their tenant.
    NodeOfTenant,
}

/// Every table, with its place. The first that is spread by tenant chooses the nodes, the others follow it.
pub const TABLES: [(&str, Placement); 14] = [
    ("tenants", Placement::EveryNode),
    ("api_keys", Placement::EveryNode),
    ("calls", Placement::NodeOfTenant),
    ("assemblies", Placement::NodeOfTenant),
    ("assembly_segments", Placement::NodeOfTenant),
    ("call_errors", Placement::NodeOfTenant),
    ("call_events", Placement::NodeOfTenant),
    ("groups", Placement::NodeOfTenant),
    ("key_audits", Placement::NodeOfTenant),
    ("rollup_distributions", Placement::NodeOfTenant),
    ("rollup_sums", Placement::NodeOfTenant),
    ("tenant_states", Placement::NodeOfTenant),
    ("tickets", Placement::NodeOfTenant),
    ("workflows", Placement::NodeOfTenant),
];
