-- Who was erased: events about them that are late or repeated change nothing. Random ids, which lead nowhere any more.
CREATE TABLE forgotten (
    tenant       text        NOT NULL,
    subject_id   uuid        NOT NULL,
    forgotten_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, subject_id)
);
SELECT isolate_tenants('forgotten');

-- Requests that are heard but not answered. Writing to the object store happens outside of the stages, by these rows.
CREATE TABLE privacy_work (
    tenant     text        NOT NULL,
    request_id uuid        NOT NULL,
    -- The encoded PrivacyRequested.
    request    bytea       NOT NULL,
    -- What was forgotten so far.
    counts     jsonb       NOT NULL,
    objects    text[]      NOT NULL,
    -- Transactions before this one may have begun before the rows were gone; they are waited for.
    waits_for  xid8,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, request_id)
);
SELECT isolate_tenants('privacy_work');
