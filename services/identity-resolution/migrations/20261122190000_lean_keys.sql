-- What a new customer costs is, for the most part, the rows of their two dozen keys: each of them was found by two indexes.
-- They are looked for by key only. Which keys somebody has is asked when they are taken apart or erased: one row says it.

CREATE TABLE keys_of (
    tenant      text     NOT NULL,
    customer_id uuid     NOT NULL,
    keys        bigint[] NOT NULL,
    PRIMARY KEY (customer_id, tenant)
);
SELECT isolate_tenants('keys_of');
INSERT INTO keys_of (tenant, customer_id, keys)
SELECT tenant, customer_id, array_agg(key) FROM block_keys GROUP BY tenant, customer_id;

-- The key first: numbers are compared faster than names of tenants, and differ sooner.
ALTER TABLE block_keys DROP CONSTRAINT block_keys_pkey, ADD PRIMARY KEY (key, tenant, customer_id);
DROP INDEX block_keys_customer;
-- Found from the index alone, where the pages are known to be seen by all: tables that only grow are seldom looked through.
ALTER TABLE block_keys SET (autovacuum_vacuum_insert_scale_factor = 0.01);

-- The words of all names of a statement at once: row by row they cost more than all else of a new customer.
CREATE FUNCTION keep_words_of_new() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO name_words (tenant, word, customer_id)
    SELECT DISTINCT n.tenant, left(word, 64), n.customer_id
    FROM new_rows n CROSS JOIN LATERAL regexp_split_to_table(lower(n.display_name), '[^[:alnum:]]+') AS word
    WHERE n.display_name <> '' AND word <> ''
    ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
DROP TRIGGER customers_named ON customers;
CREATE TRIGGER customers_named AFTER INSERT ON customers REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION keep_words_of_new();

-- What a transaction changes in the frequencies of values, in one row: most of them are about one customer's dozen values.
CREATE TABLE value_batches (
    tenant text      NOT NULL,
    valued bigint[]  NOT NULL,
    deltas integer[] NOT NULL
);
CREATE INDEX value_batches_tenant ON value_batches (tenant);
SELECT isolate_tenants('value_batches');
