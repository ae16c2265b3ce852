-- What a tenant's writers agree on, one row a tenant. Its revision counts batches; who raises it holds all other writers
-- of the tenant off until it commits.
ALTER TABLE tenant_revisions RENAME TO tenant_states;
ALTER INDEX tenant_revisions_pkey RENAME TO tenant_states_pkey;
-- Calls that started before it are no longer kept; their rollups may be. NULL: every call is kept.
ALTER TABLE tenant_states ADD COLUMN calls_kept_from timestamptz;
-- The number of corrections by `rollups rebuild`: two rebuilds at one time must not both add what they found missing.
ALTER TABLE tenant_states ADD COLUMN rebuilds bigint NOT NULL DEFAULT 0;
-- Rollups are updated again and again in columns that no index has: with room on its page, a new version needs no new
-- entry in the index.
ALTER TABLE call_rollups SET (fillfactor = 70);
ALTER TABLE error_rollups SET (fillfactor = 70);
ALTER TABLE provider_rollups SET (fillfactor = 70);
