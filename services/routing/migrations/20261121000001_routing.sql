-- Routing: work items, agents, offers.

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
        CHECK (state IN ('pending', 'offered', 'assigned', 'completed', 'cancelled')),
    queue                 text        NOT NULL,
    priority              integer     NOT NULL,
    due_at                timestamptz NOT NULL,
    waiting_since         timestamptz NOT NULL,
    channel_kind          integer     NOT NULL,
    -- Units it needs of an agent; 0 is the whole agent.
    need_units            integer     NOT NULL,
    required_skills       text[]      NOT NULL,
    language              text        NOT NULL,
    offer_timeout_seconds integer     NOT NULL,
    explanation           text        NOT NULL,
    preferred_agent       text,
    -- Who declined it or let it lapse.
    excluded_agents       text[]      NOT NULL,
    -- Encoded ContextSnapshot; only passed on.
    snapshot              bytea,
    agent_id              text,
    offer_id              uuid,
    offer_expires_at      timestamptz,
    held_units            integer,
    assigned_at           timestamptz,
    answered_at           timestamptz,
    answered_channel      integer,
    answered_in_target    boolean,
    ended_at              timestamptz,
    PRIMARY KEY (tenant, work_item_id),
    UNIQUE (tenant, case_id, number),
    CHECK ((state IN ('offered', 'assigned')) <= (agent_id IS NOT NULL AND offer_id IS NOT NULL AND held_units IS NOT NULL)),
    CHECK ((state = 'offered') <= (offer_expires_at IS NOT NULL)),
    CHECK ((state = 'assigned') <= (assigned_at IS NOT NULL)),
    CHECK ((state IN ('completed', 'cancelled')) = (ended_at IS NOT NULL))
);
-- At most one open item per case.
CREATE UNIQUE INDEX work_items_open ON work_items (tenant, case_id) WHERE state IN ('pending', 'offered', 'assigned');
-- The order in which waiting work is offered.
CREATE INDEX work_items_waiting ON work_items (tenant, priority DESC, due_at, waiting_since, work_item_id)
    WHERE state = 'pending';
-- What an agent has in hand.
CREATE INDEX work_items_in_hand ON work_items (tenant, agent_id) WHERE state IN ('offered', 'assigned');
CREATE INDEX work_items_answered_at ON work_items (tenant, answered_at) WHERE answered_at IS NOT NULL;
CREATE INDEX work_items_ended_at ON work_items (tenant, ended_at) WHERE state = 'completed';
SELECT isolate_tenants('work_items');

CREATE TABLE agents (
    tenant          text        NOT NULL,
    agent_id        text        NOT NULL,
    display_name    text        NOT NULL,
    skill_names     text[]      NOT NULL,
    skill_levels    integer[]   NOT NULL,
    languages       text[]      NOT NULL,
    channel_kinds   integer[]   NOT NULL,
    capacity_units  integer     NOT NULL CHECK (capacity_units > 0),
    bot             boolean     NOT NULL,
    presence        text        NOT NULL DEFAULT 'offline'
        CHECK (presence IN ('offline', 'available', 'away', 'not_responding')),
    presence_reason text        NOT NULL DEFAULT '',
    used_units      integer     NOT NULL DEFAULT 0,
    -- Humans only: one offer at a time.
    pending_offers  integer     NOT NULL DEFAULT 0,
    idle_since      timestamptz NOT NULL,
    PRIMARY KEY (tenant, agent_id),
    CONSTRAINT capacity_holds CHECK (used_units BETWEEN 0 AND capacity_units),
    CONSTRAINT one_offer_at_a_time CHECK (pending_offers BETWEEN 0 AND 1)
);
CREATE INDEX agents_available ON agents (tenant) WHERE presence = 'available';
SELECT isolate_tenants('agents');

CREATE TABLE offers (
    tenant       text        NOT NULL,
    offer_id     uuid        NOT NULL,
    work_item_id uuid        NOT NULL,
    agent_id     text        NOT NULL,
    state        text        NOT NULL
        CHECK (state IN ('pending', 'accepted', 'declined', 'expired', 'rescinded', 'completed')),
    offered_at   timestamptz NOT NULL,
    expires_at   timestamptz NOT NULL,
    ended_at     timestamptz,
    explanation  text        NOT NULL,
    -- The agent's words when declining.
    reason       text        NOT NULL DEFAULT '',
    PRIMARY KEY (tenant, offer_id)
);
-- The backstop: no bug can offer an item twice.
CREATE UNIQUE INDEX offers_live ON offers (tenant, work_item_id) WHERE state IN ('pending', 'accepted');
CREATE INDEX offers_of_item ON offers (tenant, work_item_id);
SELECT isolate_tenants('offers');
