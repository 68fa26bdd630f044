"""A wrong suite file: the error names the file, the table, the key, and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfctl.errors import SuiteError
from perfctl.suites import list_suites, load_suite

HEAD = '[suite]\nname = "x"\n'
BENCHMARK = '[[benchmark]]\nname = "a"\nworkload = "sysbench"\n'


def refusal(folder: Path, text: str | bytes) -> tuple[str, str, str]:
    """Return message, place (without the folder) and hint."""
    path = folder / "my.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SuiteError) as caught:
        load_suite(str(path))
    assert caught.value.exit_code == 2
    where = str(caught.value.where)
    assert where.startswith(str(path))
    return caught.value.message, where.removeprefix(str(folder) + "/"), str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "message", "where", "hint"),
    [
        # the head
        (BENCHMARK, "key 'suite' is missing", "my.toml", "suite: a table"),
        ("suite = 3\n" + BENCHMARK, "suite = 3: it must be a table", "my.toml", ""),
        (HEAD + "color = 1\n" + BENCHMARK, "wrong key 'color'", "my.toml: [suite]", "allowed: name, desc"),
        (HEAD + "block = 1\n" + BENCHMARK, "wrong key 'block'", "my.toml: [suite]", "did you mean blocks?"),
        ("[suite]\nname = 3\n" + BENCHMARK, "name = 3: it must be a text", "my.toml: [suite]", ""),
        ('[suite]\nname = "a b"\n' + BENCHMARK, "must be letters, digits", "my.toml: [suite]", ""),
        ('[suite]\nname = ""\n' + BENCHMARK, "must be letters, digits", "my.toml: [suite]", ""),
        (HEAD + 'blocks = "10"\n' + BENCHMARK, "blocks = '10': it must be a whole", "my.toml: [suite]", ""),
        (HEAD + "blocks = 10.0\n" + BENCHMARK, "must be a whole number", "my.toml: [suite]", ""),
        (HEAD + "blocks = true\n" + BENCHMARK, "must be a whole number", "my.toml: [suite]", ""),
        (HEAD + "blocks = 0\n" + BENCHMARK, "must be at least 1", "my.toml: [suite]", ""),
        (HEAD + "precision = 1\n" + BENCHMARK, "precision = 1: it must be a text", "my.toml: [suite]", ""),
        (HEAD + 'precision = "1"\n' + BENCHMARK, "cannot be '1'", "my.toml: [suite]", "such as 1%"),
        (HEAD + 'precision = "0%"\n' + BENCHMARK, "0% is not between", "my.toml: [suite]", "such as 1%"),
        (
            HEAD + 'blocks = 10\nprecision = "1%"\n' + BENCHMARK,
            "does not go with blocks = 10",
            "my.toml: [suite]",
            "leave one of them out",
        ),
        (
            HEAD + "blocks = 10\n" + BENCHMARK + 'precision = "1%"\n',
            "does not go with blocks = 10",
            "my.toml: [[benchmark]] 1 (a)",
            "leave one of them out",
        ),
        (
            HEAD + BENCHMARK + 'blocks = 10\nprecision = "1%"\n',
            "does not go with blocks = 10",
            "my.toml: [[benchmark]] 1 (a)",
            "leave one of them out",
        ),
        (HEAD + BENCHMARK + "blocks = 0\n", "must be at least 1", "my.toml: [[benchmark]] 1 (a)", ""),
        (HEAD + BENCHMARK + "targets = 0\n", "must be at least 1", "my.toml: [[benchmark]] 1 (a)", ""),
        (HEAD + BENCHMARK + "targets = '1'\n", "must be a whole", "my.toml: [[benchmark]] 1 (a)", ""),
        (
            HEAD + BENCHMARK + 'precision = "200%"\n',
            "200% is not between",
            "my.toml: [[benchmark]] 1 (a)",
            "such as 1%",
        ),
        (HEAD + "description = []\n" + BENCHMARK, "must be a text", "my.toml: [suite]", ""),
        # environments
        (HEAD + 'environments = "native"\n' + BENCHMARK, "must be a list of texts", "my.toml: [suite]", ""),
        (HEAD + "environments = [1]\n" + BENCHMARK, "must be a list of texts", "my.toml: [suite]", ""),
        (HEAD + 'environments = ["native", "native"]\n' + BENCHMARK, "twice", "my.toml: [suite]", ""),
        (
            HEAD + 'environments = ["native", "contaner"]\n' + BENCHMARK,
            "no 'contaner'",
            "my.toml: [suite]",
            "container",
        ),
        (HEAD + 'baseline = "nativ"\n' + BENCHMARK, "no 'nativ'", "my.toml: [suite]", "did you mean native"),
        (
            HEAD + 'environments = ["container"]\n' + BENCHMARK,
            "the baseline 'native'",
            "my.toml: [suite]",
            "",
        ),
        (HEAD + "environments = []\n" + BENCHMARK, "the baseline 'native'", "my.toml: [suite]", ""),
        (
            HEAD + '[environments.native]\nkind = "native"\n' + BENCHMARK,
            "native is a built-in environment",
            "my.toml: [environments.native]",
            "another name",
        ),
        (HEAD + "[environments.y]\n" + BENCHMARK, "key 'kind' is missing", "my.toml: [environments.y]", ""),
        (
            HEAD + "[environments]\ny = 3\n" + BENCHMARK,
            "must be a table, not 3",
            "my.toml: [environments.y]",
            "",
        ),
        (
            HEAD + '[environments.y]\nkind = "jail"\n' + BENCHMARK,
            "kind = 'jail': it must be one of 'native', 'container', 'vm'",
            "my.toml: [environments.y]",
            "",
        ),
        (
            HEAD + '[environments.y]\nkind = "native"\nimage = "z"\n' + BENCHMARK,
            "a native environment has no image",
            "my.toml: [environments.y]",
            "container",
        ),
        (
            HEAD + '[environments.y]\nkind = "container"\nengine = "podman"\n' + BENCHMARK,
            "must be one of 'docker'",
            "my.toml: [environments.y]",
            "",
        ),
        (
            HEAD + '[environments.y]\nkind = "container"\nnetwork = "br1"\n' + BENCHMARK,
            "must be one of 'bridge', 'host'",
            "my.toml: [environments.y]",
            "",
        ),
        (
            HEAD + '[environments.y]\nkind = "container"\nprivileged = 1\n' + BENCHMARK,
            "must be true or false",
            "my.toml: [environments.y]",
            "",
        ),
        (
            HEAD + '[environments.y]\nkind = "container"\nsecurity-opt = []\n' + BENCHMARK,
            "wrong key 'security-opt'",
            "my.toml: [environments.y]",
            "did you mean security_opt?",
        ),
        # benchmarks
        (HEAD, "the suite has no benchmark", "my.toml", "[[benchmark]]"),
        (
            HEAD + BENCHMARK.replace("[[benchmark]]", "[[benchmarks]]"),
            "wrong key 'benchmarks'",
            "my.toml",
            "benchmark?",
        ),
        (
            HEAD + BENCHMARK.replace("[[benchmark]]", "[benchmark]"),
            "list of tables",
            "my.toml",
            "[[benchmark]]",
        ),
        ("benchmark = [3]\n" + HEAD, "must be a table, not 3", "my.toml: [[benchmark]] 1", ""),
        (
            HEAD + '[[benchmark]]\nname = "a"\n',
            "key 'workload' is missing",
            "my.toml: [[benchmark]] 1 (a)",
            "",
        ),
        (
            HEAD + '[[benchmark]]\nworkload = "sysbench"\n',
            "key 'name' is missing",
            "my.toml: [[benchmark]] 1",
            "",
        ),
        (HEAD + BENCHMARK + "threads = 2\n", "wrong key 'threads'", "my.toml: [[benchmark]] 1", "parameters"),
        (
            HEAD + BENCHMARK.replace("sysbench", "sysbnech"),
            "no workload 'sysbnech'",
            "my.toml: [[benchmark]] 1 (a)",
            "did you mean sysbench?",
        ),
        (HEAD + BENCHMARK + "parameters = []\n", "must be a table", "my.toml: [[benchmark]] 1 (a)", ""),
        (HEAD + BENCHMARK + BENCHMARK, "two benchmarks are named a", "my.toml: [[benchmark]] 2", ""),
        (
            HEAD + BENCHMARK + BENCHMARK.replace('"a"', '"b"') + "parameters = { time_s = 10 }\n",
            "b and a measure the same",
            "my.toml: [[benchmark]] 2",
            "leave one of them out",
        ),
        # parameters
        (
            HEAD + BENCHMARK + "parameters = { time = 3 }\n",
            "sysbench has no parameter 'time'",
            "my.toml: [[benchmark]] 1 (a), parameters",
            "did you mean time_s?",
        ),
        (
            HEAD + BENCHMARK + 'parameters = { time_s = "3s" }\n',
            "time_s must be a whole number, not '3s'",
            "my.toml: [[benchmark]] 1 (a), parameters",
            "write the bare number; time_s is in s",
        ),
        (
            HEAD + BENCHMARK + "parameters = { time_s = 2026-11-22 }\n",
            "time_s must be a whole number",
            "my.toml: [[benchmark]] 1 (a), parameters",
            "time_s (in s)",
        ),
        (
            HEAD + BENCHMARK + 'parameters = { test = "gpu" }\n',
            "must be one of 'cpu'",
            "my.toml: [[benchmark]] 1 (a), parameters",
            "",
        ),
        # no suite at all
        ("[suite\n", "this is no TOML", "my.toml", "docs/suites.md"),
        ("[suite]\nname = 'a'\nname = 'b'\n", "this is no TOML", "my.toml", ""),
        ("", "key 'suite' is missing", "my.toml", ""),
        ("- hosts: all\n", "this is no TOML", "my.toml", ""),
    ],
)
def test_refused(tmp_path: Path, text: str, message: str, where: str, hint: str) -> None:
    found = refusal(tmp_path, text)
    assert message in found[0]
    assert found[1] == where
    assert hint in found[2]


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    message, where, _ = refusal(tmp_path, b"\xff\xfe\x00")
    assert "cannot read the file" in message
    assert where == "my.toml"


def test_a_folder_is_no_suite(tmp_path: Path) -> None:
    (tmp_path / "my.toml").mkdir()
    with pytest.raises(SuiteError, match="cannot read the file"):
        load_suite(str(tmp_path / "my.toml"))


def test_a_wrong_file_in_the_project_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "bad.toml").write_text("nonsense")
    with pytest.raises(SuiteError) as caught:
        list_suites(tmp_path)
    assert str(caught.value.where).endswith("suites/bad.toml")
