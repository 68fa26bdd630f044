"""The examples in docs/suites.md and docs/workloads.md are run, so they cannot go stale."""

from __future__ import annotations

import inspect
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import OutputError, SuiteError
from perfctl.model import Reason
from perfctl.suites import load_suite
from perfctl.workloads import Workload, resolve_parameters
from perfctl.workloads.protocol import Workload as Protocol

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
    text, values, guests, settings = blocks("suites.md", "toml")
    path = tmp_path / "web.toml"
    path.write_text(text + values + guests + settings)
    names = ["container-9000", "container-in-guest-4", "guest-4-to-native", "one-arena", "sandbox"]
    suite = load_suite(str(path), environments=names)
    named = [benchmark.name for benchmark in suite.benchmarks]
    assert named == ["small-requests", "primes", "requests-128", "requests-1024"]
    _, old, nested, client, tuned, sandbox = suite.environments
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
    for wrong, reason in (("", Reason.NO_OUTPUT), ("elapsed: 1", Reason.MISSING_METRIC)):
        with pytest.raises(OutputError) as caught:
            example.parse(wrong, parameters)
        assert caught.value.reason == reason


def test_the_page_names_every_member_of_the_seam(example: Workload) -> None:
    members = [name for name, _ in inspect.getmembers(Protocol) if not name.startswith("_")]
    page = (DOCS / "workloads.md").read_text()
    for name in members:
        assert re.search(rf"`{name}[`(]", page), name
        assert hasattr(example, name)


def test_the_page_names_every_key_of_an_environment() -> None:
    from perfctl.model import Environment

    page = (DOCS / "suites.md").read_text()
    for name in Environment.__dataclass_fields__:
        assert name == "name" or f"| `{name}` |" in page
