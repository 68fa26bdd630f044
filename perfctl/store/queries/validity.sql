-- How many invocations of each environment count, and which rules the others crossed most.
SELECT
    run_id, benchmark, environment,
    sum(validity IS 'valid') AS valid,
    sum(validity IS 'flagged') AS flagged,
    sum(validity IS 'invalid') AS invalid,
    sum(validity IS NULL) AS not_judged,
    (
        SELECT group_concat(rule || ' ' || times, ', ') FROM (
            SELECT rule, count(DISTINCT invocation_id) AS times FROM v_finding
            WHERE v_finding.run_id = v_invocation.run_id AND v_finding.benchmark = v_invocation.benchmark
                AND v_finding.environment = v_invocation.environment
            GROUP BY rule ORDER BY times DESC, rule
        )
    ) AS rules
FROM v_invocation
WHERE status = 'ok'
GROUP BY run_id, benchmark, environment
ORDER BY run_id DESC, benchmark, environment
