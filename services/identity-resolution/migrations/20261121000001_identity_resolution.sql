-- Customers, the handles they are known by, and what was decided about them.

-- A person or company. A merged one stays as an alias: `merged_into` always names the customer that remains,
-- never another alias (chains are shortened when they would arise).
CREATE TABLE customers (
    tenant        text        NOT NULL,
    customer_id   uuid        NOT NULL,
    created_at    timestamptz NOT NULL,
    display_name  text        NOT NULL DEFAULT '',
    language      text        NOT NULL DEFAULT '',
    entitlement   text        NOT NULL DEFAULT '',
    persona_group text        NOT NULL DEFAULT '',
    -- Need → kind of channel; NULL for the many who never said.
    preferences   jsonb,
    -- `kind/purpose` → status as it is now; how it came about is in `consents`.
    consents      jsonb,
    merged_into   uuid,
    version       integer     NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant, customer_id)
);
CREATE INDEX customers_merged_into ON customers (tenant, merged_into) WHERE merged_into IS NOT NULL;

-- One handle belongs to one customer. `evidence` is the handle that led here when it was linked.
CREATE TABLE handles (
    tenant          text        NOT NULL,
    kind            text        NOT NULL,
    value           text        NOT NULL,
    customer_id     uuid        NOT NULL,
    trust           smallint    NOT NULL,
    first_seen_at   timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    evidence        bigint,
    via_interaction uuid,
    linked_by       text,
    PRIMARY KEY (tenant, kind, value)
) WITH (fillfactor = 90);
CREATE INDEX handles_customer ON handles (tenant, customer_id);

-- Each merge, with what each side held before, so that it can be undone.
CREATE TABLE merges (
    tenant           text        NOT NULL,
    merge_id         uuid        NOT NULL,
    survivor         uuid        NOT NULL,
    merged           uuid        NOT NULL,
    decided_by       text        NOT NULL,
    reason           text        NOT NULL,
    survivor_handles jsonb       NOT NULL,
    merged_handles   jsonb       NOT NULL,
    merged_aliases   jsonb       NOT NULL,
    survivor_before  jsonb       NOT NULL,
    survivor_after   jsonb       NOT NULL,
    merged_at        timestamptz NOT NULL,
    undone_at        timestamptz,
    undone_by        text,
    PRIMARY KEY (tenant, merge_id)
);
CREATE INDEX merges_survivor ON merges (tenant, survivor) WHERE undone_at IS NULL;
CREATE INDEX merges_merged ON merges (tenant, merged) WHERE undone_at IS NULL;

-- Customers that were split by hand: matching never joins them again by itself.
CREATE TABLE kept_apart (
    tenant       text        NOT NULL,
    one          uuid        NOT NULL,
    other        uuid        NOT NULL,
    decided_by   text        NOT NULL,
    decided_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant, one, other),
    CHECK (one < other)
);

-- Append-only: who agreed to what, when, and how we know.
CREATE TABLE consents (
    tenant       text        NOT NULL,
    consent_id   uuid        NOT NULL,
    customer_id  uuid        NOT NULL,
    channel_kind smallint    NOT NULL,
    purpose      smallint    NOT NULL,
    status       smallint    NOT NULL,
    evidence     text        NOT NULL,
    recorded_by  text        NOT NULL,
    recorded_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, consent_id)
);
CREATE INDEX consents_customer ON consents (tenant, customer_id);

-- Proofs of identity. `evidence` is the handle whose possession was proven, or the one that led to the login.
CREATE TABLE verifications (
    tenant      text        NOT NULL,
    customer_id uuid        NOT NULL,
    method      text        NOT NULL,
    evidence    bigint      NOT NULL,
    level       smallint    NOT NULL,
    verified_by text        NOT NULL,
    verified_at timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, customer_id, method, evidence)
);

-- One-time codes. The code itself is not here, only its keyed hash.
CREATE TABLE challenges (
    tenant       text        NOT NULL,
    challenge_id uuid        NOT NULL,
    customer_id  uuid        NOT NULL,
    handle_kind  text        NOT NULL,
    handle_value text        NOT NULL,
    level        smallint    NOT NULL,
    case_id      text        NOT NULL,
    requested_by text        NOT NULL,
    requested_at timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    salt         bytea       NOT NULL,
    code_hash    bytea       NOT NULL,
    state        text        NOT NULL,
    attempts     integer     NOT NULL,
    max_attempts integer     NOT NULL,
    version      integer     NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant, challenge_id)
);
CREATE INDEX challenges_customer ON challenges (tenant, customer_id, requested_at);

-- Whose an interaction was when it arrived, and by which handle: what a split gives back.
CREATE TABLE interaction_owner (
    tenant         text   NOT NULL,
    interaction_id uuid   NOT NULL,
    customer_id    uuid   NOT NULL,
    evidence       bigint NOT NULL,
    PRIMARY KEY (tenant, interaction_id)
);
CREATE INDEX interaction_owner_evidence ON interaction_owner (tenant, evidence);

SELECT isolate_tenants('customers');
SELECT isolate_tenants('handles');
SELECT isolate_tenants('merges');
SELECT isolate_tenants('kept_apart');
SELECT isolate_tenants('consents');
SELECT isolate_tenants('verifications');
SELECT isolate_tenants('challenges');
SELECT isolate_tenants('interaction_owner');
