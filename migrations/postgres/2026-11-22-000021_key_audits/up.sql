-- Who did what to which key, written in the transaction that did it. Ids are in the order of time.
CREATE TABLE key_audits (
    tenant_id uuid NOT NULL,
    audit_id uuid NOT NULL,
    audited_at timestamptz NOT NULL,
    -- "cli", "key:" and the id of an API key, or "jwt:" and the subject of a token.
    actor text NOT NULL,
    action text NOT NULL,
    key_id uuid NOT NULL,
    PRIMARY KEY (tenant_id, audit_id)
);
