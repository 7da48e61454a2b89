-- Deliveries that could not be understood, whole or in part.
CREATE TABLE quarantine (
    tenant      text        NOT NULL,
    delivery_id uuid        NOT NULL,
    channel     text        NOT NULL,
    reason      text        NOT NULL,
    -- The encoded Delivery.
    delivery    bytea       NOT NULL,
    size_bytes  bigint      NOT NULL,
    received_at timestamptz NOT NULL,
    -- Set while a redrive is on its way; cleared when the delivery fails again.
    redrive_id  uuid,
    PRIMARY KEY (tenant, delivery_id)
);
CREATE INDEX quarantine_newest ON quarantine (tenant, received_at DESC, delivery_id DESC);
SELECT isolate_tenants('quarantine');

-- Interactions whose files are still with the provider. A timer of kind `media` drives each row.
CREATE TABLE pending_media (
    tenant         text        NOT NULL,
    interaction_id uuid        NOT NULL,
    revision       integer     NOT NULL,
    channel        text        NOT NULL,
    -- The encoded Interaction, without the files.
    interaction    bytea       NOT NULL,
    -- What to fetch: [{"source": …, "sha256": …, …}].
    media          jsonb       NOT NULL,
    trace          text,
    attempts       integer     NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL,
    PRIMARY KEY (tenant, interaction_id, revision)
);
SELECT isolate_tenants('pending_media');

-- One conversation of a visitor with a chat channel.
CREATE TABLE chat_conversations (
    tenant       text        NOT NULL,
    channel      text        NOT NULL,
    visitor      text        NOT NULL,
    last_seq     bigint      NOT NULL,
    -- How far the browser has received and read what we sent.
    received_seq bigint      NOT NULL DEFAULT 0,
    read_seq     bigint      NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (tenant, channel, visitor)
);
SELECT isolate_tenants('chat_conversations');

-- Its lines. Of a line from the visitor only the position is kept here: its text is in the journal.
CREATE TABLE chat_messages (
    tenant        text        NOT NULL,
    channel       text        NOT NULL,
    visitor       text        NOT NULL,
    seq           bigint      NOT NULL,
    client_msg_id text,
    message_id    text,
    body          text,
    author        text,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (tenant, channel, visitor, seq),
    CHECK ((client_msg_id IS NULL) <> (message_id IS NULL))
);
CREATE UNIQUE INDEX chat_messages_from_client ON chat_messages (tenant, channel, visitor, client_msg_id) WHERE client_msg_id IS NOT NULL;
CREATE UNIQUE INDEX chat_messages_from_us ON chat_messages (tenant, channel, visitor, message_id) WHERE message_id IS NOT NULL;
SELECT isolate_tenants('chat_messages');
