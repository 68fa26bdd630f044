"""Workloads that users define in TOML: what a table may say, where it is looked up, and what is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from perfctl.errors import SuiteError, UnknownName
from perfctl.model import Host
from perfctl.plan.json import plan_from_json, plan_to_json
from perfctl.plan.make import make_plan
from perfctl.suites import find_workload, load_suite
from perfctl.workloads import DefinedWorkload, resolve_parameters, workload_of
from perfctl.workloads.definition import Definition

SUITE = """
[suite]
blocks = 1

[[benchmark]]
name = "spin"
workload = "spin"
parameters = { rounds = 3 }
"""

WORKLOAD = """
[workloads.spin]
command = ["spin", "--rounds", "{rounds}", "--mode={mode}"]
expected_s = 2
parameters = { rounds = 1, mode = "fast" }
metrics.rate = { unit = "ops/s", better = "higher", key = "rate" }
"""


def write(folder: Path, text: str, name: str = "suites/own.toml") -> Path:
    """Write a file of a project, and return its path."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture(autouse=True)
def _no_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


def test_a_suite_has_a_workload_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, WORKLOAD + SUITE)
    (benchmark,) = load_suite(str(path), project_dir=tmp_path).benchmarks
    assert benchmark.parameters == {"rounds": 3, "mode": "fast"}
    assert benchmark.expected_s == pytest.approx(2.1)
    tool = workload_of(benchmark)
    assert tool.argv(benchmark.parameters) == ("spin", "--rounds", "3", "--mode=fast")
    assert tool.programs == ("spin",)
    assert tool.version_argv == ("spin", "--version")
    assert [(item.name, item.unit, item.headline) for item in tool.metrics({})] == [("rate", "ops/s", True)]


def test_the_nearer_definition_counts(tmp_path: Path) -> None:
    write(tmp_path, WORKLOAD.replace("= 2", "= 3"), "config/perfctl/workloads/all.toml")
    assert find_workload("spin", project_dir=tmp_path).expected_s({}) == pytest.approx(3.1)
    write(tmp_path, WORKLOAD.replace("= 2", "= 4"), "workloads/spin.toml")
    assert find_workload("spin", project_dir=tmp_path).expected_s({}) == pytest.approx(4.1)
    path = write(tmp_path, WORKLOAD + SUITE)
    assert find_workload("spin", suite=str(path), project_dir=tmp_path).expected_s({}) == pytest.approx(2.1)
    assert load_suite(str(path), project_dir=tmp_path).benchmarks[0].expected_s == pytest.approx(2.1)


def test_a_plan_carries_the_definition(tmp_path: Path) -> None:
    write(tmp_path, WORKLOAD, "workloads/spin.toml")
    suite = load_suite(str(write(tmp_path, SUITE)), project_dir=tmp_path)
    plan = make_plan(suite, [Host("h1", "h1")], seed="1")
    (tmp_path / "workloads/spin.toml").unlink()
    (benchmark,) = plan_from_json(plan_to_json(plan)).benchmarks
    assert workload_of(benchmark).argv(benchmark.parameters)[0] == "spin"
    assert benchmark.key == suite.benchmarks[0].key


def test_words_do_not_make_another_benchmark_and_a_command_does(tmp_path: Path) -> None:
    def key(text: str) -> str:
        return load_suite(str(write(tmp_path, text + SUITE)), project_dir=tmp_path).benchmarks[0].key

    first = key(WORKLOAD)
    assert key(WORKLOAD.replace("expected_s = 2", 'expected_s = 2\ndescription = "words"')) == first
    assert key(WORKLOAD.replace('"--rounds"', '"--n"')) != first


