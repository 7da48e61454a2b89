-- Routing: work items, agents, offers, and who leads.

-- One row per work item; `number` counts the items of a case. Number 0 is a tombstone: a withdrawal that
-- overtook its request, kept for its revision.
CREATE TABLE work_items (
    tenant                text        NOT NULL,
    work_item_id          uuid        NOT NULL,
    case_id               uuid        NOT NULL,
    number                integer     NOT NULL CHECK (number >= 0),
    version               bigint      NOT NULL,
    revision              bigint      NOT NULL,
    state                 text        NOT NULL
        CHECK (state IN ('pending', 'offered', 'assigned', 'wrapping', 'completed', 'cancelled', 'abandoned')),
    queue                 text        NOT NULL,
    intent                text        NOT NULL,
    entitlement           text        NOT NULL,
    language              text        NOT NULL,
    priority              integer     NOT NULL,
    -- The promise, and the moment by which work is ranked: points make it earlier.
    due_at                timestamptz NOT NULL,
    rank_at               timestamptz NOT NULL,
    -- The customer's clock, kept over channels and transfers; and the clock of this queue.
    waiting_since         timestamptz NOT NULL,
    queued_at             timestamptz NOT NULL,
    channel_kind          integer     NOT NULL,
    -- The whole decision of the policy: requirements with their steps, time-outs, the words.
    route                 jsonb       NOT NULL,
    preferred_agent       text,
    -- Who alone may get it.
    pinned_agent          text,
    -- Who declined it or let it lapse, when and how often: they are not asked again for a while.
    exclusions            jsonb       NOT NULL,
    transfers             integer     NOT NULL,
    -- What the next agent is told about a hand-over.
    handover              jsonb,
    -- Encoded ContextSnapshot; only passed on.
    snapshot              bytea,
    -- W3C trace context of the request that was last worked in.
    trace                 text,
    agent_id              text,
    offer_id              uuid,
    offer_expires_at      timestamptz,
    held_units            integer,
    -- Units of resting work are free: until the customer writes (parked), or the agent's call ends (paused).
    rest                  text        NOT NULL DEFAULT 'no' CHECK (rest IN ('no', 'parked', 'paused')),
    assigned_at           timestamptz,
    done_at               timestamptz,
    wrap_up_until         timestamptz,
    answered_at           timestamptz,
    answered_channel      integer,
    answered_in_target    boolean,
    ended_at              timestamptz,
    -- The second agent of a warm transfer or a consultation: what is wanted, and who was asked or helps.
    second                jsonb,
    second_agent          text,
    second_offer_id       uuid,
    second_units          integer,
    second_expires_at     timestamptz,
    second_joined_at      timestamptz,
    -- What is done instead of waiting as the customer came: callback, message, another channel; and what overflowed.
    manner                jsonb       NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant, work_item_id),
    UNIQUE (tenant, case_id, number),
    CHECK ((state IN ('offered', 'assigned', 'wrapping')) = (agent_id IS NOT NULL AND offer_id IS NOT NULL AND held_units IS NOT NULL AND ended_at IS NULL)),
    CHECK ((state = 'offered') = (offer_expires_at IS NOT NULL)),
    CHECK ((state IN ('assigned', 'wrapping')) <= (assigned_at IS NOT NULL)),
    CHECK ((state = 'wrapping') = (wrap_up_until IS NOT NULL)),
    CHECK (rest = 'no' OR (state = 'assigned' AND held_units = 0)),
    CHECK (second IS NULL OR state = 'assigned'),
    CHECK ((second_agent IS NOT NULL) = (second_offer_id IS NOT NULL AND second_units IS NOT NULL)),
    CHECK ((state IN ('completed', 'cancelled', 'abandoned')) = (ended_at IS NOT NULL))
);
-- At most one open item per case.
CREATE UNIQUE INDEX work_items_open ON work_items (tenant, case_id)
    WHERE state IN ('pending', 'offered', 'assigned', 'wrapping');
-- Open work in the order of its deadlines.
CREATE INDEX work_items_by_rank ON work_items (tenant, rank_at, waiting_since, work_item_id)
    WHERE state IN ('pending', 'offered', 'assigned', 'wrapping');
