-- Customers, the handles they are known by, and what was decided about them.
--
-- A merge moves nothing: everything stays with the customer row that it came to, and `merged_into` says who the row
-- belongs to now. So a split has nothing to put together again, and gives back exactly what was.

-- A person or company. A merged one stays as an alias: `merged_into` always names the customer that remains,
-- never another alias. The fields are what was said of this row; what holds for a customer is chosen among the rows
-- of the customer and the aliases.
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
    -- Field → who said it when; NULL when nothing was said.
    provenance    jsonb,
    -- What records say of the person, in the compact form of `domain::said`: what similarity is judged by.
    said          bytea,
    -- What of a profile travels with every event, worked out when it changes; NULL for most.
    view          jsonb,
    -- A canonical profile: matching never makes an alias of it.
    protected     boolean     NOT NULL DEFAULT false,
    merged_into   uuid,
    merged_at     timestamptz,
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
    source          text        NOT NULL DEFAULT '',
    -- Learnt: more customers were seen with it than one person can be.
    shared          boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (tenant, kind, value)
) WITH (fillfactor = 90);
CREATE INDEX handles_customer ON handles (tenant, customer_id);

-- Handles that once led to a customer.
CREATE TABLE revoked_handles (
    tenant          text        NOT NULL,
    kind            text        NOT NULL,
    value           text        NOT NULL,
    customer_id     uuid        NOT NULL,
    trust           smallint    NOT NULL,
    first_seen_at   timestamptz NOT NULL,
    last_seen_at    timestamptz NOT NULL,
    via_interaction uuid,
    linked_by       text,
    source          text        NOT NULL,
    revoked_at      timestamptz NOT NULL,
    revoked_by      text        NOT NULL,
    reason          text        NOT NULL,
    PRIMARY KEY (tenant, customer_id, kind, value, revoked_at)
);

-- Customers that were seen with a handle that is another's: how it is learnt that several people share it.
CREATE TABLE handle_claims (
    tenant      text        NOT NULL,
    kind        text        NOT NULL,
    value       text        NOT NULL,
    customer_id uuid        NOT NULL,
    first_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant, kind, value, customer_id)
);

-- What a record said: one row per record of another system, and per different thing that interactions say.
CREATE TABLE observations (
    tenant         text        NOT NULL,
    observation_id uuid        NOT NULL,
    customer_id    uuid        NOT NULL,
    source         text        NOT NULL,
    -- The handle that led here.
    evidence       bigint      NOT NULL,
    said           bytea       NOT NULL,
    first_at       timestamptz NOT NULL,
    last_at        timestamptz NOT NULL,
    PRIMARY KEY (tenant, observation_id)
);
CREATE INDEX observations_customer ON observations (tenant, customer_id);

-- Hashed blocking keys: which customers could be the same person.
CREATE TABLE block_keys (
    tenant      text   NOT NULL,
    key         bigint NOT NULL,
    customer_id uuid   NOT NULL,
    PRIMARY KEY (tenant, key, customer_id)
);
CREATE INDEX block_keys_customer ON block_keys (tenant, customer_id);

-- How many customers know a value (term frequency), by its hash; value 0 counts all customers that know any.
CREATE TABLE value_stats (
    tenant    text    NOT NULL,
    value     bigint  NOT NULL,
    customers integer NOT NULL,
    PRIMARY KEY (tenant, value)
) WITH (fillfactor = 80);

-- Changes of `value_stats` that are still to be added up: so that writers do not wait for each other's frequent names.
CREATE TABLE value_news (
    tenant text    NOT NULL,
    value  bigint  NOT NULL,
    delta  integer NOT NULL
);
CREATE INDEX value_news_tenant ON value_news (tenant);

-- Customers of whom something new is known: they are compared once more, when all that came with it is there.
CREATE TABLE reevaluations (
    tenant      text        NOT NULL,
    customer_id uuid        NOT NULL,
    queued_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant, customer_id)
);

-- Each merge: an edge that can be taken away again. Who belongs to whom is what the edges in force connect.
CREATE TABLE merges (
    tenant     text        NOT NULL,
    merge_id   uuid        NOT NULL,
    survivor   uuid        NOT NULL,
    merged     uuid        NOT NULL,
    decided_by text        NOT NULL,
    reason     text        NOT NULL,
    -- How alike they were, when similarity decided.
    bits       double precision,
    evidence   jsonb,
    merged_at  timestamptz NOT NULL,
    undone_at  timestamptz,
    undone_by  text,
    PRIMARY KEY (tenant, merge_id)
);
CREATE INDEX merges_survivor ON merges (tenant, survivor) WHERE undone_at IS NULL;
CREATE UNIQUE INDEX merges_merged ON merges (tenant, merged) WHERE undone_at IS NULL;

-- Customers that were split by hand: matching never joins them again by itself. Aliases inherit it.
CREATE TABLE kept_apart (
    tenant       text        NOT NULL,
    one          uuid        NOT NULL,
    other        uuid        NOT NULL,
    decided_by   text        NOT NULL,
    decided_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant, one, other),
    CHECK (one < other)
);
CREATE INDEX kept_apart_other ON kept_apart (tenant, other);

-- Are these two one person? What a person shall decide.
CREATE TABLE reviews (
    tenant          text        NOT NULL,
    review_id       uuid        NOT NULL,
    one             uuid        NOT NULL,
    other           uuid        NOT NULL,
    kind            smallint    NOT NULL,
    status          smallint    NOT NULL,
    bits            double precision,
    evidence        jsonb,
    reason          text        NOT NULL,
    created_at      timestamptz NOT NULL,
    due_at          timestamptz NOT NULL,
    sightings       integer     NOT NULL DEFAULT 1,
    decided_by      text,
    decision_reason text,
    decided_at      timestamptz,
    version         integer     NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant, review_id),
    UNIQUE (tenant, one, other),
    CHECK (one < other)
);
CREATE INDEX reviews_due ON reviews (tenant, status, due_at, review_id);
CREATE INDEX reviews_other ON reviews (tenant, other);

-- Customers who belong together without being one.
CREATE TABLE relations (
    tenant      text        NOT NULL,
    relation_id uuid        NOT NULL,
    one         uuid        NOT NULL,
    other       uuid        NOT NULL,
    kind        smallint    NOT NULL,
    role        text        NOT NULL,
    status      smallint    NOT NULL,
    evidence    text        NOT NULL,
    decided_by  text        NOT NULL,
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, relation_id),
    UNIQUE (tenant, one, other, kind)
);
CREATE INDEX relations_other ON relations (tenant, other);

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
CREATE INDEX interaction_owner_customer ON interaction_owner (tenant, customer_id);

SELECT isolate_tenants('customers');
SELECT isolate_tenants('handles');
SELECT isolate_tenants('revoked_handles');
SELECT isolate_tenants('handle_claims');
SELECT isolate_tenants('observations');
SELECT isolate_tenants('block_keys');
SELECT isolate_tenants('value_stats');
SELECT isolate_tenants('value_news');
SELECT isolate_tenants('reevaluations');
SELECT isolate_tenants('merges');
SELECT isolate_tenants('kept_apart');
SELECT isolate_tenants('reviews');
SELECT isolate_tenants('relations');
SELECT isolate_tenants('consents');
SELECT isolate_tenants('verifications');
SELECT isolate_tenants('challenges');
SELECT isolate_tenants('interaction_owner');