def test_a_definition_is_read_back_as_it_was(tmp_path: Path) -> None:
    write(tmp_path, "data", "files/input.dat")
    text = """
    [workloads.copy]
    command = ["client", "{server_address}", "-p", "{port}", "{folder}/input.dat"]
    programs = ["client", "server"]
    version = ["client", "-V"]
    packages = ["client-tools"]
    server = { command = ["server", "-p", "{port}"], tcp_port = "{port}" }
    files = ["files/input.dat"]
    size_bytes = 1000
    setup = [["prepare", "{folder}"]]
    cleanup = [["forget", "{folder}"]]
    expected_s = "{time_s}"
    threads = 2
    uses = ["network", "cpu"]
    error = "^oops"
    [workloads.copy.parameters]
    port = { default = 5000, minimum = 1, maximum = 65535, description = "where it listens" }
    time_s = { default = 1.5, unit = "s" }
    [workloads.copy.metrics]
    rate = { unit = "MB/s", better = "higher", json = "$.rate", headline = true, step = 0.1 }
    latency = { unit = "us", better = "lower", json = "$.us[*]", samples = true }
    used = { better = "lower", time = "user" }
    """
    write(tmp_path, text, "workloads/copy.toml")
    tool = find_workload("copy", project_dir=tmp_path)
    parameters = resolve_parameters(tool, {})
    again = DefinedWorkload(Definition.from_json(tool.definition))
    assert again.definition == tool.definition
    for item in (tool, again):
        assert item.scope == "pair"
        server = item.server(parameters)
        assert server is not None
        assert (server.argv, server.tcp_port) == (("server", "-p", "5000"), 5000)
        folder = item.files(parameters)
        assert folder is not None
        assert folder.size_bytes == 1000
        assert item.argv(parameters, server_address="10.0.0.2")[-1] == f"{folder.folder}/input.dat"
        (file,) = item.files_to_copy(parameters)
        assert (file.source, file.path) == ("files/input.dat", f"{folder.folder}/input.dat")
        assert file.sha256 == hashlib.sha256(b"data").hexdigest()
        assert item.setup_argvs(parameters) == [("prepare", folder.folder)]
        assert item.cleanup_argvs(parameters)[-1] == ("rm", "-rf", "--one-file-system", folder.folder)
        assert item.expected_s(parameters) == pytest.approx(1.6)
        assert item.load(parameters).threads == 2
        assert item.load(parameters).uses == {"cpu", "network"}
    assert tool.files_dir == str(tmp_path)


WRONG: list[tuple[str, str, str, str]] = [
    ('command = ["spin", ', "command = [3, ", "must be a command: a list of texts", "no shell reads them"),
    ('command = ["spin", ', 'command = ["-x", ', "begin with a program", "no shell reads them"),
    ("expected_s = 2", "", "'expected_s' is missing", "{time_s}"),
    ("expected_s = 2", 'expected_s = "soon"', "a number, or a parameter", "{time_s}"),
    ("expected_s = 2", 'expected_s = 2\ncomand = ["x"]', "wrong key 'comand'", "command"),
    ("expected_s = 2", 'expected_s = 2\nuses = ["gpu"]', "may have: cpu, memory", ""),
    ("expected_s = 2", 'expected_s = 2\nfiles = ["no.dat"]', "no such file", ""),
    ("expected_s = 2", 'expected_s = 2\nerror = "("', "no regular expression", ""),
    ("expected_s = 2", 'expected_s = 2\ndelimiter = ",,"', "one character", ""),
    ("expected_s = 2", 'expected_s = 2\nsetup = ["mkdir x"]', "a list of texts", "no shell"),
    ("{rounds}", "{round}", "no parameter 'round'", "rounds"),
    ("{rounds}", "{rounds!r}", "wrong braces", "{{"),
    ("{rounds}", "{rounds.real}", "wrong braces", "{{"),
    ("{rounds}", "{rounds", "wrong braces", "{{"),
    ("{rounds}", "1", "rounds is used nowhere", "put {rounds}"),
    ('"spin", "--rounds"', '"sh", "-c", "x {mode}"', "would become code of sh", "as an argument"),
    (
        '"spin", "--rounds"',
        '"env", "python3", "-c", "x {mode}"',
        "would become code of env",
        "as an argument",
    ),
    ('"spin", "--rounds"', '"awk", "{mode}"', "would become code of awk", "as an argument"),
    ("rounds = 1", "Rounds = 1", "no name for a parameter", "small letters"),
    ("rounds = 1", "rounds = [1]", "no default", "fixes the type"),
    ("rounds = 1", "rounds = { default = 1, choices = [2] }", "one of its choices", ""),
    ("rounds = 1", "rounds = 1, folder = 1", "a word of perfctl's", "another name"),
    (', key = "rate"', "", "one place where it is read", "json, regex"),
    ('key = "rate"', 'key = "rate", column = "x"', "one place where it is read, not key and column", ""),
    ('key = "rate"', 'regex = "("', "no regular expression", ""),
    ('key = "rate"', 'regex = "rate: (.*)"', "a group 'value'", "(?P<value>"),
    ('key = "rate"', 'json = "$.["', "no JSONPath", "RFC 9535"),
    ('key = "rate"', 'time = "elapsed"', "one of wall, user", ""),
    ('key = "rate"', 'time = "user"', "must be 's'", ""),
    ('key = "rate"', 'key = "rate", step = 0', "above 0", ""),
    ('unit = "ops/s", ', "", "'unit' is missing", ""),
    ('better = "higher"', 'better = "more"', "one of 'lower'", ""),
    ('better = "higher"', 'better = "neutral"', "which way is better", ""),
    ('better = "higher"', 'better = "higher", headline = false', "one metric must be the headline", ""),
]


