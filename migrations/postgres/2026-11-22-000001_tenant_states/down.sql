ALTER TABLE tenant_states DROP COLUMN rebuilds;
ALTER TABLE tenant_states DROP COLUMN calls_kept_from;
ALTER TABLE tenant_states RENAME TO tenant_revisions;
ALTER INDEX tenant_states_pkey RENAME TO tenant_revisions_pkey;
ALTER TABLE call_rollups RESET (fillfactor);
ALTER TABLE error_rollups RESET (fillfactor);
ALTER TABLE provider_rollups RESET (fillfactor);
