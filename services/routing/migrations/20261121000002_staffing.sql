-- Staffing: what came in, who should be there, who was.

-- Contacts by interval and series. Work of our own is counted when it ends (what is still open is read from work_items),
-- always by quarters of an hour; what was imported has the interval of its file and replaces what was known.
CREATE TABLE volumes (
    tenant         text             NOT NULL,
    starts_at      timestamptz      NOT NULL,
    channel_kind   integer          NOT NULL,
    intent         text             NOT NULL,
    language       text             NOT NULL,
    minutes        integer          NOT NULL CHECK (minutes IN (15, 30, 60)),
    imported       boolean          NOT NULL,
    contacts       double precision NOT NULL CHECK (contacts >= 0),
    -- Contacts of which the handling time is known, and the sum of those times.
    handled        double precision NOT NULL CHECK (handled >= 0),
    handle_seconds double precision NOT NULL CHECK (handle_seconds >= 0),
    PRIMARY KEY (tenant, starts_at, channel_kind, intent, language, minutes),
    CHECK (imported OR minutes = 15)
);
SELECT isolate_tenants('volumes');

-- Work that has ended and is not counted in volumes yet: only ever inserted, by the transactions that end it, so that
-- nobody waits for a counter. The leader folds it by deleting; what is read is both.
CREATE TABLE volume_facts (
    tenant         text             NOT NULL,
    fact_id        bigint           GENERATED ALWAYS AS IDENTITY,
    starts_at      timestamptz      NOT NULL,
    channel_kind   integer          NOT NULL,
    intent         text             NOT NULL,
    language       text             NOT NULL,
    contacts       double precision NOT NULL,
    handled        double precision NOT NULL,
    handle_seconds double precision NOT NULL,
    PRIMARY KEY (tenant, fact_id)
);
SELECT isolate_tenants('volume_facts');

-- Who should be there. Stretches of one agent do not overlap: an import replaces all that it touches.
CREATE TABLE schedules (
    tenant    text        NOT NULL,
    agent_id  text        NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at   timestamptz NOT NULL CHECK (ends_at > starts_at),
    activity  text        NOT NULL CHECK (activity IN ('work', 'break', 'other')),
    PRIMARY KEY (tenant, agent_id, starts_at)
);
CREATE INDEX schedules_by_time ON schedules (tenant, starts_at);
SELECT isolate_tenants('schedules');

-- Every presence of every agent, from this moment until the agent's next row.
CREATE TABLE presences (
    tenant   text        NOT NULL,
    agent_id text        NOT NULL,
    at       timestamptz NOT NULL,
    presence text        NOT NULL CHECK (presence IN ('offline', 'available', 'away', 'not_responding')),
    reason   text        NOT NULL,
    PRIMARY KEY (tenant, agent_id, at)
);
SELECT isolate_tenants('presences');
