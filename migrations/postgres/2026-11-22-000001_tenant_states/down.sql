ALTER TABLE tenant_states DROP COLUMN rebuilds;
ALTER TABLE tenant_states DROP COLUMN calls_kept_from;
ALTER TABLE tenant_states RENAME TO tenant_revisions;
ALTER INDEX tenant_states_pkey RENAME TO tenant_revisions_pkey;
