DROP TABLE call_events;
ALTER TABLE tenant_states DROP COLUMN events_before;
ALTER TABLE tenant_states DROP COLUMN last_event;
