-- Whoever waits for a customer may wait for somebody who takes one of their ids away: it is not them then who must be held. With all
-- locks there the ids that led to them are looked at once more, and as with an alias all are let go of when one leads elsewhere.
CREATE FUNCTION hold_alone(whose text, wanted uuid[], ids uuid[]) RETURNS uuid LANGUAGE plpgsql AS $$
DECLARE
    one uuid;
    root uuid;
BEGIN
    FOREACH one IN ARRAY wanted LOOP
        SELECT merged_into INTO root FROM customers WHERE tenant = whose AND customer_id = one FOR UPDATE;
        IF root IS NOT NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'TR001', MESSAGE = one::text;
        END IF;
    END LOOP;
    FOREACH one IN ARRAY ids LOOP
        SELECT COALESCE(merged_into, one) INTO root FROM customers WHERE tenant = whose AND customer_id = one;
        IF root <> ALL (wanted) THEN
            RAISE EXCEPTION USING ERRCODE = 'TR001', MESSAGE = one::text;
        END IF;
    END LOOP;
    RETURN NULL;
EXCEPTION
    WHEN SQLSTATE 'TR001' THEN
        RETURN SQLERRM::uuid;
END $$;

-- Replicas of the version before ask without ids, until they are replaced.
CREATE OR REPLACE FUNCTION hold_alone(whose text, wanted uuid[]) RETURNS uuid LANGUAGE sql AS $$
    SELECT hold_alone(whose, wanted, '{}')
$$;
