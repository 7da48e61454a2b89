-- The runtime's own tables; every service's schema has them.

-- Rows to publish. Published from memory right after commit, deleted by a later transaction;
-- what a crash leaves behind is published by the sweeper.
CREATE TABLE outbox (
    id         uuid        NOT NULL PRIMARY KEY,
    subject    text        NOT NULL,
    payload    bytea       NOT NULL,
    headers    jsonb       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX outbox_created_at ON outbox (created_at);

-- What a consumer has already worked in.
CREATE TABLE inbox (
    consumer    text        NOT NULL,
    message_id  uuid        NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, message_id)
);
CREATE INDEX inbox_received_at ON inbox USING brin (received_at);

-- Delayed work: the truth about what is due when.
CREATE TABLE timers (
    tenant  text        NOT NULL,
    kind    text        NOT NULL,
    key     text        NOT NULL,
    due_at  timestamptz NOT NULL,
    payload jsonb       NOT NULL,
    attempts integer    NOT NULL DEFAULT 0,
    PRIMARY KEY (tenant, kind, key)
);
CREATE INDEX timers_due_at ON timers (due_at);

-- Responses of commands that carried a request id: a repeated call gets the same answer and changes nothing.
-- An id belongs to who used it (subject): two callers of a tenant may both count from 1.
CREATE TABLE requests (
    tenant      text        NOT NULL,
    subject     text        NOT NULL,
    method      text        NOT NULL,
    request_id  text        NOT NULL,
    fingerprint bytea       NOT NULL,
    response    bytea       NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, subject, method, request_id)
);
CREATE INDEX requests_created_at ON requests (created_at);

-- Shuts a table to other tenants: rows are seen and written only by a transaction that has set `trama.tenant`
-- to their tenant, or to `*` (stages, timers and sweepers, which work for all).
CREATE FUNCTION isolate_tenants(target regclass) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', target);
    EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', target);
    EXECUTE format(
        'CREATE POLICY tenants ON %s USING ((SELECT current_setting(''trama.tenant'', true)) = ''*''
            OR tenant = (SELECT current_setting(''trama.tenant'', true)))', target);
END $$;
