-- The baseline's first replicate in every block, in time order: whether the machine itself changes during a run.
SELECT run.run_id, base.benchmark, base.target, base.accelerator, base.metric, base.unit, base.block, base.value
FROM v_run AS run
JOIN v_value AS base ON base.run_id = run.run_id AND base.environment = run.baseline
WHERE base.replicate = 1 AND base.status = 'ok' AND base.attempt_counts
ORDER BY run.started, base.benchmark, base.target, base.metric, base.block
