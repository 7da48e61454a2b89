-- One need of one customer, open until it is met.
-- status as trama.case.v1.CaseStatus: 1 open, 2 waiting, 3 resolved, 4 merged.
CREATE TABLE cases (
    tenant             text        NOT NULL,
    case_id            uuid        NOT NULL,
    customer_id        uuid        NOT NULL,
    -- Whose it was before merges, so that a split can give it back.
    origin_customer_id uuid        NOT NULL,
    kind               smallint    NOT NULL,
    status             smallint    NOT NULL,
    -- Open: since when the customer waits for us. Waiting: since when we wait for them. Kept while merged.
    waiting_since      timestamptz,
    answered_at        timestamptz,
    resolved_at        timestamptz,
    resolved_by        text        NOT NULL,
    merged_into        uuid,
    merge_id           uuid,
    related_case_id    uuid,
    subject            text        NOT NULL,
    intent             text        NOT NULL,
    understanding      bytea       NOT NULL,
    -- Article that the search found when the intent named none.
    article_key        text        NOT NULL,
    assigned_agent     text        NOT NULL,
    assigned_at        timestamptz,
    last_agent         text        NOT NULL,
    channel            text        NOT NULL,
    channel_kind       smallint    NOT NULL,
    first_heard_at     timestamptz NOT NULL,
    last_heard_at      timestamptz NOT NULL,
    first_answer_at    timestamptz,
    effort             bytea       NOT NULL,
    customer           bytea       NOT NULL,
    opened_at          timestamptz NOT NULL,
    work_revision      bigint      NOT NULL,
    version            bigint      NOT NULL,
    PRIMARY KEY (tenant, case_id),
    CHECK (status <> 1 OR waiting_since IS NOT NULL),
    CHECK (status <> 2 OR answered_at IS NOT NULL),
    CHECK (status <> 3 OR resolved_at IS NOT NULL),
    CHECK (status <> 4 OR (merged_into IS NOT NULL AND merge_id IS NOT NULL))
) WITH (fillfactor = 80);
-- No index holds a column that changes while a case is worked on, so that updates stay in their page.
CREATE INDEX cases_of_customer ON cases (tenant, customer_id, opened_at);
CREATE INDEX cases_by_age ON cases (tenant, opened_at, case_id);
CREATE INDEX cases_of_merge ON cases (tenant, merge_id) WHERE merge_id IS NOT NULL;
SELECT isolate_tenants('cases');

-- What was said and done.
CREATE TABLE timeline (
    tenant          text        NOT NULL,
    interaction_id  uuid        NOT NULL,
    case_id         uuid,
    -- The case it was on before a merge joined that with another.
    origin_case_id  uuid,
    customer_id     uuid        NOT NULL,
    occurred_at     timestamptz NOT NULL,
    revision        integer     NOT NULL,
    outbound_status smallint    NOT NULL,
    article_version text        NOT NULL,
    interaction     bytea       NOT NULL,
    understanding   bytea       NOT NULL,
    PRIMARY KEY (tenant, interaction_id)
);
CREATE INDEX timeline_of_case ON timeline (tenant, case_id, occurred_at, interaction_id);
CREATE INDEX timeline_without_case ON timeline (tenant, customer_id, occurred_at) WHERE case_id IS NULL;
CREATE INDEX timeline_moved ON timeline (tenant, origin_case_id) WHERE origin_case_id IS NOT NULL;
SELECT isolate_tenants('timeline');

-- `order:4711` leads to its cases.
CREATE TABLE case_references (
    tenant    text NOT NULL,
    reference text NOT NULL,
    case_id   uuid NOT NULL,
    PRIMARY KEY (tenant, reference, case_id)
);
SELECT isolate_tenants('case_references');

