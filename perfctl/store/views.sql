-- The views that users' queries may rely on. docs/database.md describes every column; a test compares the two.

CREATE VIEW v_run AS
SELECT
    run.run_id,
    run.suite,
    run.status,
    run.baseline,
    run.seed,
    strftime('%Y-%m-%dT%H:%M:%SZ', run.started_at, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%SZ', run.ended_at, 'unixepoch') AS ended,
    run.ended_at - run.started_at AS duration_s,
    (SELECT count(*) FROM run_host WHERE run_host.run_id = run.run_id) AS hosts,
    run.planned_invocations,
    coalesce(tally.invocations, 0) AS invocations,
    coalesce(tally.ok, 0) AS ok,
    coalesce(tally.failed, 0) AS failed,
    coalesce(tally.skipped, 0) AS skipped,
    coalesce(tally.interrupted, 0) AS interrupted,
    run.perfctl_version
FROM run
LEFT JOIN (
    SELECT
        block.run_id,
        count(*) AS invocations,
        sum(invocation.status = 'ok') AS ok,
        sum(invocation.status = 'failed') AS failed,
        sum(invocation.status = 'skipped') AS skipped,
        sum(invocation.status = 'interrupted') AS interrupted
    FROM block
    JOIN invocation ON invocation.block_id = block.block_id
    GROUP BY block.run_id
) AS tally ON tally.run_id = run.run_id;

-- The one place that says which attempt at a block counts.
CREATE VIEW v_block AS
SELECT
    block.block_id,
    block.run_id,
    block.benchmark,
    block.target,
    block.block_index AS block,
    block.attempt,
    block.status,
    block.status <> 'running' AND NOT EXISTS (
        SELECT 1 FROM block AS other
        WHERE other.run_id = block.run_id AND other.benchmark = block.benchmark
            AND other.target = block.target AND other.block_index = block.block_index
            AND other.status <> 'running'
            AND (other.status = 'complete', other.attempt) > (block.status = 'complete', block.attempt)
    ) AS attempt_counts,
    strftime('%Y-%m-%dT%H:%M:%SZ', block.started_at, 'unixepoch') AS started,
    strftime('%Y-%m-%dT%H:%M:%SZ', block.ended_at, 'unixepoch') AS ended
FROM block;

CREATE VIEW v_invocation AS
SELECT
    invocation.invocation_id,
    block.run_id,
    run.suite,
    block.benchmark,
    benchmark.workload,
    block.target,
    host.name AS host,
    peer.name AS peer,
    environment.name AS environment,
    invocation.accelerator,
    invocation.vcpus,
    invocation.boot_attempts,
    block.block_index AS block,
    block.attempt,
    block.status AS block_status,
    (SELECT attempt_counts FROM v_block WHERE v_block.block_id = block.block_id) AS attempt_counts,
    invocation.replicate,
    invocation.position,
    invocation.status,
    invocation.reason,
    invocation.validity,
    invocation.detail,
    invocation.exit_code,
    strftime('%Y-%m-%dT%H:%M:%SZ', invocation.started_at, 'unixepoch') AS started,
    (invocation.host_ended_ns - invocation.host_started_ns) / 1e9 AS duration_s,
    invocation.user_s,
    invocation.system_s,
    invocation.max_rss_bytes,
    invocation.minor_faults,
    invocation.major_faults,
    invocation.voluntary_switches,
    invocation.involuntary_switches,
    invocation.usage_source,
    invocation.usage_missing,
    invocation.argv_json,
    invocation.stdout_sha256,
    invocation.stderr_sha256,
    invocation.fingerprint_id
FROM invocation
JOIN block ON block.block_id = invocation.block_id
JOIN run ON run.run_id = block.run_id
JOIN benchmark ON benchmark.benchmark_id = block.benchmark_id
JOIN environment ON environment.environment_id = invocation.environment_id
JOIN host ON host.host_id = block.host_id
LEFT JOIN host AS peer ON peer.host_id = block.peer_id;

CREATE VIEW v_finding AS
SELECT
    block.run_id,
    invocation.invocation_id,
    block.benchmark,
    block.target,
    environment.name AS environment,
    block.block_index AS block,
    block.attempt,
    block.status AS block_status,
    (SELECT attempt_counts FROM v_block WHERE v_block.block_id = block.block_id) AS attempt_counts,
    invocation.replicate,
    invocation.validity,
    json_extract(finding.value, '$.rule') AS rule,
    json_extract(finding.value, '$.severity') AS severity,
    nullif(json_extract(finding.value, '$.metric'), '') AS metric,
    json_extract(finding.value, '$.seen') AS seen,
    json_extract(finding.value, '$.limit') AS threshold,
    json_extract(finding.value, '$.unit') AS unit,
    json_extract(finding.value, '$.sentence') AS sentence
FROM invocation
JOIN block ON block.block_id = invocation.block_id
JOIN environment ON environment.environment_id = invocation.environment_id
JOIN json_each(invocation.validity_json, '$.findings') AS finding;

CREATE VIEW v_value AS
SELECT
    invocation.invocation_id,
    block.run_id,
    run.suite,
    block.benchmark,
    block.target,
    host.name AS host,
    peer.name AS peer,
    environment.name AS environment,
    invocation.accelerator,
    block.block_index AS block,
    block.attempt,
    block.status AS block_status,
    (SELECT attempt_counts FROM v_block WHERE v_block.block_id = block.block_id) AS attempt_counts,
    invocation.replicate,
    invocation.status,
    invocation.validity,
    metric.name AS metric,
    metric.unit,
    metric.direction,
    metric.is_headline,
    invocation_metric.value,
    invocation_metric.sample_count,
    invocation_metric.warmup_count,
    invocation_metric.value_sum,
    invocation_metric.minimum,
    invocation_metric.maximum,
    CASE WHEN series.packed IS NULL THEN 'rows' ELSE 'packed' END AS kept_as
FROM invocation_metric
JOIN invocation ON invocation.invocation_pk = invocation_metric.invocation_pk
JOIN metric ON metric.metric_pk = invocation_metric.metric_pk
JOIN block ON block.block_id = invocation.block_id
JOIN run ON run.run_id = block.run_id
JOIN host ON host.host_id = block.host_id
LEFT JOIN host AS peer ON peer.host_id = block.peer_id
JOIN environment ON environment.environment_id = invocation.environment_id
LEFT JOIN series
    ON series.invocation_pk = invocation_metric.invocation_pk
    AND series.metric_pk = invocation_metric.metric_pk;

CREATE VIEW v_sample AS
SELECT
    invocation.invocation_id,
    block.run_id,
    run.suite,
    block.benchmark,
    block.target,
    host.name AS host,
    peer.name AS peer,
    environment.name AS environment,
    invocation.accelerator,
    block.block_index AS block,
    block.attempt,
    block.status AS block_status,
    (SELECT attempt_counts FROM v_block WHERE v_block.block_id = block.block_id) AS attempt_counts,
    invocation.replicate,
    invocation.status,
    invocation.validity,
    metric.name AS metric,
    metric.unit,
    metric.direction,
    sample.sample_index,
    sample.is_warmup,
    sample.value
FROM sample
JOIN invocation ON invocation.invocation_pk = sample.invocation_pk
JOIN metric ON metric.metric_pk = sample.metric_pk
JOIN block ON block.block_id = invocation.block_id
JOIN run ON run.run_id = block.run_id
JOIN host ON host.host_id = block.host_id
LEFT JOIN host AS peer ON peer.host_id = block.peer_id
JOIN environment ON environment.environment_id = invocation.environment_id;

CREATE VIEW v_artifact AS
SELECT
    block.run_id,
    invocation.invocation_id,
    kept.name,
    coalesce(artifact.size_bytes, 0) AS size_bytes,
    kept.sha256
FROM (
    SELECT invocation_pk, name, sha256 FROM invocation_artifact
    UNION ALL
    SELECT invocation_pk, 'stdout', stdout_sha256 FROM invocation WHERE stdout_sha256 IS NOT NULL
    UNION ALL
    SELECT invocation_pk, 'stderr', stderr_sha256 FROM invocation WHERE stderr_sha256 IS NOT NULL
    UNION ALL
    SELECT invocation_pk, 'counters_before', counters_before_sha256 FROM invocation
    WHERE counters_before_sha256 IS NOT NULL
    UNION ALL
    SELECT invocation_pk, 'counters_after', counters_after_sha256 FROM invocation
    WHERE counters_after_sha256 IS NOT NULL
) AS kept
JOIN invocation ON invocation.invocation_pk = kept.invocation_pk
JOIN block ON block.block_id = invocation.block_id
LEFT JOIN artifact ON artifact.sha256 = kept.sha256;
