"""The examples in docs/suites.md and docs/workloads.md are run, so they cannot go stale."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from perfctl.cli import main_group
from perfctl.errors import OutputError, SuiteError
from perfctl.execute.survey import programs_of, versions_of
from perfctl.model import Host, Reason, Sample
from perfctl.plan.make import make_plan
from perfctl.suites import load_suite
from perfctl.workloads import WORKLOADS, OpeningWorkload, Workload, resolve_parameters, workload, workload_of

DOCS = Path(__file__).parents[2] / "docs"


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def example() -> Workload:
    namespace: dict[str, Any] = {"__name__": "example"}
    (source,) = blocks("workloads.md", "python")
    exec(compile(source, "docs/workloads.md", "exec"), namespace)
    starts: Workload = namespace["Starts"]()
    return starts


def test_the_suite_of_the_page_loads(tmp_path: Path) -> None:
    text, values, guests, settings, security = blocks("suites.md", "toml")
    path = tmp_path / "web.toml"
    path.write_text(text + values + guests + settings + security)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "strict.json").write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')
    names = ["container-9000", "container-in-guest-4", "guest-4-to-native", "one-arena", "sandbox", "strict"]
    suite = load_suite(str(path), environments=names)
    named = [benchmark.name for benchmark in suite.benchmarks]
    assert named == ["small-requests", "primes", "requests-128", "requests-1024"]
    _, old, nested, client, tuned, sandbox, strict = suite.environments
    assert (strict.seccomp_profile, strict.read_only) == ('{"defaultAction": "SCMP_ACT_ALLOW"}', True)
    assert old.image == "registry.example/perf:9000"
    assert tuned.env == (("GLIBC_TUNABLES", "glibc.malloc.arena_max=1"),)
    assert sandbox.runtime == "runsc"
    assert nested.within is not None
    assert client.server is not None
    assert (nested.within.name, nested.within.vcpus, client.server.name) == ("guest-4", 4, "native")


def test_the_error_of_the_page_is_the_real_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, *_ = blocks("suites.md", "toml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "web.toml").write_text(text.replace("time_s = 5", 'time_s = "10s"'))
    with pytest.raises(SuiteError) as caught:
        load_suite("suites/web.toml")
    page = (DOCS / "suites.md").read_text()
    assert f"error: {caught.value}\n  try:   {caught.value.hint}\n" in page


def test_the_workload_of_the_page_works(example: Workload) -> None:
    parameters = resolve_parameters(example, {"count": 3})
    done = subprocess.run(example.argv(parameters), capture_output=True, text=True, timeout=30, check=True)
    (sample,) = example.parse(done.stdout, parameters)
    assert (sample.metric, sample.unit) == ("elapsed", "s")
    for wrong, reason in (
        ("", Reason.NO_OUTPUT),
        ("elapsed: 1", Reason.UNPARSABLE),
        (2 * done.stdout, Reason.UNPARSABLE),
    ):
        with pytest.raises(OutputError) as caught:
            example.parse(wrong, parameters)
        assert caught.value.reason == reason


def test_a_workload_needs_one_registration(
    example: Workload, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WORKLOADS, example.name, example)
    path = tmp_path / "starts.toml"
    path.write_text('[suite]\ndescription = "x"\n[[benchmark]]\nname = "few"\nworkload = "starts"\n')
    suite = load_suite(str(path), blocks=2)
    plan = make_plan(suite, [Host("h1", "192.0.2.1")], seed="1")
    (benchmark,) = plan.benchmarks
    assert (benchmark.scope, benchmark.expected_s) == ("host", 1.0)
    assert {block.benchmark for block in plan.blocks()} == {"few"}
    assert (programs_of(plan), versions_of(plan)) == (("bash",), (("bash", "--version"),))
    tool = workload(benchmark.workload)
    assert tool.argv(benchmark.parameters)[-2:] == ["starts", "1000"]
    (captured,) = blocks("workloads.md", "text")
    assert tool.parse(captured, benchmark.parameters) == [Sample("elapsed", 0.846, "s")]
    shown = CliRunner().invoke(main_group, ["benchmarks", "--format", "csv"])
    assert "starts,each host,bash," in shown.output


def test_the_program_of_the_page_is_read_from_its_table(tmp_path: Path) -> None:
    (text,) = blocks("workloads.md", "toml")
    path = tmp_path / "own.toml"
    path.write_text(text)
    (benchmark,) = load_suite(str(path)).benchmarks
    argv = workload_of(benchmark).argv(benchmark.parameters)
    assert argv[:6] == ("stress-ng", "--cpu", "2", "--timeout", "10s", "--metrics")
    printed = tmp_path / "out.yaml"
    printed.write_text("".join(f"line {number}\n" for number in range(30)) + _MEASURED + "\n")
    options = ["--suite", str(path), "--output", str(printed)]
    shown = CliRunner().invoke(main_group, ["workloads", "check", "stress-cpu", *options])
    assert shown.output.splitlines() == [line.rstrip() for line in _page_after("metric    value", 4)]


_MEASURED = "bogo-ops-per-second-real-time: 578.763885"


def _page_after(start: str, count: int) -> list[str]:
    lines = (DOCS / "workloads.md").read_text().splitlines()
    (first,) = (number for number, line in enumerate(lines) if line.startswith(start))
    return lines[first : first + count]


def test_the_page_names_every_key_of_a_program() -> None:
    from perfctl.suites.workload_tables import KEYS, METRIC_KEYS

    page = (DOCS / "workloads.md").read_text()
    assert [key for key in (*KEYS, *METRIC_KEYS) if f"`{key}`" not in page and f"`{key} = " not in page] == []


def test_the_page_names_every_member_of_a_workload() -> None:
    members = {*Workload.__annotations__, *vars(Workload), *vars(OpeningWorkload)}
    page = (DOCS / "workloads.md").read_text()
    for name in members:
        assert name.startswith("_") or re.search(rf"`{name}[`(]", page), name


def test_the_page_names_every_key_of_an_environment() -> None:
    from perfctl.model import Environment

    page = (DOCS / "suites.md").read_text()
    for name in Environment.__dataclass_fields__:
        # A profile is the file that `security_opt` names.
        assert name in ("name", "seccomp_profile") or f"| `{name}` |" in page
