-- Locks customers one after the other, and lets go of all of them as soon as one turns out to be an alias by now: it gives that one
-- back, or NULL when all are held. Whoever waits therefore holds none but customers who are nobody's alias, in the order of their ids;
-- and whoever merges or splits, and so writes the rows of aliases, waits for nobody who waits.
CREATE FUNCTION hold_alone(whose text, wanted uuid[]) RETURNS uuid LANGUAGE plpgsql AS $$
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
    RETURN NULL;
EXCEPTION
    WHEN SQLSTATE 'TR001' THEN
        RETURN SQLERRM::uuid;
END $$;
