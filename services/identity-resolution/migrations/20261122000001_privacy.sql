-- Exports and erasures, and what keeps erased people from coming back.

CREATE TABLE privacy_requests (
    tenant       text        NOT NULL,
    request_id   uuid        NOT NULL,
    -- As trama.privacy.v1.PrivacyAction and trama.identity_resolution.v1.PrivacyState.
    action       smallint    NOT NULL,
    state        smallint    NOT NULL,
    -- The customer and everybody who had been merged into them.
    customer_ids uuid[]      NOT NULL,
    requested_by text        NOT NULL,
    reason       text        NOT NULL,
    created_at   timestamptz NOT NULL,
    done_at      timestamptz,
    expires_at   timestamptz,
    -- The signed report, byte for byte.
    report       text,
    PRIMARY KEY (tenant, request_id)
);
CREATE INDEX privacy_requests_newest ON privacy_requests (tenant, created_at DESC, request_id DESC);
CREATE INDEX privacy_requests_customers ON privacy_requests USING gin (customer_ids);
SELECT isolate_tenants('privacy_requests');

-- What each service answered; the first answer counts.
CREATE TABLE privacy_answers (
    tenant     text        NOT NULL,
    request_id uuid        NOT NULL,
    service    text        NOT NULL,
    counts     jsonb       NOT NULL,
    object_key text        NOT NULL,
    done_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant, request_id, service)
);
SELECT isolate_tenants('privacy_answers');

-- Addresses of erased people, as keyed hashes: what was said from one of them before that moment brings nobody back.
CREATE TABLE erased_handles (
    tenant    text        NOT NULL,
    hash      bytea       NOT NULL,
    erased_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, hash)
);
SELECT isolate_tenants('erased_handles');

-- When the file was written.
ALTER TABLE imports ADD COLUMN recorded_at timestamptz;
