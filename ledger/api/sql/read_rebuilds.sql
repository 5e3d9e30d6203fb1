-- The versions of projections that are being built, and how many events of how many are
-- folded into each.
SELECT r.name, r.version, r.phase,
    CASE WHEN r.phase = 'filling' THEN coalesce(sum(s.events), 0)::bigint ELSE r.frontier END,
    r.frontier, extract(epoch FROM clock_timestamp() - r.started_at)::float8
FROM rebuilds AS r LEFT JOIN rebuilt_slices AS s ON s.name = r.name
GROUP BY r.name ORDER BY r.name
