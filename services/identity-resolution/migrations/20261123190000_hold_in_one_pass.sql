-- What a batch of records holds: customers, so that nobody merges or splits them meanwhile, and what is said under ids that it writes.
-- Each row is locked once, as strongly as it is needed in the end: raising a lock waits behind whoever has queued for the row since.
-- Customers come first, in the order of their ids; then aliases (`leads_to`), whose rows nobody writes but who holds the customer they
-- lead to, so that they are looked at before they are locked. A row that is to be written has a `version`. At the first row that is not as it was read
-- the answer is false: whoever waited on from there would hold an alias. What is locked by then stays so, without a subtransaction:
-- it would leave a multixact behind for each row that is written afterwards.
CREATE FUNCTION hold_weakly(tenants text[], wanted uuid[], leads_to uuid[], versions integer[]) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    root uuid;
    is_at integer;
BEGIN
    FOR place IN 1 .. cardinality(wanted) LOOP
        IF leads_to[place] IS NOT NULL THEN
            SELECT merged_into INTO root FROM customers WHERE tenant = tenants[place] AND customer_id = wanted[place];
            IF root IS DISTINCT FROM leads_to[place] THEN
                RETURN false;
            END IF;
        END IF;
        IF versions[place] IS NULL THEN
            SELECT merged_into, version INTO root, is_at FROM customers
            WHERE tenant = tenants[place] AND customer_id = wanted[place] FOR KEY SHARE;
        ELSE
            SELECT merged_into, version INTO root, is_at FROM customers
            WHERE tenant = tenants[place] AND customer_id = wanted[place] FOR NO KEY UPDATE;
        END IF;
        IF NOT FOUND OR root IS DISTINCT FROM leads_to[place] OR is_at <> versions[place] THEN
            RETURN false;
        END IF;
    END LOOP;
    RETURN true;
END $$;