@pytest.mark.parametrize(("old", "new", "message", "hint"), WRONG)
def test_a_wrong_table_is_refused(tmp_path: Path, old: str, new: str, message: str, hint: str) -> None:
    assert old in WORKLOAD
    path = write(tmp_path, WORKLOAD.replace(old, new) + SUITE)
    with pytest.raises(SuiteError) as error:
        load_suite(str(path), project_dir=tmp_path)
    assert message in error.value.message
    assert hint in (error.value.hint or "")
    assert str(path) in (error.value.where or "")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", WORKLOAD.replace(".spin]", ".sysbench]"), "sysbench is a built-in workload"),
        ("a.toml", WORKLOAD.replace(".spin]", '."a b"]'), "no name for a workload"),
        ("a.toml", WORKLOAD + "[other]\n", "wrong key 'other'"),
        ("a.toml", "no TOML", "this is no TOML"),
        ("b.toml", WORKLOAD, "workload spin is defined twice"),
    ],
)
def test_a_wrong_file_of_the_project_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    write(tmp_path, WORKLOAD, "workloads/0.toml")
    write(tmp_path, text, f"workloads/{name}")
    with pytest.raises(SuiteError, match=message):
        find_workload("spin", project_dir=tmp_path)


def test_an_unknown_workload_is_answered_with_what_comes_close(tmp_path: Path) -> None:
    write(tmp_path, WORKLOAD, "workloads/spin.toml")
    with pytest.raises(UnknownName) as error:
        find_workload("spinn", project_dir=tmp_path)
    assert error.value.hint == "did you mean spin?"
    with pytest.raises(SuiteError) as refused:
        load_suite(str(write(tmp_path, SUITE.replace('"spin"\np', '"spinn"\np'))), project_dir=tmp_path)
    assert refused.value.hint == "did you mean spin?"


@pytest.mark.parametrize(
    "value", ["fast; rm -rf /", "$(id)", "`id`", "a b", "'\"", "{rounds}", "%n", "é\u202e"]
)
def test_a_value_is_one_argument_whatever_is_in_it(tmp_path: Path, value: str) -> None:
    write(tmp_path, WORKLOAD, "workloads/spin.toml")
    tool = find_workload("spin", project_dir=tmp_path)
    given: dict[str, Any] = {"mode": value}
    if not value.isprintable():
        with pytest.raises(SuiteError, match="control characters"):
            resolve_parameters(tool, given)
        return
    assert tool.argv(resolve_parameters(tool, given))[-1] == f"--mode={value}"


def test_a_text_that_a_program_would_take_for_an_option_is_refused(tmp_path: Path) -> None:
    write(tmp_path, WORKLOAD, "workloads/spin.toml")
    with pytest.raises(SuiteError, match="begins with '-'"):
        resolve_parameters(find_workload("spin", project_dir=tmp_path), {"mode": "--help"})
