-- Records of customers who are known by their handle, and say nothing new of them: seen again, and remembered. One call, and one
-- transaction: what it rests on was read before, so that it looks whether that still holds, and writes nothing when it does not ('TR001').
-- Each statement sees what was committed before it, so that nobody who was forgotten while this waited is written of.
CREATE FUNCTION note_known(whose text, hashes bytea[], kinds text[], handle_values text[], owners uuid[], seen_at timestamptz[],
    ids uuid[], members uuid[], sources text[], evidences bigint[], saids bytea[], noted_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    one record;
    written bigint;
BEGIN
    -- Decisions, held together with all others who decide.
    PERFORM pg_advisory_xact_lock_shared(hashtextextended(whose, 23));
    PERFORM FROM unnest(hashes) AS h (hash)
        CROSS JOIN LATERAL (SELECT FROM erased_handles e WHERE e.tenant = whose AND e.hash = h.hash LIMIT 1) e;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'TR001', MESSAGE = 'somebody with this address was erased';
    END IF;
    -- In the order in which everybody who writes several handles takes them.
    FOR one IN
        SELECT kind, value, owner, seen FROM unnest(kinds, handle_values, owners, seen_at) AS s (kind, value, owner, seen) ORDER BY 1, 2
    LOOP
        UPDATE handles SET last_seen_at = GREATEST(last_seen_at, one.seen)
        WHERE tenant = whose AND kind = one.kind AND value = one.value AND customer_id = one.owner;
        IF NOT FOUND THEN
            RAISE EXCEPTION USING ERRCODE = 'TR001', MESSAGE = 'a handle is somebody else''s by now';
        END IF;
    END LOOP;
    INSERT INTO observations (tenant, observation_id, customer_id, source, evidence, said, first_at, last_at)
    SELECT whose, o.id, o.member, o.source, o.evidence, o.said, noted_at, noted_at
    FROM unnest(ids, members, sources, evidences, saids) AS o (id, member, source, evidence, said)
    CROSS JOIN LATERAL (SELECT FROM customers WHERE tenant = whose AND customer_id = o.member LIMIT 1) c
    ORDER BY o.id
    ON CONFLICT (tenant, observation_id) DO UPDATE SET said = excluded.said, last_at = excluded.last_at;
    GET DIAGNOSTICS written = ROW_COUNT;
    IF written < cardinality(ids) THEN
        RAISE EXCEPTION USING ERRCODE = 'TR001', MESSAGE = 'a customer is there no more';
    END IF;
END $$;
