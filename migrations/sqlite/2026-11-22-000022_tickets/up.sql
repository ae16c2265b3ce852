-- Tickets that were not used yet: each opens one socket, once, within seconds.
CREATE TABLE tickets (
    tenant_id BLOB NOT NULL,
    -- SHA-256 of the ticket's text.
    ticket_hash BLOB NOT NULL,
    -- Words separated by spaces.
    scopes TEXT NOT NULL,
    -- Whose credential it was made with: "key:" and the id of an API key, or "jwt:" and the subject of a token.
    holder TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    -- When the holder's credential expires.
    credential_expires_at INTEGER,
    PRIMARY KEY (tenant_id, ticket_hash)
) STRICT, WITHOUT ROWID;
