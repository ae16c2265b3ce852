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
        values_revision -> BigInt,
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
        slug -> Text,
        name -> Nullable<Text>,
        named_at -> Instant,
    }
}

diesel::table! {
    use super::sql_types::*;
    dimension_values (tenant_id, dimension, value) {
        tenant_id -> Key,
        dimension -> Text,
        value -> Text,
    }
}

diesel::table! {
    use super::sql_types::*;
    calls (tenant_id, call_id) {
        tenant_id -> Key,
        call_id -> Key,
        status -> Text,
        started_at -> Instant,
        ended_at -> Nullable<Instant>,
        end_reason -> Nullable<Text>,
        workflow_id -> Nullable<Key>,
        agent -> Nullable<Text>,
        total_tokens -> BigInt,
        latencies -> Binary,
        error_kinds -> Binary,
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
    }
}

diesel::table! {
    use super::sql_types::*;
    call_rollups (tenant_id, resolution, workflow_id, bucket) {
        tenant_id -> Key,
        resolution -> Text,
        workflow_id -> Key,
        bucket -> Instant,
        total -> BigInt,
        completed -> BigInt,
        failed -> BigInt,
        ended -> BigInt,
        duration_us -> BigInt,
        total_tokens -> BigInt,
        stt_samples -> BigInt,
        stt_latency_us -> BigInt,
        llm_samples -> BigInt,
        llm_latency_us -> BigInt,
        tts_samples -> BigInt,
        tts_latency_us -> BigInt,
    }
}

diesel::table! {
    use super::sql_types::*;
    provider_rollups (tenant_id, resolution, bucket, provider_type, provider_name) {
        tenant_id -> Key,
        resolution -> Text,
        bucket -> Instant,
        provider_type -> Text,
        provider_name -> Text,
        call_count -> BigInt,
        latency_us -> BigInt,
        histogram -> Binary,
    }
}

diesel::table! {
    use super::sql_types::*;
    error_rollups (tenant_id, resolution, bucket, service, level) {
        tenant_id -> Key,
        resolution -> Text,
        bucket -> Instant,
        service -> Text,
        level -> Text,
        error_count -> BigInt,
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

diesel::allow_tables_to_appear_in_same_query!(calls, call_rollups, workflows);
