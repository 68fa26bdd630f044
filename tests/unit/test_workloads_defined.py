"""Outputs of workloads that users define: by path, expression, key, column, and what the command used."""

from __future__ import annotations

import json

import pytest

from perfctl.errors import OutputError, UsageError
from perfctl.model import Direction, ResourceUsage
from perfctl.workloads import DefinedWorkload
from perfctl.workloads.definition import Definition, MetricDefinition, Source


def defined(
    source: Source, place: str, *, unit: str = "ops/s", samples: bool = False, **more: str
) -> DefinedWorkload:
    """Return a workload of one metric that is read there."""
    metric = MetricDefinition(
        "rate", unit, Direction.HIGHER, source, place, headline=True, has_samples=samples
    )
    return DefinedWorkload(Definition("own", ("own",), (metric,), ("own",), ("own", "-V"), **more))  # type: ignore[arg-type]


USAGE = ResourceUsage(1.5, 0.25, 4096, 1, 2, 3, 4)

READ: list[tuple[DefinedWorkload, str, list[float]]] = [
    (defined("json", "$.jobs[0]['read-iops']"), '{"jobs": [{"read-iops": 12.5}]}', [12.5]),
    (defined("json", "$.jobs[*].n", samples=True), '{"jobs": [{"n": 1}, {"n": 2}]}\n', [1, 2]),
    (defined("regex", r"^rate (?P<value>[\d.]+) (?P<unit>\S+)$"), "x\nrate 3.5 ops/s\r\n", [3.5]),
    (defined("regex", r"(?P<value>\d+)ms", unit="ms", samples=True), "1ms 2ms\n3ms\n", [1, 2, 3]),
    (defined("key", "rate"), "rate: 7\nother: 8\n", [7]),
    (defined("key", "rate"), " rate :  7 ops/s \n", [7]),
    (defined("key", "a=b", separator=" = "), "a=b = 1e3\n", [1000]),
    (defined("column", "rate"), "time,rate\n1,5\n", [5]),
    (defined("column", "rate", samples=True, delimiter="\t"), "time\trate\n1\t5\n\n2\t6\n", [5, 6]),
    (defined("column", "rate"), 'name,rate\n"a,b",5\n', [5]),
]


@pytest.mark.parametrize(("workload", "stdout", "values"), READ)
def test_values_are_read(workload: DefinedWorkload, stdout: str, values: list[float]) -> None:
    samples = workload.read_output(stdout, {}).samples
    assert [sample.value for sample in samples] == values
    assert [sample.index for sample in samples] == list(range(len(values)))


