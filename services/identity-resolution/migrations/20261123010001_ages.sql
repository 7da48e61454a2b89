-- How far the walks are that look for what is too old, where an index by age would cost whoever writes.
CREATE TABLE age_walks (
    tenant  text NOT NULL,
    records text NOT NULL,
    after   uuid NOT NULL,
    PRIMARY KEY (tenant, records)
);
SELECT isolate_tenants('age_walks');

CREATE INDEX verification_log_age ON verification_log (tenant, at);