-- Merges that hold (split_at IS NULL) and merges that were undone: the latter stay, so that a late repeat of the
-- merge does not come true again.
CREATE TABLE customer_aliases (
    tenant      text        NOT NULL,
    merge_id    uuid        NOT NULL,
    merged_id   uuid        NOT NULL,
    survivor_id uuid        NOT NULL,
    survivor    bytea       NOT NULL,
    merged_at   timestamptz NOT NULL,
    split_at    timestamptz,
    PRIMARY KEY (tenant, merge_id)
);
CREATE INDEX customer_aliases_merged ON customer_aliases (tenant, merged_id) WHERE split_at IS NULL;
CREATE INDEX customer_aliases_survivor ON customer_aliases (tenant, survivor_id) WHERE split_at IS NULL;
SELECT isolate_tenants('customer_aliases');

-- Survey questions on their way: the customer's next number is the answer.
CREATE TABLE expectations (
    tenant        text        NOT NULL,
    invitation_id uuid        NOT NULL,
    question_id   text        NOT NULL,
    customer_id   uuid        NOT NULL,
    case_id       uuid        NOT NULL,
    min_score     integer     NOT NULL,
    max_score     integer     NOT NULL,
    closes_at     timestamptz NOT NULL,
    asked_at      timestamptz NOT NULL,
    -- Answered, or replaced by a later question. The row stays, so that a late repeat does not ask again.
    closed_at     timestamptz,
    PRIMARY KEY (tenant, invitation_id, question_id)
);
CREATE INDEX expectations_of_customer ON expectations (tenant, customer_id) WHERE closed_at IS NULL;
SELECT isolate_tenants('expectations');

-- Steps of a journey that are no interactions: verified, offered, assigned, resolved …
CREATE TABLE journey (
    tenant       text        NOT NULL,
    step_id      uuid        NOT NULL,
    customer_id  uuid        NOT NULL,
    case_id      uuid,
    at           timestamptz NOT NULL,
    channel_kind smallint    NOT NULL,
    what         text        NOT NULL,
    summary      text        NOT NULL,
    actor        text        NOT NULL,
    PRIMARY KEY (tenant, step_id)
);
CREATE INDEX journey_of_case ON journey (tenant, case_id) WHERE case_id IS NOT NULL;
CREATE INDEX journey_of_customer ON journey (tenant, customer_id) WHERE case_id IS NULL;
SELECT isolate_tenants('journey');

-- Knowledge: the current version of each article in each language …
CREATE TABLE articles (
    tenant       text        NOT NULL,
    key          text        NOT NULL,
    language     text        NOT NULL,
    version      integer     NOT NULL,
    title        text        NOT NULL,
    body         text        NOT NULL,
    intents      text[]      NOT NULL,
    -- Words in it, for BM25.
    words        integer     NOT NULL,
    PRIMARY KEY (tenant, key, language)
);
CREATE INDEX articles_by_intent ON articles USING gin (intents);
SELECT isolate_tenants('articles');

-- … every version that was ever current …
CREATE TABLE article_versions (
    tenant           text        NOT NULL,
    key              text        NOT NULL,
    language         text        NOT NULL,
    version          integer     NOT NULL,
    title            text        NOT NULL,
    body             text        NOT NULL,
    sample_questions text[]      NOT NULL,
    intents          text[]      NOT NULL,
    published_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant, key, language, version)
);
SELECT isolate_tenants('article_versions');

-- … and the words of the current ones.
CREATE TABLE postings (
    tenant   text    NOT NULL,
    language text    NOT NULL,
    lexeme   text    NOT NULL,
    key      text    NOT NULL,
    tf       integer NOT NULL,
    PRIMARY KEY (tenant, language, lexeme, key)
);
CREATE INDEX postings_of_article ON postings (tenant, key, language);
SELECT isolate_tenants('postings');

-- The text search configuration of a language.
CREATE FUNCTION text_search_of(language text) RETURNS regconfig IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE split_part(language, '-', 1)
        WHEN 'it' THEN 'italian'::regconfig
        WHEN 'en' THEN 'english'::regconfig
        WHEN 'de' THEN 'german'::regconfig
        WHEN 'fr' THEN 'french'::regconfig
        WHEN 'es' THEN 'spanish'::regconfig
        WHEN 'pt' THEN 'portuguese'::regconfig
        WHEN 'nl' THEN 'dutch'::regconfig
        ELSE 'simple'::regconfig
    END
$$;