CREATE INDEX work_items_waiting ON work_items (tenant, queue, rank_at, waiting_since, work_item_id)
    WHERE state = 'pending';
-- What an agent has in hand.
CREATE INDEX work_items_in_hand ON work_items (tenant, agent_id) WHERE state IN ('offered', 'assigned', 'wrapping');
CREATE INDEX work_items_second ON work_items (tenant, second_agent) WHERE second_agent IS NOT NULL;
CREATE INDEX work_items_pinned ON work_items (tenant, pinned_agent) WHERE pinned_agent IS NOT NULL AND state = 'pending';
SELECT isolate_tenants('work_items');

CREATE TABLE agents (
    tenant          text        NOT NULL,
    agent_id        text        NOT NULL,
    display_name    text        NOT NULL,
    skill_names     text[]      NOT NULL,
    skill_levels    integer[]   NOT NULL,
    languages       text[]      NOT NULL,
    channel_kinds   integer[]   NOT NULL,
    teams           text[]      NOT NULL,
    working_hours   text        NOT NULL,
    capped_kinds    integer[]   NOT NULL,
    caps            integer[]   NOT NULL,
    capacity_units  integer     NOT NULL CHECK (capacity_units > 0),
    bot             boolean     NOT NULL,
    presence        text        NOT NULL DEFAULT 'offline'
        CHECK (presence IN ('offline', 'available', 'away', 'not_responding')),
    presence_reason text        NOT NULL DEFAULT '',
    presence_since  timestamptz NOT NULL,
    available_kinds integer[]   NOT NULL DEFAULT '{}',
    draining        boolean     NOT NULL DEFAULT false,
    missed_at       timestamptz,
    used_units      integer     NOT NULL DEFAULT 0,
    -- Accepted items that do not rest, and since when there are some, or none.
    hands           integer     NOT NULL DEFAULT 0 CHECK (hands >= 0),
    hands_since     timestamptz,
    idle_since      timestamptz NOT NULL,
    PRIMARY KEY (tenant, agent_id),
    CONSTRAINT capacity_holds CHECK (used_units BETWEEN 0 AND capacity_units)
);
SELECT isolate_tenants('agents');

CREATE TABLE offers (
    tenant       text        NOT NULL,
    offer_id     uuid        NOT NULL,
    work_item_id uuid        NOT NULL,
    agent_id     text        NOT NULL,
    -- The owner of the work, or the second agent of a warm transfer or a consultation.
    seat         text        NOT NULL CHECK (seat IN ('owner', 'second')),
    state        text        NOT NULL
        CHECK (state IN ('pending', 'accepted', 'declined', 'expired', 'rescinded', 'withdrawn', 'completed')),
    offered_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    -- Set when the offer is a hand-over: `blind`, `warm` or `consult`, by whom, with which words.
    handover     text,
    from_agent   text,
    note         text        NOT NULL DEFAULT '',
    explanation  text        NOT NULL,
    -- The numbers behind the words.
    why          jsonb       NOT NULL DEFAULT '{}',
    -- The agent's words when declining.
    reason       text        NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, offer_id)
);
-- The backstop: no bug can offer an item twice.
CREATE UNIQUE INDEX offers_live ON offers (tenant, work_item_id, seat) WHERE state IN ('pending', 'accepted');
CREATE INDEX offers_of_item ON offers (tenant, work_item_id);
-- What a desk that comes back must learn.
CREATE INDEX offers_ended ON offers (tenant, agent_id, ended_at) WHERE state NOT IN ('pending', 'accepted');
SELECT isolate_tenants('offers');

-- What the leader of a tenant has not seen yet: every transaction that changes items or agents says so here, in one row.
-- Read by deleting, so that a transaction that commits late is never skipped.
CREATE TABLE changes (
    tenant        text        NOT NULL,
    change_id     bigint      GENERATED ALWAYS AS IDENTITY,
    work_item_ids uuid[]      NOT NULL,
    agent_ids     text[]      NOT NULL,
    noted_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (tenant, change_id)
);
SELECT isolate_tenants('changes');

