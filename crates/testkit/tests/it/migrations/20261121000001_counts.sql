CREATE TABLE counts (tenant text NOT NULL, key text NOT NULL, n integer NOT NULL, PRIMARY KEY (tenant, key));
SELECT isolate_tenants('counts');
