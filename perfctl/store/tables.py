"""The schema, as SQLAlchemy's typed tables: databases are made from it, migrations are checked against it.

    run ──< run_host, run_environment, run_benchmark      what the plan has
     │──< host_snapshot, environment_snapshot >── fingerprint ──< workload_version
     │──< event, shard, tombstone
     └──< block ──< invocation ──< sample, series         what was measured
                        │  └─────< invocation_metric      derived: one row per invocation and metric
                        ├──> artifact                     raw output
                        └──< invocation_artifact >── artifact     what else is kept, by name

Keys are UUIDv7 (what happens once) or content hashes (what is the same everywhere). `invocation` and `metric`
also have a small integer, used only inside one database, because a million samples refer to them.

SQLAlchemy takes a quarter of a second to import: only what opens a database imports this module.
"""

from __future__ import annotations

from typing import Any, TypeVar

from sqlalchemy import (
    TEXT,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Named,
    Table,
    TypedColumns,
    UniqueConstraint,
    false,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateColumn, SchemaItem
from sqlalchemy.sql.compiler import DDLCompiler
from sqlalchemy.types import INTEGER, REAL, TypeEngine

from perfctl.model import USAGE_METRICS
from perfctl.store.schema import (
    ACCELERATORS,
    BLOCK_STATUSES,
    INVOCATION_STATUSES,
    OUTPUTS,
    PRUNED,
    RUN_STATUSES,
    SHARD_STATUSES,
    USAGE_SOURCES,
    VALIDITIES,
)

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

INTEGERS = BigInteger().with_variant(INTEGER(), "sqlite")
_TYPES: dict[type, TypeEngine[Any]] = {
    str: TEXT().with_variant(TEXT(collation="C"), "postgresql"),
    int: INTEGERS,
    float: Double().with_variant(REAL(), "sqlite"),
    bytes: LargeBinary(),
    bool: Boolean().with_variant(INTEGER(), "sqlite"),
}
"""SQLite's strict tables know five types and have no truth values: 0 and 1 stand for them. Texts are sorted
by their bytes, as SQLite does."""

Columns = TypeVar("Columns", bound=TypedColumns)


def _table(name: str, columns: type[Columns], *parts: SchemaItem, has_rowid: bool = True) -> Table[Columns]:
    """Return a table; all are STRICT in SQLite: a text in a number column is refused, not kept.

    Without `has_rowid` SQLite stores the rows in the order of the primary key.
    """
    options: dict[str, Any] = {"sqlite_strict": True} | ({} if has_rowid else {"sqlite_with_rowid": False})
    table = Table(name, METADATA, columns, *parts, **options)
    for column in table.columns:
        column.type = _TYPES[column.type.python_type]
    return table


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN {values}", name=column)


class _InOrder(TypedColumns):
    """`rowid` grows with every row: a controller's clock may go back.

    SQLite has it by itself, gives each new row a higher number than all others, and keeps their order when
    it copies a file.
    """

    rowid: Named[int] = Column(Identity())


@compiles(CreateColumn, "sqlite")
def _create_column(create: CreateColumn, compiler: DDLCompiler, **options: Any) -> str | None:
    if create.element.name == "rowid":
        return None
    text: str | None = compiler.visit_create_column(create, **options)  # type: ignore[no-untyped-call]
    return text


class RunColumns(_InOrder):
    """One run of a suite. `thresholds_json` has the limits of the rules that judge it."""

    run_id: Named[str] = Column(primary_key=True)
    suite: Named[str]
    seed: Named[str]
    baseline: Named[str]
    plan_json: Named[str]
    planned_invocations: Named[int]
    command_json: Named[str]
    inventory_json: Named[str]
    perfctl_version: Named[str]
    status: Named[str]
    started_at: Named[float]
    ended_at: Named[float | None]
    thresholds_json: Named[str | None]


run = _table("run", RunColumns, _one_of("status", RUN_STATUSES))


class HostColumns(TypedColumns):
    """A machine as an inventory described it; the key is the hash of all other columns. No secrets.

    `machine` says which one it was: `id:` and what stands for its machine-id, `boot:` and its boot id where
    it has none; NULL until its facts were read. Two machines of one name and address stay two.
    """

    host_id: Named[str] = Column(primary_key=True)
    name: Named[str]
    address: Named[str]
    connection: Named[str]
    port: Named[int]
    user_name: Named[str | None]
    test_address: Named[str | None]
    resource: Named[str | None]
    machine: Named[str | None]


host = _table("host", HostColumns)


class EnvironmentColumns(TypedColumns):
    """Where a benchmark runs; the key is the hash of `fields_json`."""

    environment_id: Named[str] = Column(primary_key=True)
    name: Named[str]
    kind: Named[str]
    description: Named[str]
    fields_json: Named[str]


environment = _table("environment", EnvironmentColumns)


class BenchmarkColumns(TypedColumns):
    """A workload with fixed parameters; the key is the hash of both, and of a user's definition of it."""

    benchmark_id: Named[str] = Column(primary_key=True)
    workload: Named[str]
    parameters_json: Named[str]
    scope: Named[str]
    expected_s: Named[float]
    definition: Named[str | None]


benchmark = _table("benchmark", BenchmarkColumns)


class RunHostColumns(TypedColumns):
    """A host of a run's plan."""

    run_id: Named[str] = Column(ForeignKey("run.run_id"), primary_key=True)
    name: Named[str] = Column(primary_key=True)
    host_id: Named[str] = Column(ForeignKey("host.host_id"))


run_host = _table("run_host", RunHostColumns, has_rowid=False)


class RunEnvironmentColumns(TypedColumns):
    """An environment of a run's plan, by its name there."""

    run_id: Named[str] = Column(ForeignKey("run.run_id"), primary_key=True)
    name: Named[str] = Column(primary_key=True)
    environment_id: Named[str] = Column(ForeignKey("environment.environment_id"))
    position: Named[int]


run_environment = _table("run_environment", RunEnvironmentColumns, has_rowid=False)


class RunBenchmarkColumns(TypedColumns):
    """A benchmark of a run's plan, by its name there."""

    run_id: Named[str] = Column(ForeignKey("run.run_id"), primary_key=True)
    name: Named[str] = Column(primary_key=True)
    benchmark_id: Named[str] = Column(ForeignKey("benchmark.benchmark_id"))
    position: Named[int]


run_benchmark = _table("run_benchmark", RunBenchmarkColumns, has_rowid=False)


class FingerprintColumns(TypedColumns):
    """What was true of a place: static facts as JSON rows [name, state, value]; the key is their hash."""

    fingerprint_id: Named[str] = Column(primary_key=True)
    facts_json: Named[str]


fingerprint = _table("fingerprint", FingerprintColumns)


class WorkloadVersionColumns(TypedColumns):
    """Which build of a program a fingerprint saw (its facts `tool.NAME.version` and `tool.NAME.sha256`)."""

    fingerprint_id: Named[str] = Column(ForeignKey("fingerprint.fingerprint_id"), primary_key=True)
    program: Named[str] = Column(primary_key=True)
    version: Named[str | None]
    sha256: Named[str | None]


workload_version = _table("workload_version", WorkloadVersionColumns, has_rowid=False)


class HostSnapshotColumns(_InOrder):
    """The facts of a host before or after a run. Dynamic facts are here, static ones in the fingerprint."""

    host_snapshot_id: Named[str] = Column(primary_key=True)
    run_id: Named[str] = Column(ForeignKey("run.run_id"))
    host_id: Named[str] = Column(ForeignKey("host.host_id"))
    phase: Named[str]
    fingerprint_id: Named[str] = Column(ForeignKey("fingerprint.fingerprint_id"))
    dynamic_json: Named[str]
    taken_at: Named[float]


host_snapshot = _table(
    "host_snapshot",
    HostSnapshotColumns,
    _one_of("phase", ("before", "after")),
    Index(None, "run_id"),
)


class EnvironmentSnapshotColumns(_InOrder):
    """The facts inside an environment on a host, image digest and engine version among them."""

    environment_snapshot_id: Named[str] = Column(primary_key=True)
    run_id: Named[str] = Column(ForeignKey("run.run_id"))
    host_id: Named[str] = Column(ForeignKey("host.host_id"))
    environment_id: Named[str] = Column(ForeignKey("environment.environment_id"))
    fingerprint_id: Named[str] = Column(ForeignKey("fingerprint.fingerprint_id"))
    dynamic_json: Named[str]
    taken_at: Named[float]


environment_snapshot = _table("environment_snapshot", EnvironmentSnapshotColumns, Index(None, "run_id"))


class MetricColumns(TypedColumns):
    """One quantity of a workload; `metric_id` is the hash of workload, name, unit, direction and headline.
    How it is shown (`description`, `show_difference`) is not part of its identity."""

    metric_pk: Named[int] = Column(primary_key=True)
    metric_id: Named[str]
    workload: Named[str]
    name: Named[str]
    unit: Named[str]
    direction: Named[str]
    is_headline: Named[bool]
    description: Named[str]
    show_difference: Named[bool] = Column(server_default=false())


metric = _table("metric", MetricColumns, UniqueConstraint("metric_id"))


class BlockColumns(_InOrder):
    """Every environment once, for one benchmark on one target; a repeated block is another `attempt`."""

    block_id: Named[str] = Column(primary_key=True)
    run_id: Named[str] = Column(ForeignKey("run.run_id"))
    benchmark: Named[str]
    benchmark_id: Named[str] = Column(ForeignKey("benchmark.benchmark_id"))
    target: Named[str]
    host_id: Named[str] = Column(ForeignKey("host.host_id"))
    peer_id: Named[str | None] = Column(ForeignKey("host.host_id"))
    block_index: Named[int]
    attempt: Named[int]
    order_json: Named[str]
    status: Named[str]
    started_at: Named[float]
    ended_at: Named[float | None]


block = _table(
    "block",
    BlockColumns,
    _one_of("status", BLOCK_STATUSES),
    UniqueConstraint("run_id", "benchmark", "target", "block_index", "attempt"),
)


class ArtifactColumns(TypedColumns):
    """Raw bytes by the sha256 of what they are when unpacked; `content` is zstd, empty once it was pruned."""

    sha256: Named[str] = Column(primary_key=True)
    size_bytes: Named[int]
    content: Named[bytes]


artifact = _table("artifact", ArtifactColumns)


class InvocationColumns(TypedColumns):
    """One invocation. Not `ok` always has a reason. An output of zero bytes has no artifact (NULL).

    `validity` is the verdict by the counters around it (NULL: not judged), `validity_json` what was found,
    which rules could not be judged, and what else the verdict rests on. `accelerator`, `vcpus` and
    `boot_attempts` are of its guest (NULL: there was none, or it did not come up). From `user_s` on it is
    what its command has used (NULL: not known), by which source, and in `usage_missing` why that is so.
    """

    invocation_pk: Named[int] = Column(primary_key=True)
    invocation_id: Named[str]
    block_id: Named[str] = Column(ForeignKey("block.block_id"))
    environment_id: Named[str] = Column(ForeignKey("environment.environment_id"))
    replicate: Named[int]
    position: Named[int]
    status: Named[str]
    reason: Named[str | None]
    detail: Named[str]
    argv_json: Named[str]
    exit_code: Named[int | None]
    started_at: Named[float]
    host_started_ns: Named[int | None]
    host_ended_ns: Named[int | None]
    stdout_sha256: Named[str | None] = Column(ForeignKey("artifact.sha256"))
    stderr_sha256: Named[str | None] = Column(ForeignKey("artifact.sha256"))
    counters_before_sha256: Named[str | None] = Column(ForeignKey("artifact.sha256"))
    counters_after_sha256: Named[str | None] = Column(ForeignKey("artifact.sha256"))
    fingerprint_id: Named[str | None] = Column(ForeignKey("fingerprint.fingerprint_id"))
    accelerator: Named[str | None]
    validity: Named[str | None]
    validity_json: Named[str | None]
    vcpus: Named[int | None]
    boot_attempts: Named[int | None]
    user_s: Named[float | None]
    system_s: Named[float | None]
    max_rss_bytes: Named[int | None]
    minor_faults: Named[int | None]
    major_faults: Named[int | None]
    voluntary_switches: Named[int | None]
    involuntary_switches: Named[int | None]
    usage_source: Named[str | None]
    usage_missing: Named[str | None]
    wall_s: Named[float | None]


invocation = _table(
    "invocation",
    InvocationColumns,
    _one_of("status", INVOCATION_STATUSES),
    CheckConstraint("(status = 'ok') = (reason IS NULL)", name="reason"),
    _one_of("accelerator", ACCELERATORS),
    _one_of("validity", VALIDITIES),
    CheckConstraint("(validity IS NULL) = (validity_json IS NULL)", name="validity_json"),
    CheckConstraint("vcpus >= 1", name="vcpus"),
    CheckConstraint("boot_attempts >= 1", name="boot_attempts"),
    *(CheckConstraint(f"{metric.name} >= 0", name=metric.name) for metric in USAGE_METRICS),
    _one_of("usage_source", USAGE_SOURCES),
    UniqueConstraint("invocation_id"),
    UniqueConstraint("block_id", "environment_id", "replicate"),
)


class _OfInvocation(TypedColumns):
    invocation_pk: Named[int] = Column(
        ForeignKey("invocation.invocation_pk"), primary_key=True, autoincrement=False
    )


class InvocationArtifactColumns(_OfInvocation):
    """What else is kept of an invocation: a guest's console, its domain. NULL: it is there and empty."""

    name: Named[str] = Column(primary_key=True)
    sha256: Named[str | None] = Column(ForeignKey("artifact.sha256"))


invocation_artifact = _table(
    "invocation_artifact",
    InvocationArtifactColumns,
    CheckConstraint(f"NOT name IN {OUTPUTS}", name="name"),
    has_rowid=False,
)


class _OfInvocationAndMetric(_OfInvocation):
    metric_pk: Named[int] = Column(ForeignKey("metric.metric_pk"), primary_key=True, autoincrement=False)


class SampleColumns(_OfInvocationAndMetric):
    """One value of one metric, in the metric's unit."""

    sample_index: Named[int] = Column(primary_key=True, autoincrement=False)
    is_warmup: Named[bool]
    value: Named[float]


sample = _table("sample", SampleColumns, has_rowid=False)


class SeriesColumns(_OfInvocationAndMetric):
    """A long run of samples as one blob of little-endian float64; the first `warmup_count` are warm-up."""

    sample_count: Named[int]
    warmup_count: Named[int]
    value_sum: Named[float]
    packed: Named[bytes]


series = _table("series", SeriesColumns, has_rowid=False)


class InvocationMetricColumns(_OfInvocationAndMetric):
    """Derived from sample and series: an invocation's values of a metric. `value` is the median of the
    samples that are no warm-up (NULL when all are); count and sum are over all samples."""

    value: Named[float | None]
    sample_count: Named[int]
    warmup_count: Named[int]
    value_sum: Named[float]
    minimum: Named[float]
    maximum: Named[float]


invocation_metric = _table("invocation_metric", InvocationMetricColumns, has_rowid=False)


class ShardColumns(TypedColumns):
    """A part of a planned run that one controller measures: `number` of `shard_count`."""

    run_id: Named[str] = Column(ForeignKey("run.run_id"), primary_key=True)
    number: Named[int] = Column(primary_key=True, autoincrement=False)
    shard_count: Named[int]
    controller: Named[str]
    begun_at: Named[float]
    ended_at: Named[float | None]
    status: Named[str]


shard = _table(
    "shard",
    ShardColumns,
    CheckConstraint("number >= 1 AND number <= shard_count", name="number"),
    _one_of("status", SHARD_STATUSES),
)


class TombstoneColumns(TypedColumns):
    """What was removed of a run to save space, and how much that was. Of a run its plan stays.

    A pruned raw output keeps its row in `artifact`, with an empty content.
    """

    run_id: Named[str] = Column(ForeignKey("run.run_id"), primary_key=True)
    what: Named[str] = Column(primary_key=True)
    pruned_at: Named[float]
    invocations: Named[int]
    raw_outputs: Named[int]
    raw_bytes: Named[int]


tombstone = _table("tombstone", TombstoneColumns, _one_of("what", PRUNED))


class EventColumns(_InOrder):
    """An event of a run, such as a warning."""

    event_id: Named[str] = Column(primary_key=True)
    run_id: Named[str] = Column(ForeignKey("run.run_id"))
    happened_at: Named[float]
    level: Named[str]
    place: Named[str]
    text: Named[str]


event = _table("event", EventColumns, Index(None, "run_id"))