-- Who matches for a tenant. The epoch grows with every change of holder; offers check it, so that a leader who was
-- thought dead writes nothing. Only the database's clock counts.
CREATE TABLE leases (
    tenant     text        NOT NULL PRIMARY KEY,
    holder     text        NOT NULL DEFAULT '',
    epoch      bigint      NOT NULL DEFAULT 0,
    expires_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Fingerprint of the resources by which everything that waits is routed.
    routed_by  uuid
);
SELECT isolate_tenants('leases');

-- Replicas that are there to lead, so that each takes its share.
CREATE TABLE replicas (
    holder     text        NOT NULL PRIMARY KEY,
    expires_at timestamptz NOT NULL
);

-- Queues that take no new work.
CREATE TABLE queue_states (
    tenant      text        NOT NULL,
    queue       text        NOT NULL,
    draining    boolean     NOT NULL,
    overflow_to text        NOT NULL,
    PRIMARY KEY (tenant, queue)
);
SELECT isolate_tenants('queue_states');

-- What each transaction adds to the figures: only ever inserted, so that nobody waits for a counter. The leader folds it into `figures` by deleting; what is read is the sum of both.
CREATE TABLE figure_facts (
    tenant             text        NOT NULL,
    fact_id            bigint      GENERATED ALWAYS AS IDENTITY,
    starts_at          timestamptz NOT NULL,
    queue              text        NOT NULL,
    channel_kind       integer     NOT NULL,
    entitlement        text        NOT NULL,
    arrived            bigint      NOT NULL,
    answered           bigint      NOT NULL,
    answered_in_target bigint      NOT NULL,
    wait_ms            bigint      NOT NULL,
    normalised_micros  bigint      NOT NULL,
    abandoned          bigint      NOT NULL,
    transferred        bigint      NOT NULL,
    completed          bigint      NOT NULL,
    handle_ms          bigint      NOT NULL,
    reoffered          bigint      NOT NULL,
    PRIMARY KEY (tenant, fact_id)
);
SELECT isolate_tenants('figure_facts');

-- Figures by quarter of an hour, queue, kind of channel and entitlement. Times are whole numbers, so sums are exact.
CREATE TABLE figures (
    tenant             text        NOT NULL,
    starts_at          timestamptz NOT NULL,
    queue              text        NOT NULL,
    channel_kind       integer     NOT NULL,
    entitlement        text        NOT NULL,
    arrived            bigint      NOT NULL,
    answered           bigint      NOT NULL,
    answered_in_target bigint      NOT NULL,
    wait_ms            bigint      NOT NULL,
    normalised_micros  bigint      NOT NULL,
    abandoned          bigint      NOT NULL,
    transferred        bigint      NOT NULL,
    completed          bigint      NOT NULL,
    handle_ms          bigint      NOT NULL,
    reoffered          bigint      NOT NULL,
    PRIMARY KEY (tenant, starts_at, queue, channel_kind, entitlement)
);
SELECT isolate_tenants('figures');

-- When each agent got work in hand, and when there was none left: from this moment until the agent's next row.
CREATE TABLE agent_loads (
    tenant   text        NOT NULL,
    agent_id text        NOT NULL,
    at       timestamptz NOT NULL,
    busy     boolean     NOT NULL,
    PRIMARY KEY (tenant, agent_id, at)
);
SELECT isolate_tenants('agent_loads');

-- How long the people of a team were there and how long they had work in hand, by quarters of an hour that are over;
-- '' is everybody. Of the teams, as they were then: who changes team does not change the past.
CREATE TABLE team_times (
    tenant     text        NOT NULL,
    starts_at  timestamptz NOT NULL,
    team       text        NOT NULL,
    busy_ms    bigint      NOT NULL,
    staffed_ms bigint      NOT NULL CHECK (staffed_ms >= busy_ms),
    PRIMARY KEY (tenant, starts_at, team)
);
SELECT isolate_tenants('team_times');

-- Up to where the logs are folded into team_times.
CREATE TABLE team_folds (
    tenant       text        NOT NULL PRIMARY KEY,
    folded_until timestamptz NOT NULL
);
SELECT isolate_tenants('team_folds');
