-- Keys by which a tenant's texts are sealed, one for each month: wrapped by a key that is not in this database.
CREATE TABLE data_keys (
    tenant     text        NOT NULL,
    key_id     uuid        NOT NULL,
    month      date        NOT NULL,
    wrapped    bytea       NOT NULL,
    wrapped_by text        NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, key_id),
    UNIQUE (tenant, month)
);
SELECT isolate_tenants('data_keys');

-- How far the columns of before are walked whose clear values are to be sealed.
CREATE TABLE sealing_walks (
    table_name  text        NOT NULL,
    column_name text        NOT NULL,
    -- Whose values are sealed; nobody named: everybody's.
    tenants     text[]      NOT NULL,
    first_at    timestamptz NOT NULL,
    began_at    timestamptz,
    -- Clear values that this walk has met.
    found       bigint      NOT NULL DEFAULT 0,
    -- Tenant and key of the last row.
    after       text[]      NOT NULL DEFAULT '{}',
    done        boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (table_name, column_name)
);

-- Ids that a sealed response names: by them erasure finds it.
ALTER TABLE requests ADD COLUMN about uuid[] NOT NULL DEFAULT '{}';
