-- The twenty invocations that ran longest.
SELECT duration_s, run_id, benchmark, target, environment, block, replicate, status
FROM v_invocation
WHERE duration_s IS NOT NULL
ORDER BY duration_s DESC, invocation_id
LIMIT 20
