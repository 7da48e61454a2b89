-- Whoever was weighed against everybody when they came needs no second look, but for those who came at the same moment: both
-- sides of such a pair are in the queue at the same time, and this is how they find each other without asking the index again.

ALTER TABLE reevaluations
    -- The lower halves of the keys by which they are found since; NULL: look at them in any case.
    ADD COLUMN keys        bytea,
    -- The transaction that queued them, and the first whose rows it may not have seen.
    ADD COLUMN batch       bigint,
    ADD COLUMN complete_to bigint;
