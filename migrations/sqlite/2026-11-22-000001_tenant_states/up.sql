-- What a tenant's writers agree on, one row a tenant. Its revision counts batches; who raises it holds all other writers
-- of the tenant off until it commits.
ALTER TABLE tenant_revisions RENAME TO tenant_states;
-- Calls that started before it are no longer kept; their rollups may be. NULL: every call is kept.
ALTER TABLE tenant_states ADD COLUMN calls_kept_from INTEGER;
-- The number of corrections by `rollups rebuild`: two rebuilds at one time must not both add what they found missing.
ALTER TABLE tenant_states ADD COLUMN rebuilds INTEGER NOT NULL DEFAULT 0;
