-- Whose is what, when a merge of customers is undone.

-- The customer's word it answers: after a split it is whose word that is.
ALTER TABLE messages ADD COLUMN interaction_id uuid;
-- A merge was undone while it waited, and nothing says for whom of the two it was asked: it does not leave.
ALTER TABLE messages ADD COLUMN undecided boolean NOT NULL DEFAULT false;
CREATE INDEX messages_interaction ON messages (tenant, interaction_id) WHERE interaction_id IS NOT NULL;

-- Of merges that were undone, for what was asked before and comes after.
ALTER TABLE customer_merges
    -- Who held both when they were parted: the survivor, or who they had become part of.
    ADD COLUMN holder_id             uuid,
    ADD COLUMN restored_interactions uuid[] NOT NULL DEFAULT '{}',
    ADD COLUMN merged_at             timestamptz,
    ADD COLUMN split_at              timestamptz;
CREATE INDEX customer_merges_undone ON customer_merges (tenant, survivor_id) WHERE undone;
CREATE INDEX customer_merges_held ON customer_merges (tenant, holder_id) WHERE undone;
