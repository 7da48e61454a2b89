-- For whom a proof holds: see docs/adr/0030-for-whom-a-proof-holds.md.

-- Nothing but a claim, a shared handle or likeness led to the customer: no proof of theirs holds for the interaction.
ALTER TABLE interaction_owner ADD COLUMN weak boolean NOT NULL DEFAULT false;
-- In which interaction a code was asked for: the proof holds for whoever spoke there.
ALTER TABLE challenges ADD COLUMN interaction_id uuid;
ALTER TABLE verifications ADD COLUMN interaction_id uuid;
-- The handles, as evidence, without which what handles joined would not have been joined.
ALTER TABLE merges ADD COLUMN rests_on bigint[];
