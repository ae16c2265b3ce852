-- Tickets that were not used yet: each opens one socket, once, within seconds.
CREATE TABLE tickets (
    tenant_id uuid NOT NULL,
    -- SHA-256 of the ticket's text.
    ticket_hash bytea NOT NULL,
    -- Words separated by spaces.
    scopes text NOT NULL,
    -- Whose credential it was made with: "key:" and the id of an API key, or "jwt:" and the subject of a token.
    holder text NOT NULL,
    expires_at timestamptz NOT NULL,
    -- When the holder's credential expires.
    credential_expires_at timestamptz,
    PRIMARY KEY (tenant_id, ticket_hash)
);