REFUSED: list[tuple[DefinedWorkload, str, str, str]] = [
    (defined("json", "$.rate"), "", "no_output", "no output"),
    (defined("json", "$.rate"), "{", "unparsable", "not JSON"),
    (defined("json", "$.rate"), '{"rate": NaN}', "unparsable", "NaN is no number"),
    (defined("json", "$.rate"), '{"rate": 1e999}', "unparsable", "no number from 0 up"),
    (defined("json", "$.rate"), '{"rate": "12"}', "unparsable", 'is "12", not a number'),
    (defined("json", "$.rate"), '{"rate": true}', "unparsable", "is true, not a number"),
    (defined("json", "$.rate"), '{"rate": null}', "unparsable", "is null, not a number"),
    (defined("json", "$.rate"), '{"rate": -1}', "unparsable", "no number from 0 up"),
    (defined("json", "$.rate"), "[" * 100_000, "unparsable", ""),
    (defined("json", "$.rate"), '{"other": 1}', "missing_metric", "nothing matches"),
    (defined("json", "$.*"), '{"a": 1, "b": 2}', "unparsable", "is there 2 times"),
    (defined("regex", r"rate (?P<value>\d+)"), "rate x\n", "missing_metric", "nothing matches"),
    (defined("regex", r"rate (?P<value>\d+)"), "rate 1\nrate 2\n", "unparsable", "is there 2 times"),
    (defined("regex", r"rate (?P<value>\d+)"), "rate 12", "unparsable", "may be cut off"),
    (defined("regex", r"rate (?P<value>\S+)"), "rate 1_000\n", "unparsable", "no number from 0 up"),
    (defined("regex", r"rate (?P<value>\d+) (?P<unit>\S+)"), "rate 1 ms\n", "unit_mismatch", "'ms'"),
    (defined("regex", r"rate (?P<value>\d+)"), "rate " + "1" * 2000 + "\n", "missing_metric", "nothing"),
    (defined("key", "rate"), "rate: 7 ms\n", "unit_mismatch", "'ms'"),
    (defined("key", "rate"), "rate: 7\nrate: 7\n", "unparsable", "is there 2 times"),
    (defined("key", "rate"), "rate: \n", "missing_metric", "nothing matches"),
    (defined("column", "rate"), "time,speed\n1,5\n", "missing_metric", "no column 'rate'"),
    (defined("column", "rate"), "time,rate\n1\n", "unparsable", "row 2 of the table has 1 fields"),
    (defined("column", "rate"), "rate,rate\n1,2\n", "unparsable", "two columns"),
    (defined("column", "rate"), "rate\n", "missing_metric", "nothing matches"),
    (defined("column", "rate"), "rate\n1\n2\n", "unparsable", "is there 2 times"),
    (defined("key", "rate"), "FATAL: no\nrate: 7\n", "tool_error", "FATAL: no"),
    (defined("key", "rate", error="^oops.*"), "oops, no\nrate: 7\n", "tool_error", "oops, no"),
    (defined("key", "rate"), "rate: 0\n", "missing_metric", "reads 0"),
]


@pytest.mark.parametrize(("workload", "stdout", "reason", "message"), REFUSED)
def test_what_is_not_the_metric_is_refused(
    workload: DefinedWorkload, stdout: str, reason: str, message: str
) -> None:
    with pytest.raises(OutputError) as error:
        workload.read_output(stdout, {})
    assert error.value.reason == reason
    assert message in error.value.message


@pytest.mark.parametrize("length", range(len('{"a": {"rate": 1234}}')))
def test_json_that_is_cut_off_has_no_value(length: int) -> None:
    with pytest.raises(OutputError):
        defined("json", "$.a.rate").read_output(json.dumps({"a": {"rate": 1234}})[:length], {})


@pytest.mark.parametrize("length", range(len("rate: 1234\n")))
def test_a_line_that_is_cut_off_has_no_value(length: int) -> None:
    for workload in (defined("key", "rate"), defined("regex", r"rate: (?P<value>\d+)")):
        with pytest.raises(OutputError):
            workload.read_output("rate: 1234\n"[:length], {})


@pytest.mark.parametrize(("what", "unit", "value"), [("user", "s", 1.5), ("max_rss", "bytes", 4096)])
def test_what_the_command_used_is_a_metric_whatever_it_prints(what: str, unit: str, value: float) -> None:
    workload = defined("time", what, unit=unit)
    assert [item.value for item in workload.read_output("", {}, usage=USAGE).samples] == [value]
    assert [item.value for item in workload.read_output("12 s\n", {}, usage=USAGE).samples] == [value]
    with pytest.raises(OutputError, match="no such program"):
        workload.read_output("", {}, usage=ResourceUsage.unknown("no such program"))


def test_the_time_of_a_control_group_is_not_the_commands_own() -> None:
    usage = ResourceUsage(1.5, 0.25, None, None, None, None, None, source="cgroup", missing="of its group")
    with pytest.raises(OutputError, match="of its group"):
        defined("time", "user", unit="s").read_output("", {}, usage=usage)


def test_a_pair_needs_its_server() -> None:
    from perfctl.workloads.definition import ServerDefinition

    definition = Definition(
        "own", ("own", "{server_address}"), (), ("own",), ("own",), server=ServerDefinition(("srv",), "80")
    )
    workload = DefinedWorkload(definition)
    with pytest.raises(UsageError, match="needs a server"):
        workload.argv({})
    assert workload.argv({}, server_address="::1") == ("own", "::1")
