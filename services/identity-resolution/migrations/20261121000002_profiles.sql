-- Profiles, consent with confirmation, proofs by any method, imports, and where changes are told.
--
-- Every row carries the customer that it was written for and keeps it: what holds for a customer is read from their
-- own rows and those of their aliases, so merging and splitting have nothing to move.

-- What of the profile travels with every event, as last worked out; NULL when there is nothing to add.
ALTER TABLE customers ADD COLUMN IF NOT EXISTS view jsonb;

-- Fields of the company's own: one row for each source that says something.
CREATE TABLE traits (
    tenant      text        NOT NULL,
    customer_id uuid        NOT NULL,
    name        text        NOT NULL,
    source      text        NOT NULL,
    value       text        NOT NULL,
    set_by      text        NOT NULL,
    set_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant, customer_id, name, source)
);

-- The segments a customer belongs to, for looking them up by segment.
CREATE TABLE segment_members (
    tenant      text NOT NULL,
    segment     text NOT NULL,
    customer_id uuid NOT NULL,
    PRIMARY KEY (tenant, segment, customer_id)
);
CREATE INDEX segment_members_customer ON segment_members (tenant, customer_id);

-- Which version of a tenant's schema the segments were worked out by, and how far the walk is.
CREATE TABLE segment_walks (
    tenant      text        NOT NULL PRIMARY KEY,
    schema_hash bytea       NOT NULL,
    started_at  timestamptz NOT NULL,
    after       uuid,
    done        boolean     NOT NULL
);

-- The words of names, lower case, for finding customers by the beginning of one.
CREATE TABLE name_words (
    tenant      text COLLATE "C" NOT NULL,
    word        text COLLATE "C" NOT NULL,
    customer_id uuid NOT NULL,
    PRIMARY KEY (tenant, word, customer_id)
);
CREATE INDEX name_words_customer ON name_words (tenant, customer_id);

CREATE FUNCTION keep_name_words() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        DELETE FROM name_words WHERE tenant = OLD.tenant AND customer_id = OLD.customer_id;
    END IF;
    INSERT INTO name_words (tenant, word, customer_id)
    SELECT DISTINCT NEW.tenant, left(word, 64), NEW.customer_id
    FROM regexp_split_to_table(lower(NEW.display_name), '[^[:alnum:]]+') AS word
    WHERE word <> ''
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
CREATE TRIGGER customers_named AFTER INSERT ON customers
    FOR EACH ROW WHEN (NEW.display_name <> '') EXECUTE FUNCTION keep_name_words();
CREATE TRIGGER customers_renamed AFTER UPDATE OF display_name ON customers
    FOR EACH ROW WHEN (OLD.display_name <> NEW.display_name) EXECUTE FUNCTION keep_name_words();

-- Entitlements for a time. The one in force is in `customers.entitlement`.
CREATE TABLE entitlement_grants (
    tenant      text        NOT NULL,
    grant_id    uuid        NOT NULL,
    customer_id uuid        NOT NULL,
    entitlement text        NOT NULL,
    valid_from  timestamptz NOT NULL,
    valid_until timestamptz,
    source      text        NOT NULL,
    granted_by  text        NOT NULL,
    granted_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, grant_id)
);
CREATE INDEX entitlement_grants_customer ON entitlement_grants (tenant, customer_id);

-- Append-only: who read or changed whom. Rows leave only by age.
CREATE TABLE access_log (
    tenant      text        NOT NULL,
    customer_id uuid        NOT NULL,
    at          timestamptz NOT NULL,
    entry_id    uuid        NOT NULL,
    subject     text        NOT NULL,
    action      text        NOT NULL,
    detail      text        NOT NULL,
    PRIMARY KEY (tenant, customer_id, at, entry_id)
);
CREATE INDEX access_log_age ON access_log (tenant, at);
CREATE FUNCTION never_changes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed', TG_TABLE_NAME;
END $$;
CREATE TRIGGER access_log_append_only BEFORE UPDATE ON access_log
    FOR EACH STATEMENT EXECUTE FUNCTION never_changes();

-- Consent knows brands and ends; 3 is "asked for, not yet confirmed".
ALTER TABLE consents ADD COLUMN brand text NOT NULL DEFAULT '', ADD COLUMN expires_at timestamptz;
CREATE TRIGGER consents_append_only BEFORE UPDATE ON consents
    FOR EACH STATEMENT EXECUTE FUNCTION never_changes();

-- Double opt-in: the code and the token of the link are not here, only their hashes.
CREATE TABLE consent_confirmations (
    tenant             text        NOT NULL,
    confirmation_id    uuid        NOT NULL,
    customer_id        uuid        NOT NULL,
    channel_kind       smallint    NOT NULL,
    purpose            smallint    NOT NULL,
    brand              text        NOT NULL,
    evidence           text        NOT NULL,
    consent_expires_at timestamptz,
    requested_by       text        NOT NULL,
    requested_at       timestamptz NOT NULL,
    expires_at         timestamptz NOT NULL,
    salt               bytea       NOT NULL,
    code_hash          bytea       NOT NULL,
    token_hash         bytea       NOT NULL,
    state              text        NOT NULL,
    attempts           integer     NOT NULL,
    max_attempts       integer     NOT NULL,
    version            integer     NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant, confirmation_id)
);

