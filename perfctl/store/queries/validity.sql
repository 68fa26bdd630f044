-- How many invocations of each environment count, and which rules the others crossed most.
SELECT
    run_id, benchmark, environment,
    count(*) FILTER (WHERE validity = 'valid') AS valid,
    count(*) FILTER (WHERE validity = 'flagged') AS flagged,
    count(*) FILTER (WHERE validity = 'invalid') AS invalid,
    count(*) FILTER (WHERE validity IS NULL) AS not_judged,
    (
        SELECT string_agg(rule || ' ' || times, ', ') FROM (
            SELECT rule, count(DISTINCT invocation_id) AS times FROM v_finding
            WHERE v_finding.run_id = v_invocation.run_id AND v_finding.benchmark = v_invocation.benchmark
                AND v_finding.environment = v_invocation.environment
            GROUP BY rule ORDER BY times DESC, rule
        ) AS crossed
    ) AS rules
FROM v_invocation
WHERE status = 'ok'
GROUP BY run_id, benchmark, environment
ORDER BY run_id DESC, benchmark, environment
