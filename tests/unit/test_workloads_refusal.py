"""Output that must not become a number: nothing, rubbish, cut off, another unit, no event."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from perfctl.errors import OutputError, UsageError
from perfctl.workloads import WORKLOADS, resolve_parameters, workload

DATA = Path(__file__).parents[1] / "data"
CASES = sorted(path.parent for path in DATA.glob("*/*/argv.json") if path.parts[-3] in WORKLOADS)


def parse(name: str, case: str, stdout: str) -> str:
    """Parse `stdout` as that of a case and return the reason of the refusal."""
    folder = DATA / name / case
    given = json.loads((folder / "argv.json").read_text())["parameters"]
    tool = workload(name)

    with pytest.raises(OutputError) as caught:
        tool.parse(stdout, resolve_parameters(tool, given))
    return caught.value.reason


def changed(name: str, case: str, old: str, new: str) -> str:
    """Return the reason of the refusal when `old` in a real output reads `new`."""
    text = (DATA / name / case / "stdout").read_text()
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    return parse(name, case, text.replace(old, new))


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
@pytest.mark.parametrize("nothing", ["", "\n", "  \n\t\n"])
def test_no_output(folder: Path, nothing: str) -> None:
    assert parse(folder.parent.name, folder.name, nothing) == "no_output"


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
@pytest.mark.parametrize(
    "rubbish",
    [
        "Segmentation fault\n",
        "\x00\x01\x02\\xff\n",
        "events per second: 12\n",
        "a=b\nthroughput=3\n",
        "establish control: are you sure there is a netserver listening on 10.77.0.12 at port 12970?\n",
        "<html><body>502</body></html>",
        "{}",
    ],
)
def test_rubbish(folder: Path, rubbish: str) -> None:
    assert parse(folder.parent.name, folder.name, rubbish) == "unparsable"


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_cut_off_anywhere_is_never_read(folder: Path) -> None:
    """Whatever the length that got through, a cut report is refused; no cut number becomes a value.

    Of a long report (histograms) the last 500 lengths are tried, and before them every 17th.
    """
    text = (folder / "stdout").read_text().rstrip("\n")
    step = 1 if len(text) < 5000 else 17
    for length in (*range(0, max(0, len(text) - 500), step), *range(max(0, len(text) - 500), len(text))):
        reason = parse(folder.parent.name, folder.name, text[:length])
        assert reason in {"no_output", "unparsable", "missing_metric", "unit_mismatch"}


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_a_line_left_out_is_missed_or_has_nothing_to_say(folder: Path) -> None:
    name = folder.parent.name
    tool = workload(name)
    parameters = resolve_parameters(tool, json.loads((folder / "argv.json").read_text())["parameters"])
    expected = json.loads((folder / "expected.json").read_text())
    lines = (folder / "stdout").read_text().splitlines(keepends=True)
    reasons = []
    for index, line in enumerate(lines):
        without = "".join(lines[:index] + lines[index + 1 :])
        try:
            samples = tool.parse(without, parameters)
        except OutputError as error:
            reasons.append(error.reason)
        else:
            found: dict[str, list[float]] = {}
            for sample in samples:
                found.setdefault(sample.metric, []).append(sample.value)
            values = {metric: item["value"] for metric, item in expected.items()}
            assert found == {
                name: value if isinstance(value, list) else [value] for name, value in values.items()
            }, line
    # A report that lists its runs has one too few then.
    assert set(reasons) <= {"no_output", "missing_metric", "unit_mismatch", "unparsable", "contradiction"}
    assert len(reasons) >= min(3, len(expected), len(lines))


@pytest.mark.parametrize("folder", CASES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_two_reports_in_one_output(folder: Path) -> None:
    text = (folder / "stdout").read_text()
    assert parse(folder.parent.name, folder.name, text + text) == "unparsable"


@pytest.mark.parametrize(
    ("case", "old", "new"),
    [
        ("memory-write-seq", "MiB/sec)", "MB/sec)"),
        ("memory-write-seq", "MiB transferred", "GiB transferred"),
        ("memory-write-seq", "per second)", "per minute)"),
        ("cpu", "Latency (ms):", "Latency (us):"),
        ("cpu", "Latency (ms):\n", ""),
        ("fileio-rndrw", "read, MiB/s:", "read, MB/s:"),
        ("fileio-rndrw", "written, MiB/s:", "written, KiB/s:"),
    ],
)
def test_another_unit_in_a_sysbench_report(case: str, old: str, new: str) -> None:
    assert changed("sysbench", case, old, new) == "unit_mismatch"


def test_a_total_time_in_another_unit() -> None:
    text = (DATA / "sysbench" / "cpu" / "stdout").read_text()
    line = next(line for line in text.splitlines() if "total time:" in line)
    assert parse("sysbench", "cpu", text.replace(line, line[:-1] + "ms")) == "unit_mismatch"
    assert parse("sysbench", "cpu", text.replace(line, line[:-1])) == "unit_mismatch"


@pytest.mark.parametrize(
    ("case", "old", "new"),
    [
        ("tcp-stream", "THROUGHPUT_UNITS=10^6bits/s", "THROUGHPUT_UNITS=MBytes/s"),
        ("tcp-stream", "THROUGHPUT_UNITS=10^6bits/s", "THROUGHPUT_UNITS=10^9bits/s"),
        ("udp-stream", "THROUGHPUT_UNITS=10^6bits/s", "THROUGHPUT_UNITS=Trans/s"),
        ("tcp-rr", "THROUGHPUT_UNITS=Trans/s", "THROUGHPUT_UNITS=10^6bits/s"),
        ("tcp-rr", "THROUGHPUT_UNITS=Trans/s", "THROUGHPUT_UNITS="),
    ],
)
def test_another_unit_in_a_netperf_report(case: str, old: str, new: str) -> None:
    assert changed("netperf", case, old, new) == "unit_mismatch"


@pytest.mark.parametrize(
    "value", ["nan", "-nan", "inf", "-inf", "-1", "-1.00", "abc", "", "1.2.3", "0x10", "1,5"]
)
def test_values_that_are_no_numbers_from_zero_up(value: str) -> None:
    text = (DATA / "sysbench" / "cpu" / "stdout").read_text()
    line = next(line for line in text.splitlines() if "events per second:" in line)
    assert parse("sysbench", "cpu", text.replace(line, f"events per second: {value}")) == "unparsable"

    text = (DATA / "netperf" / "tcp-rr" / "stdout").read_text()
    for key in ("P99_LATENCY", "MEAN_LATENCY", "ELAPSED_TIME"):
        line = next(line for line in text.splitlines() if line.startswith(f"{key}="))
        assert parse("netperf", "tcp-rr", text.replace(line, f"{key}={value}")) == "unparsable"


def test_retransmits_that_the_kernel_does_not_tell_are_no_number() -> None:
    text = (DATA / "netperf" / "tcp-stream" / "stdout").read_text()
    line = next(line for line in text.splitlines() if line.startswith("LOCAL_TRANSPORT_RETRANS="))
    assert parse("netperf", "tcp-stream", text.replace(line, "LOCAL_TRANSPORT_RETRANS=-1")) == "unparsable"


def test_no_event_is_missing_and_not_zero() -> None:
    text = (DATA / "sysbench" / "cpu" / "stdout").read_text()
    line = next(line for line in text.splitlines() if "total number of events:" in line)
    assert parse("sysbench", "cpu", text.replace(line, "total number of events: 0")) == "missing_metric"


def test_no_transaction_is_missing_and_not_zero() -> None:
    text = (DATA / "netperf" / "tcp-rr" / "stdout").read_text()
    line = next(line for line in text.splitlines() if line.startswith("THROUGHPUT="))
    assert parse("netperf", "tcp-rr", text.replace(line, "THROUGHPUT=0.00")) == "missing_metric"


def test_no_datagram_sent_has_no_loss_and_more_received_than_sent_is_refused() -> None:
    text = (DATA / "netperf" / "udp-stream" / "stdout").read_text()
    sent = next(line for line in text.splitlines() if line.startswith("LOCAL_BYTES_SENT="))
    assert parse("netperf", "udp-stream", text.replace(sent, "LOCAL_BYTES_SENT=0")) == "missing_metric"
    assert parse("netperf", "udp-stream", text.replace(sent, "LOCAL_BYTES_SENT=1472")) == "unparsable"


@pytest.mark.parametrize(
    ("case", "old", "new"),
    [
        ("tcp-stream", "LOCAL_SEND_SIZE=16384", "LOCAL_SEND_SIZE=1400"),
        ("tcp-maerts", "REMOTE_SEND_SIZE=4096", "REMOTE_SEND_SIZE=16384"),
        ("udp-stream", "LOCAL_SEND_SIZE=1472", "LOCAL_SEND_SIZE=65507"),
        ("tcp-rr-sizes", "REQUEST_SIZE=128", "REQUEST_SIZE=1"),
        ("tcp-rr-sizes", "RESPONSE_SIZE=8192", "RESPONSE_SIZE=1"),
    ],
)
def test_netperf_that_ran_with_other_sizes_than_asked(case: str, old: str, new: str) -> None:
    assert changed("netperf", case, old, new) == "unparsable"


def test_percentiles_that_were_not_asked_for() -> None:
    assert changed("sysbench", "cpu", "95th percentile:", "99th percentile:") == "missing_metric"


def test_netperf_without_a_server_address() -> None:
    netperf = workload("netperf")
    with pytest.raises(UsageError, match="address of its server"):
        netperf.argv(resolve_parameters(netperf, {}))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("made: 0.480874441 s", "made: 480.8 ms", "unit_mismatch"),
        ("made: 0.480874441 s", "made: 0.480874441", "unit_mismatch"),
        ("made: 0.480874441 s", "made: -0.5 s", "unparsable"),
        ("made: 0.480874441 s", "made: inf s", "unparsable"),
        ("made: 0.480874441 s", "", "missing_metric"),
        ("steps: made", "steps: made ssh", "missing_metric"),
        ("first command:", "last command:", "missing_metric"),
    ],
)
def test_a_report_of_an_opening_that_is_not_whole(old: str, new: str, reason: str) -> None:
    assert changed("startup", "container", old, new) == reason
