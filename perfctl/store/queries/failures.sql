-- Every invocation that is not ok, and why; the newest first.
SELECT
    started, run_id, benchmark, target, environment, accelerator, block, attempt, status, reason, exit_code, detail,
    invocation_id
FROM v_invocation
WHERE status <> 'ok'
ORDER BY started DESC, invocation_id
