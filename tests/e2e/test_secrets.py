"""No command prints a secret of its environment or of its inventories, whatever is wrong with them."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from perfctl.store import open_store
from tests.unit import store_cases as cases


@pytest.fixture(scope="module")
def canaries() -> dict[str, str]:
    """Return secrets and one variable that is none, by the names of environment variables."""
    names = (
        "DEPLOY_TOKEN",
        "API_KEY",
        "SOME_PASSWORD",
        "CLIENT_SECRET",
        "CLOUD_CREDENTIALS",
        "FAVOURITE_WORD",
    )
    return {name: f"canary{secrets.token_hex(8)}" for name in names}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, canaries: dict[str, str]) -> Path:
    """Return a project with inventories that cannot be read, each for another reason, and a database."""
    path = tmp_path_factory.mktemp("canaries")
    (path / "perfctl.toml").touch()
    word = canaries["FAVOURITE_WORD"]
    files = {
        "brace.yml": f'all: {{hosts: {{n1: {{ansible_become_password: "a{{%{word}"}}}}}}\n',
        "broken.yml": f"all:\n  hosts:\n    n1:\n      ansible_password: {word}: x\n",
        "block.yml": f"all:\n  vars:\n    db_password: |\n      {word}\n   bad: x\n",
        "broken.ini": f"n1 ansible_password={word} 'x\n",
        "words.ini": f"n1 ansible_password=a {word} b\n",
        "port.yml": "all: {hosts: {n1: {ansible_port: \"{{ lookup('env', 'API_KEY') }}\"}}}\n",
        "address.yml": "all: {hosts: {n1: {perf_test_address: \"{{ lookup('env', 'DEPLOY_TOKEN') }}\"}}}\n",
        "variables.yml": f"password: {word}: x\n",
    }
    for name, text in files.items():
        (path / name).write_text(text)
    (path / "wrong").mkdir()
    (path / "wrong" / "perfctl.toml").write_text(f'password = "{word}"\n')
    with open_store(path / "results.db", create=True) as store:
        run_id = cases.begin_run(store)
        cases.measure_block(
            store, run_id, cases.block(), {("native", 1): 1.0, ("native", 2): 1.1, ("container", 1): 1.2}
        )
        store.writer.end_run(run_id, "complete")
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        *[("-i", f"{name}.{kind}", "run", "--suite", "cpu", "--dry-run") for name, kind in (
            ("brace", "yml"), ("broken", "yml"), ("block", "yml"), ("broken", "ini"), ("words", "ini"),
            ("port", "yml"), ("address", "yml"),
        )],
        ("-i", "port.yml", "provision"),
        ("-i", "address.yml", "--debug", "verify"),
        ("provision", "-e", "@variables.yml"),
        ("--project", "wrong", "runs"),
        ("runs", "--{DEPLOY_TOKEN}"),
        ("{API_KEY}",),
        ("run", "--suite", "{SOME_PASSWORD}"),
        ("--debug", "run", "--suite", "cpu", "--env", "{CLIENT_SECRET}"),
        ("run", "--suite", "cpu", "--param", "{API_KEY}=1"),
        ("show", "{CLOUD_CREDENTIALS}"),
        ("--db", "{API_KEY}.db", "runs"),
        ("--db", "mysql://me:{API_KEY}@h/x", "runs"),
        *[("query", "SELECT '{API_KEY}' AS \"{DEPLOY_TOKEN}\", '={API_KEY}'", "--format", fmt)
          for fmt in ("table", "json", "csv", "md")],
        ("query", "SELECT {API_KEY}"),
        ("compare", "latest", "--benchmark", "{API_KEY}"),
        ("gate", "latest", "--max-regression", "{API_KEY}"),
        ("trend", "{API_KEY}"),
        ("why", "latest", "{API_KEY}"),
        ("benchmarks", "{API_KEY}"),
        ("environments", "{API_KEY}"),
        ("suites", "{API_KEY}"),
        ("db", "backup", "/nowhere/{API_KEY}"),
        ("reap", "{API_KEY}"),
        ("resume", "{API_KEY}"),
        ("selftest", "--{API_KEY}"),
        ("lab", "status", "--name", "{API_KEY}"),
    ],
    ids=" ".join,
)  # fmt: skip
def test_no_command_and_no_error_prints_a_secret(
    folder: Path, canaries: dict[str, str], arguments: tuple[str, ...]
) -> None:
    environ = {**os.environ, **canaries, "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-m", "perfctl", *(item.format(**canaries) for item in arguments)],
        capture_output=True, text=True, timeout=120, check=False, cwd=folder, env=environ,
    )  # fmt: skip
    printed = done.stdout + done.stderr
    assert [name for name, value in canaries.items() if value in printed] == []
    assert printed and ("Traceback" not in printed or "--debug" in arguments)
    for path in (folder / "cache").rglob("*.json"):
        assert not any(value in path.read_text() for value in canaries.values())
    assert (done.returncode == 0) is (arguments[0] == "query" and "--format" in arguments)
