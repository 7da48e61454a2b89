-- Append-only: who changed what, in all services. Rows leave only by age.
CREATE TABLE audit_log (
    tenant        text        NOT NULL,
    at            timestamptz NOT NULL,
    entry_id      uuid        NOT NULL,
    subject       text        NOT NULL,
    credential_id text        NOT NULL,
    method        text        NOT NULL,
    outcome       integer     NOT NULL,
    object_ids    text[]      NOT NULL,
    -- The encoded AuditEntry.
    entry         bytea       NOT NULL,
    PRIMARY KEY (tenant, at, entry_id)
);
CREATE INDEX audit_log_subjects ON audit_log (tenant, subject, at);
CREATE INDEX audit_log_objects ON audit_log USING gin (object_ids);
CREATE TRIGGER audit_log_append_only BEFORE UPDATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION never_changes();
SELECT isolate_tenants('audit_log');

-- From where a customer was looked at or changed.
ALTER TABLE access_log ADD COLUMN origin text NOT NULL DEFAULT '';
