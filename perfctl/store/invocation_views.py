"""The views of invocations and of what they measured: `perfctl.store.views` has all."""

from __future__ import annotations

from sqlalchemy import FromClause, Join, and_, case, cast, func, literal, select, true, union_all

from perfctl.model import USAGE_METRICS
from perfctl.store import tables as db
from perfctl.store.dialect import NUMBER, json_items, json_value, utc_text
from perfctl.store.run_views import columns_of, v_block, view_of
from perfctl.store.schema import OUTPUTS

peer = db.host.alias("peer")
duration_s = cast(db.invocation.c.host_ended_ns - db.invocation.c.host_started_ns, NUMBER) / 1e9

_COUNTS = (
    select(v_block.c.attempt_counts)
    .where(v_block.c.block_id == db.block.c.block_id)
    .scalar_subquery()
    .label("attempt_counts")
)
_ATTEMPT = (
    db.block.c.block_index.label("block"),
    db.block.c.attempt,
    db.block.c.status.label("block_status"),
    _COUNTS,
)
_PLACE = (
    db.block.c.target,
    db.host.c.name.label("host"),
    peer.c.name.label("peer"),
    db.environment.c.name.label("environment"),
    db.invocation.c.accelerator,
)
_METRIC = (
    db.invocation.c.invocation_id,
    db.block.c.run_id,
    db.run.c.suite,
    db.block.c.benchmark,
    *_PLACE,
    *_ATTEMPT,
    *columns_of(db.invocation, "replicate status validity"),
    db.metric.c.name.label("metric"),
    *columns_of(db.metric, "unit direction"),
)


def _with_block(invocations: FromClause) -> Join:
    """Return invocations with the block and run that they belong to, and where they ran."""
    return (
        invocations.join(db.block, db.block.c.block_id == db.invocation.c.block_id)
        .join(db.run, db.run.c.run_id == db.block.c.run_id)
        .join(db.environment, db.environment.c.environment_id == db.invocation.c.environment_id)
        .join(db.host, db.host.c.host_id == db.block.c.host_id)
        .outerjoin(peer, peer.c.host_id == db.block.c.peer_id)
    )


v_invocation = view_of(
    "v_invocation",
    select(
        db.invocation.c.invocation_id,
        db.block.c.run_id,
        db.run.c.suite,
        db.block.c.benchmark,
        db.benchmark.c.workload,
        *_PLACE,
        *columns_of(db.invocation, "vcpus boot_attempts"),
        *_ATTEMPT,
        *columns_of(db.invocation, "replicate position status reason validity detail exit_code"),
        utc_text(db.invocation.c.started_at).label("started"),
        duration_s.label("duration_s"),
        *(db.invocation.c[metric.name] for metric in USAGE_METRICS),
        *columns_of(db.invocation, "usage_source usage_missing argv_json"),
        *columns_of(db.invocation, "stdout_sha256 stderr_sha256 fingerprint_id"),
    ).select_from(
        _with_block(db.invocation).join(db.benchmark, db.benchmark.c.benchmark_id == db.block.c.benchmark_id)
    ),
)

_findings = json_items(db.invocation.c.validity_json, "findings").table_valued("value", name="finding")
_finding = _findings.c.value
v_finding = view_of(
    "v_finding",
    select(
        db.block.c.run_id,
        db.invocation.c.invocation_id,
        db.block.c.benchmark,
        db.block.c.target,
        db.environment.c.name.label("environment"),
        *_ATTEMPT,
        db.invocation.c.replicate,
        db.invocation.c.validity,
        json_value(_finding, "rule").label("rule"),
        json_value(_finding, "severity").label("severity"),
        func.nullif(json_value(_finding, "metric"), "").label("metric"),
        json_value(_finding, "seen", NUMBER).label("seen"),
        json_value(_finding, "limit", NUMBER).label("threshold"),
        json_value(_finding, "unit").label("unit"),
        json_value(_finding, "sentence").label("sentence"),
    ).select_from(
        db.invocation.join(db.block)
        .join(db.environment, db.environment.c.environment_id == db.invocation.c.environment_id)
        .join(_findings, true())
    ),
)

v_value = view_of(
    "v_value",
    select(
        *_METRIC,
        db.metric.c.is_headline,
        *columns_of(db.invocation_metric, "value sample_count warmup_count value_sum minimum maximum"),
        case((db.series.c.packed.is_(None), "rows"), else_="packed").label("kept_as"),
    ).select_from(
        _with_block(db.invocation_metric.join(db.invocation).join(db.metric)).outerjoin(
            db.series,
            and_(
                db.series.c.invocation_pk == db.invocation_metric.c.invocation_pk,
                db.series.c.metric_pk == db.invocation_metric.c.metric_pk,
            ),
        )
    ),
)

v_sample = view_of(
    "v_sample",
    select(*_METRIC, db.sample.c.sample_index, db.sample.c.is_warmup, db.sample.c.value).select_from(
        _with_block(db.sample.join(db.invocation).join(db.metric))
    ),
)

_kept = union_all(
    select(*columns_of(db.invocation_artifact, "invocation_pk name sha256")),
    *(
        select(db.invocation.c.invocation_pk, literal(name), sha256).where(sha256.is_not(None))
        for name, sha256 in ((name, db.invocation.c[f"{name}_sha256"]) for name in OUTPUTS)
    ),
).subquery("kept")
v_artifact = view_of(
    "v_artifact",
    select(
        db.block.c.run_id,
        db.invocation.c.invocation_id,
        _kept.c.name,
        func.coalesce(db.artifact.c.size_bytes, 0).label("size_bytes"),
        _kept.c.sha256,
    ).select_from(
        _kept.join(db.invocation, db.invocation.c.invocation_pk == _kept.c.invocation_pk)
        .join(db.block)
        .outerjoin(db.artifact, db.artifact.c.sha256 == _kept.c.sha256)
    ),
)
