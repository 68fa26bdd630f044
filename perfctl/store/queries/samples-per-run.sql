-- How many samples each run has, by metric, with their sum, whether kept as rows or packed.
SELECT
    run_id,
    benchmark,
    metric,
    unit,
    kept_as,
    count(*) AS invocations,
    sum(sample_count) AS samples,
    sum(warmup_count) AS warmups,
    sum(value_sum) AS value_sum
FROM v_value
GROUP BY run_id, benchmark, metric, unit, kept_as
ORDER BY run_id, benchmark, metric
