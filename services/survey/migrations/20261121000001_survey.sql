-- Askings, and the decisions not to ask.

CREATE TABLE invitations (
    tenant            text        NOT NULL,
    invitation_id     uuid        NOT NULL,
    survey            text        NOT NULL,
    -- The survey as it was when it was decided: a change of the resource does not change a running asking.
    spec              jsonb       NOT NULL,
    -- Whose it is now; merges repoint it.
    customer_id       uuid        NOT NULL,
    -- Whose it was when it was decided; a split gives it back by this.
    asked_customer_id uuid        NOT NULL,
    -- The encoded CustomerContext, passed on with answers and follow-ups.
    customer          bytea       NOT NULL,
    case_id           uuid        NOT NULL,
    case_subject      text        NOT NULL,
    need              text        NOT NULL,
    language          text        NOT NULL,
    channel_kind      integer     NOT NULL,
    status            text        NOT NULL CHECK (status IN ('scheduled', 'asked', 'completed', 'suppressed', 'lapsed')),
    -- Scheduled: when it will be asked. Asked: until when an answer counts.
    until             timestamptz,
    -- Asked: position of the open question.
    position          integer,
    reason            text        NOT NULL,
    -- The case that a bad answer opened.
    follow_up_case_id uuid,
    version           bigint      NOT NULL DEFAULT 1,
    created_at        timestamptz NOT NULL,
    updated_at        timestamptz NOT NULL,
    PRIMARY KEY (tenant, invitation_id),
    CHECK ((until IS NOT NULL) = (status IN ('scheduled', 'asked'))),
    CHECK ((position IS NOT NULL) = (status = 'asked'))
);
CREATE INDEX invitations_customer ON invitations (tenant, customer_id, created_at DESC, invitation_id DESC);
CREATE INDEX invitations_created ON invitations (tenant, created_at DESC, invitation_id DESC);
CREATE INDEX invitations_asked_customer ON invitations (tenant, asked_customer_id);
SELECT isolate_tenants('invitations');

-- Questions that went out: the denominator of every score.
CREATE TABLE asked (
    tenant        text        NOT NULL,
    invitation_id uuid        NOT NULL,
    question_id   text        NOT NULL,
    survey        text        NOT NULL,
    kind          integer     NOT NULL,
    message_id    uuid        NOT NULL,
    asked_at      timestamptz NOT NULL,
    PRIMARY KEY (tenant, invitation_id, question_id)
);
CREATE INDEX asked_message ON asked (tenant, message_id);
CREATE INDEX asked_at ON asked (tenant, asked_at);
SELECT isolate_tenants('asked');

-- Answers. The first one to a question counts.
CREATE TABLE responses (
    tenant        text        NOT NULL,
    invitation_id uuid        NOT NULL,
    question_id   text        NOT NULL,
    score         integer     NOT NULL,
    channel_kind  integer     NOT NULL,
    responded_at  timestamptz NOT NULL,
    PRIMARY KEY (tenant, invitation_id, question_id)
);
SELECT isolate_tenants('responses');

-- Merges of customers: a decision is made for the person, not for the id.
CREATE TABLE customer_merges (
    tenant      text    NOT NULL,
    merge_id    uuid    NOT NULL,
    survivor_id uuid    NOT NULL,
    merged_id   uuid    NOT NULL,
    undone      boolean NOT NULL,
    PRIMARY KEY (tenant, merge_id)
);
CREATE INDEX customer_merges_merged ON customer_merges (tenant, merged_id) WHERE NOT undone;
CREATE INDEX customer_merges_survivor ON customer_merges (tenant, survivor_id) WHERE NOT undone;
SELECT isolate_tenants('customer_merges');
