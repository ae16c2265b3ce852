-- Who did what to which key, written in the transaction that did it. Ids are in the order of time.
CREATE TABLE key_audits (
    tenant_id BLOB NOT NULL,
    audit_id BLOB NOT NULL,
    audited_at INTEGER NOT NULL,
    -- "cli", "key:" and the id of an API key, or "jwt:" and the subject of a token.
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    key_id BLOB NOT NULL,
    PRIMARY KEY (tenant_id, audit_id)
) STRICT, WITHOUT ROWID;
