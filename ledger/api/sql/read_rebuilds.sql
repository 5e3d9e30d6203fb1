-- The versions of projections that are being built, how many events of how many are
-- folded into each, and whether a process is at it: whether somebody has the lock that
-- lock_rebuild takes, whose two keys pg_locks shows without their signs.
SELECT r.name, r.version, r.phase,
    CASE WHEN r.phase = 'filling' THEN coalesce(sum(s.events), 0)::bigint ELSE r.frontier END,
    r.frontier, extract(epoch FROM clock_timestamp() - r.started_at)::float8,
    EXISTS (
        SELECT FROM pg_locks AS l
        JOIN pg_database AS d ON d.oid = l.database AND d.datname = current_database()
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 2
            AND l.classid = (hashtext('consent-ledger rebuild')::bigint & 4294967295)::oid
            AND l.objid = (hashtext(r.name)::bigint & 4294967295)::oid
    )
FROM rebuilds AS r LEFT JOIN rebuilt_slices AS s ON s.name = r.name
GROUP BY r.name ORDER BY r.name
