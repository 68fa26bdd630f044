"""The schema, as SQLAlchemy's typed tables: `schema.sql` is made from it, migrations are checked against it.

    run ──< run_host, run_environment, run_benchmark      what the plan has
     │──< host_snapshot, environment_snapshot >── fingerprint ──< workload_version
     │──< event
     └──< block ──< invocation ──< sample, series         what was measured
                        │  └─────< invocation_metric      derived: one row per invocation and metric
                        ├──> artifact                     raw output
                        └──< invocation_artifact >── artifact     what else is kept, by name

Keys are UUIDv7 (what happens once) or content hashes (what is the same everywhere). `invocation` and `metric`
also have a small integer, used only inside one file, because a million samples refer to them.

Only migrations and tests import this module: it costs 0.4 s, which opening a database must not. After a
change here write a migration, then `python -m perfctl.store.tables > perfctl/store/schema.sql`.
"""

from __future__ import annotations

from sqlalchemy import CheckConstraint, ForeignKey, Index, MetaData, UniqueConstraint, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import BLOB, INTEGER, REAL, TEXT

from perfctl.store.schema import (
    ACCELERATORS,
    BLOCK_STATUSES,
    INVOCATION_STATUSES,
    OUTPUTS,
    RUN_STATUSES,
    USAGE_SOURCES,
    VALIDITIES,
)

_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


def _one_of(column: str, values: tuple[str, ...]) -> str:
    return f"{column} IN ({', '.join(repr(value) for value in values)})"


class Table(DeclarativeBase):
    """All tables are STRICT: a text in a number column is refused, not kept."""

    metadata = MetaData(naming_convention=_NAMES)
    type_annotation_map = {str: TEXT, int: INTEGER, float: REAL, bytes: BLOB}  # noqa: RUF012
    __table_args__: object = {"sqlite_strict": True}


class Run(Table):
    """One run of a suite. `thresholds_json` has the limits of the rules that judge it."""

    __tablename__ = "run"
    __table_args__ = (
        CheckConstraint(_one_of("status", RUN_STATUSES), name="status"),
        {"sqlite_strict": True},
    )
    run_id: Mapped[str] = mapped_column(primary_key=True)
    suite: Mapped[str]
    seed: Mapped[str]
    baseline: Mapped[str]
    plan_json: Mapped[str]
    planned_invocations: Mapped[int]
    command_json: Mapped[str]
    inventory_json: Mapped[str]
    perfctl_version: Mapped[str]
    status: Mapped[str]
    started_at: Mapped[float]
    ended_at: Mapped[float | None]
    thresholds_json: Mapped[str | None]


class Host(Table):
    """A machine as an inventory described it; the key is the hash of all other columns. No secrets."""

    __tablename__ = "host"
    host_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    address: Mapped[str]
    connection: Mapped[str]
    port: Mapped[int]
    user_name: Mapped[str | None]
    test_address: Mapped[str | None]
    resource: Mapped[str | None]


class Environment(Table):
    """Where a benchmark runs; the key is the hash of `fields_json`."""

    __tablename__ = "environment"
    environment_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    kind: Mapped[str]
    description: Mapped[str]
    fields_json: Mapped[str]


class Benchmark(Table):
    """A workload with fixed parameters; the key is the hash of both."""

    __tablename__ = "benchmark"
    benchmark_id: Mapped[str] = mapped_column(primary_key=True)
    workload: Mapped[str]
    parameters_json: Mapped[str]
    scope: Mapped[str]
    expected_s: Mapped[float]


