-- The customer's last word on a case, and whether proofs of the customer may not hold for whoever spoke it (ADR 30).
ALTER TABLE cases
    ADD COLUMN last_word_id uuid,
    ADD COLUMN in_doubt boolean NOT NULL DEFAULT false;