-- Challenges of other methods than codes.
ALTER TABLE challenges ADD COLUMN method text NOT NULL DEFAULT 'one_time_code', ADD COLUMN question text NOT NULL DEFAULT '';

-- Wrong answers, by customer, handle and source, while they count.
CREATE TABLE verification_failures (
    tenant text        NOT NULL,
    scope  text        NOT NULL,
    at     timestamptz NOT NULL,
    id     uuid        NOT NULL,
    PRIMARY KEY (tenant, scope, at, id)
);

-- Append-only: what was proven, tried in vain, revoked.
CREATE TABLE verification_log (
    tenant      text        NOT NULL,
    customer_id uuid        NOT NULL,
    at          timestamptz NOT NULL,
    entry_id    uuid        NOT NULL,
    outcome     text        NOT NULL,
    method      text        NOT NULL,
    level       smallint    NOT NULL,
    subject     text        NOT NULL,
    evidence    text        NOT NULL,
    case_id     text        NOT NULL,
    PRIMARY KEY (tenant, customer_id, at, entry_id)
);
CREATE TRIGGER verification_log_append_only BEFORE UPDATE ON verification_log
    FOR EACH STATEMENT EXECUTE FUNCTION never_changes();

-- Records of other systems: the version last taken.
CREATE TABLE source_versions (
    tenant      text   NOT NULL,
    source      text   NOT NULL,
    external_id text   NOT NULL,
    version     bigint NOT NULL,
    PRIMARY KEY (tenant, source, external_id)
);

-- Imports. `worked` is the first byte that is not worked in; it moves with the rows, in one transaction.
CREATE TABLE imports (
    tenant      text        NOT NULL,
    import_id   uuid        NOT NULL,
    format      text        NOT NULL,
    mapping     jsonb       NOT NULL,
    source      text        NOT NULL,
    trust       smallint    NOT NULL,
    delimiter   smallint    NOT NULL,
    dry_run     boolean     NOT NULL,
    state       text        NOT NULL,
    received    bigint      NOT NULL DEFAULT 0,
    worked      bigint      NOT NULL DEFAULT 0,
    line        bigint      NOT NULL DEFAULT 1,
    header      jsonb,
    records     bigint      NOT NULL DEFAULT 0,
    created     bigint      NOT NULL DEFAULT 0,
    updated     bigint      NOT NULL DEFAULT 0,
    unchanged   bigint      NOT NULL DEFAULT 0,
    failed      bigint      NOT NULL DEFAULT 0,
    failure     text        NOT NULL DEFAULT '',
    started_by  text        NOT NULL,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz,
    version     integer     NOT NULL DEFAULT 1,
    PRIMARY KEY (tenant, import_id)
);
CREATE TABLE import_chunks (
    tenant    text   NOT NULL,
    import_id uuid   NOT NULL,
    start     bigint NOT NULL,
    data      bytea  NOT NULL,
    PRIMARY KEY (tenant, import_id, start)
);
CREATE TABLE import_errors (
    tenant    text   NOT NULL,
    import_id uuid   NOT NULL,
    line      bigint NOT NULL,
    number    integer NOT NULL,
    column_name text NOT NULL,
    message   text   NOT NULL,
    PRIMARY KEY (tenant, import_id, line, number)
);

-- Changes to tell the tenant's webhook: the latest of a customer replaces one that was not sent yet.
CREATE TABLE told_changes (
    tenant      text        NOT NULL,
    customer_id uuid        NOT NULL,
    change_id   uuid        NOT NULL,
    kind        text        NOT NULL,
    body        bytea       NOT NULL,
    due_at      timestamptz NOT NULL,
    attempts    integer     NOT NULL,
    PRIMARY KEY (tenant, customer_id, kind)
);
CREATE INDEX told_changes_due ON told_changes (due_at);

SELECT isolate_tenants('traits');
SELECT isolate_tenants('segment_members');
SELECT isolate_tenants('segment_walks');
SELECT isolate_tenants('name_words');
SELECT isolate_tenants('entitlement_grants');
SELECT isolate_tenants('access_log');
SELECT isolate_tenants('consent_confirmations');
SELECT isolate_tenants('verification_failures');
SELECT isolate_tenants('verification_log');
SELECT isolate_tenants('source_versions');
SELECT isolate_tenants('imports');
SELECT isolate_tenants('import_chunks');
SELECT isolate_tenants('import_errors');
SELECT isolate_tenants('told_changes');
