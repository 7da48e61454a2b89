-- What was confirmed through an address goes where the address goes: when who was one is two again, the person who has it keeps what
-- they agreed to, and nobody else does. The evidence of a handle (64 bits of its hash); NULL where nobody knows, or where it was said of
-- all who were one.
ALTER TABLE consents ADD COLUMN through bigint;
ALTER TABLE consent_confirmations ADD COLUMN through bigint;
-- What was said is never changed; only under whom it is kept.
DROP TRIGGER consents_append_only ON consents;
CREATE TRIGGER consents_append_only
    BEFORE UPDATE OF tenant, consent_id, channel_kind, purpose, brand, status, evidence, recorded_by, recorded_at, expires_at, through
    ON consents FOR EACH STATEMENT EXECUTE FUNCTION never_changes();
