-- A position that no number updated before a time has, and every number updated at it
-- or later has or exceeds. Times of recording never decrease with position, so it is
-- found by halving a range of positions: some twenty look-ups in the index of positions
-- that lists need anyway, and no index of times.
-- $1 updated since timestamptz
WITH RECURSIVE halves (low, high) AS (
    -- Every number below low was updated before; none from high on was.
    SELECT 0::bigint, coalesce(max(newest.position) + 1, 0)
    FROM (VALUES ('in'), ('out'), ('unknown')) AS known (status),
    LATERAL (
        SELECT n.position FROM phone_numbers_v1 AS n
        WHERE n.status = known.status ORDER BY n.position DESC LIMIT 1
    ) AS newest
    UNION ALL
    SELECT
        CASE WHEN found.updated_at < $1::timestamptz THEN found.position + 1 ELSE h.low END,
        CASE WHEN found.updated_at < $1 THEN h.high ELSE (h.low + h.high) / 2 END
    FROM halves AS h,
    LATERAL (
        SELECT n.position, n.updated_at
        FROM (VALUES ('in'), ('out'), ('unknown')) AS known (status),
        LATERAL (
            SELECT p.position, p.updated_at FROM phone_numbers_v1 AS p
            WHERE p.status = known.status AND p.position >= (h.low + h.high) / 2
            ORDER BY p.position LIMIT 1
        ) AS n
        ORDER BY n.position LIMIT 1
    ) AS found
    WHERE h.low < h.high
)
SELECT low FROM halves WHERE low = high