class RunHost(Table):
    """A host of a run's plan."""

    __tablename__ = "run_host"
    __table_args__: object = {"sqlite_strict": True, "sqlite_with_rowid": False}
    run_id: Mapped[str] = mapped_column(ForeignKey("run.run_id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    host_id: Mapped[str] = mapped_column(ForeignKey("host.host_id"))


class RunEnvironment(Table):
    """An environment of a run's plan, by its name there."""

    __tablename__ = "run_environment"
    __table_args__: object = {"sqlite_strict": True, "sqlite_with_rowid": False}
    run_id: Mapped[str] = mapped_column(ForeignKey("run.run_id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    environment_id: Mapped[str] = mapped_column(ForeignKey("environment.environment_id"))
    position: Mapped[int]


class RunBenchmark(Table):
    """A benchmark of a run's plan, by its name there."""

    __tablename__ = "run_benchmark"
    __table_args__: object = {"sqlite_strict": True, "sqlite_with_rowid": False}
    run_id: Mapped[str] = mapped_column(ForeignKey("run.run_id"), primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    benchmark_id: Mapped[str] = mapped_column(ForeignKey("benchmark.benchmark_id"))
    position: Mapped[int]


class Fingerprint(Table):
    """What was true of a place: static facts as JSON rows [name, state, value]; the key is their hash."""

    __tablename__ = "fingerprint"
    fingerprint_id: Mapped[str] = mapped_column(primary_key=True)
    facts_json: Mapped[str]


class WorkloadVersion(Table):
    """Which build of a program a fingerprint saw (its facts `tool.NAME.version` and `tool.NAME.sha256`)."""

    __tablename__ = "workload_version"
    __table_args__: object = {"sqlite_strict": True, "sqlite_with_rowid": False}
    fingerprint_id: Mapped[str] = mapped_column(ForeignKey("fingerprint.fingerprint_id"), primary_key=True)
    program: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str | None]
    sha256: Mapped[str | None]


class HostSnapshot(Table):
    """The facts of a host before or after a run. Dynamic facts are here, static ones in the fingerprint."""

    __tablename__ = "host_snapshot"
    __table_args__ = (
        CheckConstraint(_one_of("phase", ("before", "after")), name="phase"),
        Index(None, "run_id"),
        {"sqlite_strict": True},
    )
    host_snapshot_id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.run_id"))
    host_id: Mapped[str] = mapped_column(ForeignKey("host.host_id"))
    phase: Mapped[str]
    fingerprint_id: Mapped[str] = mapped_column(ForeignKey("fingerprint.fingerprint_id"))
    dynamic_json: Mapped[str]
    taken_at: Mapped[float]


class EnvironmentSnapshot(Table):
    """The facts inside an environment on a host, image digest and engine version among them."""

    __tablename__ = "environment_snapshot"
    __table_args__ = (Index(None, "run_id"), {"sqlite_strict": True})
    environment_snapshot_id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.run_id"))
    host_id: Mapped[str] = mapped_column(ForeignKey("host.host_id"))
    environment_id: Mapped[str] = mapped_column(ForeignKey("environment.environment_id"))
    fingerprint_id: Mapped[str] = mapped_column(ForeignKey("fingerprint.fingerprint_id"))
    dynamic_json: Mapped[str]
    taken_at: Mapped[float]


class Metric(Table):
    """One quantity of a workload; `metric_id` is the hash of workload, name, unit, direction and headline.
    How it is shown (`description`, `show_difference`) is not part of its identity."""

    __tablename__ = "metric"
    __table_args__ = (UniqueConstraint("metric_id"), {"sqlite_strict": True})
    metric_pk: Mapped[int] = mapped_column(primary_key=True)
    metric_id: Mapped[str]
    workload: Mapped[str]
    name: Mapped[str]
    unit: Mapped[str]
    direction: Mapped[str]
    is_headline: Mapped[int]
    description: Mapped[str]
    show_difference: Mapped[int] = mapped_column(server_default=text("0"))


class Block(Table):
    """Every environment once, for one benchmark on one target; a repeated block is another `attempt`."""

    __tablename__ = "block"
    __table_args__ = (
        CheckConstraint(_one_of("status", BLOCK_STATUSES), name="status"),
        UniqueConstraint("run_id", "benchmark", "target", "block_index", "attempt"),
        {"sqlite_strict": True},
    )
    block_id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.run_id"))
    benchmark: Mapped[str]
    benchmark_id: Mapped[str] = mapped_column(ForeignKey("benchmark.benchmark_id"))
    target: Mapped[str]
    host_id: Mapped[str] = mapped_column(ForeignKey("host.host_id"))
    peer_id: Mapped[str | None] = mapped_column(ForeignKey("host.host_id"))
    block_index: Mapped[int]
    attempt: Mapped[int]
    order_json: Mapped[str]
    status: Mapped[str]
    started_at: Mapped[float]
    ended_at: Mapped[float | None]


class Artifact(Table):
    """Raw bytes by the sha256 of what they are when unpacked; `content` is zstd."""

    __tablename__ = "artifact"
    sha256: Mapped[str] = mapped_column(primary_key=True)
    size_bytes: Mapped[int]
    content: Mapped[bytes]


class Invocation(Table):
    """One invocation. Not `ok` always has a reason. An output of zero bytes has no artifact (NULL).

    `validity` is the verdict by the counters around it (NULL: not judged), `validity_json` what was found,
    which rules could not be judged, and what else the verdict rests on. `accelerator`, `vcpus` and
    `boot_attempts` are of its guest (NULL: there was none, or it did not come up). From `user_s` on it is
    what its command has used (NULL: not known), by which source, and in `usage_missing` why that is so.
    """

    __tablename__ = "invocation"
    __table_args__ = (
        CheckConstraint(_one_of("status", INVOCATION_STATUSES), name="status"),
        CheckConstraint("(status = 'ok') = (reason IS NULL)", name="reason"),
        CheckConstraint(_one_of("accelerator", ACCELERATORS), name="accelerator"),
        CheckConstraint(_one_of("validity", VALIDITIES), name="validity"),
        CheckConstraint("(validity IS NULL) = (validity_json IS NULL)", name="validity_json"),
        CheckConstraint("vcpus >= 1", name="vcpus"),
        CheckConstraint("boot_attempts >= 1", name="boot_attempts"),
        CheckConstraint("user_s >= 0", name="user_s"),
        CheckConstraint("system_s >= 0", name="system_s"),
        CheckConstraint("max_rss_bytes >= 0", name="max_rss_bytes"),
        CheckConstraint("minor_faults >= 0", name="minor_faults"),
        CheckConstraint("major_faults >= 0", name="major_faults"),
        CheckConstraint("voluntary_switches >= 0", name="voluntary_switches"),
        CheckConstraint("involuntary_switches >= 0", name="involuntary_switches"),
        CheckConstraint(_one_of("usage_source", USAGE_SOURCES), name="usage_source"),
        UniqueConstraint("invocation_id"),
        UniqueConstraint("block_id", "environment_id", "replicate"),
        {"sqlite_strict": True},
    )
    invocation_pk: Mapped[int] = mapped_column(primary_key=True)
    invocation_id: Mapped[str]
    block_id: Mapped[str] = mapped_column(ForeignKey("block.block_id"))
    environment_id: Mapped[str] = mapped_column(ForeignKey("environment.environment_id"))
    replicate: Mapped[int]
    position: Mapped[int]
    status: Mapped[str]
    reason: Mapped[str | None]
    detail: Mapped[str]
    argv_json: Mapped[str]
    exit_code: Mapped[int | None]
    started_at: Mapped[float]
    host_started_ns: Mapped[int | None]
    host_ended_ns: Mapped[int | None]
    stdout_sha256: Mapped[str | None] = mapped_column(ForeignKey("artifact.sha256"))
    stderr_sha256: Mapped[str | None] = mapped_column(ForeignKey("artifact.sha256"))
    counters_before_sha256: Mapped[str | None] = mapped_column(ForeignKey("artifact.sha256"))
    counters_after_sha256: Mapped[str | None] = mapped_column(ForeignKey("artifact.sha256"))
    fingerprint_id: Mapped[str | None] = mapped_column(ForeignKey("fingerprint.fingerprint_id"))
    accelerator: Mapped[str | None]
    validity: Mapped[str | None]
    validity_json: Mapped[str | None]
    vcpus: Mapped[int | None]
    boot_attempts: Mapped[int | None]
    user_s: Mapped[float | None]
    system_s: Mapped[float | None]
    max_rss_bytes: Mapped[int | None]
    minor_faults: Mapped[int | None]
    major_faults: Mapped[int | None]
    voluntary_switches: Mapped[int | None]
    involuntary_switches: Mapped[int | None]
    usage_source: Mapped[str | None]
    usage_missing: Mapped[str | None]


class InvocationArtifact(Table):
    """What else is kept of an invocation: a guest's console, its domain. NULL: it is there and empty."""

    __tablename__ = "invocation_artifact"
    __table_args__ = (
        CheckConstraint(f"NOT {_one_of('name', OUTPUTS)}", name="name"),
        {"sqlite_strict": True, "sqlite_with_rowid": False},
    )
    invocation_pk: Mapped[int] = mapped_column(
        ForeignKey("invocation.invocation_pk"), primary_key=True, autoincrement=False
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str | None] = mapped_column(ForeignKey("artifact.sha256"))


class Sample(Table):
    """One value of one metric, in the metric's unit."""

    __tablename__ = "sample"
    __table_args__: object = {"sqlite_strict": True, "sqlite_with_rowid": False}
    invocation_pk: Mapped[int] = mapped_column(
        ForeignKey("invocation.invocation_pk"), primary_key=True, autoincrement=False
    )
    metric_pk: Mapped[int] = mapped_column(
        ForeignKey("metric.metric_pk"), primary_key=True, autoincrement=False
    )
    sample_index: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    is_warmup: Mapped[int]
    value: Mapped[float]


class Series(Table):
    """A long run of samples as one blob of little-endian float64; the first `warmup_count` are warm-up."""

    __tablename__ = "series"
    __table_args__: object = {"sqlite_strict": True, "sqlite_with_rowid": False}
    invocation_pk: Mapped[int] = mapped_column(
        ForeignKey("invocation.invocation_pk"), primary_key=True, autoincrement=False
    )
    metric_pk: Mapped[int] = mapped_column(
        ForeignKey("metric.metric_pk"), primary_key=True, autoincrement=False
    )
    sample_count: Mapped[int]
    warmup_count: Mapped[int]
    value_sum: Mapped[float]
    packed: Mapped[bytes]


class InvocationMetric(Table):
    """Derived from sample and series: an invocation's values of a metric. `value` is the median of the
    samples that are no warm-up (NULL when all are); count and sum are over all samples."""

    __tablename__ = "invocation_metric"
    __table_args__: object = {"sqlite_strict": True, "sqlite_with_rowid": False}
    invocation_pk: Mapped[int] = mapped_column(
        ForeignKey("invocation.invocation_pk"), primary_key=True, autoincrement=False
    )
    metric_pk: Mapped[int] = mapped_column(
        ForeignKey("metric.metric_pk"), primary_key=True, autoincrement=False
    )
    value: Mapped[float | None]
    sample_count: Mapped[int]
    warmup_count: Mapped[int]
    value_sum: Mapped[float]
    minimum: Mapped[float]
    maximum: Mapped[float]


class Event(Table):
    """An event of a run, such as a warning."""

    __tablename__ = "event"
    __table_args__ = (Index(None, "run_id"), {"sqlite_strict": True})
    event_id: Mapped[str] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.run_id"))
    happened_at: Mapped[float]
    level: Mapped[str]
    place: Mapped[str]
    text: Mapped[str]


def render_schema() -> str:
    """Return the text of `schema.sql`: every table and index of this module."""
    from sqlalchemy.dialects import sqlite
    from sqlalchemy.schema import CreateIndex, CreateTable

    dialect = sqlite.dialect()
    statements = ["-- Made by: python -m perfctl.store.tables > perfctl/store/schema.sql"]
    for table in Table.metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)).strip() + ";")
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            statements.append(str(CreateIndex(index).compile(dialect=dialect)).strip() + ";")
    return "\n\n".join("\n".join(line.rstrip() for line in text.splitlines()) for text in statements) + "\n"


if __name__ == "__main__":
    print(render_schema(), end="")
