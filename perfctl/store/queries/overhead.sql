-- Median over blocks of environment / baseline (A1), per run, benchmark, target, metric and accelerator.
-- Headline metrics only, or all with --all-metrics. Emulated guests (tcg) are marked: their ratio is not an overhead.
-- It has no confidence intervals: use `perfctl compare` for those.
SELECT
    run.run_id,
    run.suite,
    leg.benchmark,
    leg.target,
    leg.metric,
    leg.unit,
    leg.direction,
    leg.environment,
    coalesce(leg.accelerator, base.accelerator) AS accelerator,
    CASE
        WHEN 'tcg' IN (coalesce(leg.accelerator, ''), coalesce(base.accelerator, ''))
        THEN 'emulated: not an overhead figure'
    END AS remark,
    count(*) AS blocks,
    median(base.value) AS baseline_value,
    median(leg.value) AS value,
    median(leg.value / base.value) AS ratio
FROM v_run AS run
JOIN v_value AS base
    ON base.run_id = run.run_id AND base.environment = run.baseline AND base.replicate = 1
JOIN v_value AS leg
    ON leg.run_id = base.run_id
    AND leg.benchmark = base.benchmark
    AND leg.target = base.target
    AND leg.block = base.block
    AND leg.attempt = base.attempt
    AND leg.metric = base.metric
    AND leg.unit = base.unit
WHERE base.attempt_counts
    AND base.status = 'ok'
    AND leg.status = 'ok'
    AND base.validity IS DISTINCT FROM 'invalid'
    AND leg.validity IS DISTINCT FROM 'invalid'
    AND base.value > 0
    AND leg.environment <> run.baseline
    AND (leg.is_headline OR :all_metrics)
    AND coalesce(leg.accelerator = base.accelerator, TRUE)
GROUP BY
    run.run_id, run.suite, run.started, leg.direction, leg.benchmark, leg.target, leg.metric, leg.unit, leg.environment,
    leg.accelerator, base.accelerator
ORDER BY run.started, leg.benchmark, leg.target, leg.metric, leg.environment, leg.accelerator, base.accelerator
