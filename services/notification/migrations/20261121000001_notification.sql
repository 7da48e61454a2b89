-- Messages on their way out.

CREATE TABLE messages (
    tenant              text        NOT NULL,
    message_id          uuid        NOT NULL,
    -- Order of arrival: messages to one customer leave in it.
    seq                 bigint      GENERATED ALWAYS AS IDENTITY,
    -- Whose it is now; merges repoint it.
    customer_id         uuid        NOT NULL,
    -- Whose it was when it was asked for; a split gives it back by this.
    asked_customer_id   uuid        NOT NULL,
    case_id             uuid,
    -- Proof of identity does not wait behind other messages.
    urgent              boolean     NOT NULL,
    -- The encoded MessageRequested; its template values are blanked when a one-time code is done with.
    request             bytea       NOT NULL,
    status              text        NOT NULL CHECK (status IN ('queued', 'sent', 'delivered', 'read', 'failed', 'suppressed')),
    -- When the sender may take it, or take it back from a sender that died.
    due_at              timestamptz NOT NULL,
    tries               integer     NOT NULL DEFAULT 0,
    tries_here          integer     NOT NULL DEFAULT 0,
    unknown_outcomes    integer     NOT NULL DEFAULT 0,
    -- Ways that are used up, as `channel/kind:value`.
    spent               text[]      NOT NULL DEFAULT '{}',
    channel             text        NOT NULL DEFAULT '',
    channel_kind        integer     NOT NULL DEFAULT 0,
    handle_kind         text        NOT NULL DEFAULT '',
    handle_value        text        NOT NULL DEFAULT '',
    provider_message_id text        NOT NULL DEFAULT '',
    body                text        NOT NULL DEFAULT '',
    reason              text        NOT NULL DEFAULT '',
    trace               text,
    version             bigint      NOT NULL DEFAULT 1,
    requested_at        timestamptz NOT NULL,
    updated_at          timestamptz NOT NULL,
    PRIMARY KEY (tenant, message_id)
);
CREATE INDEX messages_due ON messages (due_at) WHERE status = 'queued';
CREATE INDEX messages_line ON messages (tenant, customer_id, urgent, seq) WHERE status = 'queued';
CREATE INDEX messages_provider_id ON messages (tenant, provider_message_id) WHERE provider_message_id <> '';
CREATE INDEX messages_customer ON messages (tenant, customer_id);
CREATE INDEX messages_asked_customer ON messages (tenant, asked_customer_id);
SELECT isolate_tenants('messages');

-- Tries to send. A row in state `sending` is committed before the provider is called: what a crash leaves in that state
-- has an unknown outcome.
CREATE TABLE attempts (
    tenant              text        NOT NULL,
    message_id          uuid        NOT NULL,
    number              integer     NOT NULL,
    channel             text        NOT NULL,
    state               text        NOT NULL CHECK (state IN ('sending', 'accepted', 'refused', 'unknown')),
    error               text        NOT NULL DEFAULT '',
    provider_message_id text        NOT NULL DEFAULT '',
    started_at          timestamptz NOT NULL,
    PRIMARY KEY (tenant, message_id, number)
);
SELECT isolate_tenants('attempts');

-- Receipts that came before we knew the provider's id of the message they are about.
CREATE TABLE early_receipts (
    tenant              text        NOT NULL,
    channel             text        NOT NULL,
    provider_message_id text        NOT NULL,
    status              integer     NOT NULL,
    -- Ours, where the provider gives it back.
    message_id          uuid,
    error               text        NOT NULL,
    occurred_at         timestamptz NOT NULL,
    received_at         timestamptz NOT NULL,
    PRIMARY KEY (tenant, channel, provider_message_id, status)
);
CREATE INDEX early_receipts_message ON early_receipts (tenant, message_id) WHERE message_id IS NOT NULL;
CREATE INDEX early_receipts_received_at ON early_receipts (received_at);
SELECT isolate_tenants('early_receipts');

-- Merges of customers, so that a message that is asked for under an old id finds the survivor.
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
