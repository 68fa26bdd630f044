"""The security of a container: fields of a suite, options of docker, and the profile that a suite brings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from perfctl.environments import environment
from perfctl.environments.container import Docker
from perfctl.environments.drivers import driver_for
from perfctl.errors import EnvironmentUnavailable, SuiteError
from perfctl.model import Environment, Suite
from perfctl.plan.json import plan_from_json, plan_to_json
from perfctl.plan.make import make_plan
from perfctl.render.environments import environment_view, environments_view
from perfctl.render.view import View, row_values
from perfctl.shell import Completed
from perfctl.suites import load_suite
from tests.unit.test_plan_json import HOSTS

REST = '\n[suite]\nname = "x"\n[[benchmark]]\nname = "a"\nworkload = "sysbench"\n'
PROFILE = '{"defaultAction": "SCMP_ACT_ALLOW",\n "syscalls": []}\n'


def suite_of(folder: Path, table: str) -> Suite:
    path = folder / "my.toml"
    path.write_text(f'[environments.mine]\nkind = "container"\n{table}{REST}')
    return load_suite(str(path), environments=["native", "mine"])


def mine(folder: Path, table: str) -> Environment:
    return suite_of(folder, table).environments[1]


def refusal(folder: Path, table: str) -> tuple[str, str]:
    with pytest.raises(SuiteError) as caught:
        suite_of(folder, table)
    assert "[environments.mine]" in str(caught.value.where)
    return caught.value.message, str(caught.value.hint)


class RecordingHost:
    """A host that keeps what it was asked, and answers as docker does."""

    name = "h1"

    def __init__(self, answer: Completed | None = None) -> None:
        self.asked: list[tuple[list[str], bytes]] = []
        self.answer = answer

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"") -> Completed:
        self.asked.append((list(argv), stdin))
        if self.answer is not None and "run" in argv:
            return replace(self.answer, argv=tuple(argv))
        return Completed(tuple(argv), 0, b"{}", b"")


def driver(wanted: Environment):
    return driver_for(wanted, run_id="r", invocation_id="i", host_address="10.0.0.1")


def test_every_field_is_an_option_of_docker(tmp_path: Path) -> None:
    wanted = mine(
        tmp_path,
        'security_opt = ["apparmor=unconfined"]\ncap_add = ["SYS_NICE"]\ncap_drop = ["ALL"]\n'
        'no_new_privileges = true\nread_only = true\ntmpfs = ["/tmp:size=64m"]\nuserns = "host"\n',
    )
    argv = Docker().run_argv(wanted, "c1", {})
    assert argv[argv.index("bridge") + 1 : argv.index("--entrypoint")] == [
        *["--security-opt", "no-new-privileges", "--security-opt", "apparmor=unconfined"],
        *["--cap-drop", "ALL", "--cap-add", "SYS_NICE", "--tmpfs", "/tmp:size=64m"],
        *["--read-only", "--userns", "host"],
    ]


def test_a_profile_is_read_with_the_suite_and_is_the_environments(tmp_path: Path) -> None:
    (tmp_path / "strict.json").write_text(PROFILE)
    suite = suite_of(tmp_path, 'security_opt = ["seccomp=strict.json", "label=disable"]\n')
    strict = suite.environments[1]
    assert (strict.seccomp_profile, strict.security_opt) == (PROFILE, ("label=disable",))
    digest = hashlib.sha256(PROFILE.encode()).hexdigest()
    assert strict.identity()["seccomp_profile"] == digest
    assert replace(strict, seccomp_profile=PROFILE + " ").key != strict.key
    # A run can be resumed without the file.
    (tmp_path / "strict.json").unlink()
    plan = plan_from_json(plan_to_json(make_plan(suite, HOSTS, seed="1")))
    assert plan.environments[1] == strict


@pytest.mark.parametrize("word", ["unconfined", "builtin"])
def test_words_of_dockers_own_are_no_files(tmp_path: Path, word: str) -> None:
    wanted = mine(tmp_path, f'security_opt = ["seccomp={word}"]\n')
    assert (wanted.security_opt, wanted.seccomp_profile) == ((f"seccomp={word}",), None)


def test_a_profile_goes_to_the_client_and_leaves_no_file() -> None:
    strict = replace(environment("container"), name="strict", seccomp_profile=PROFILE)
    host = RecordingHost()
    with driver(strict).open(host):
        pass
    argv, stdin = host.asked[0]
    assert argv[:4] == ["sh", "-c", 'cat | "$@"', "sh"]
    assert argv[argv.index("--security-opt") + 1] == "seccomp=/dev/stdin"
    assert stdin == PROFILE.encode()
    assert driver(strict).describe(RecordingHost())["seccomp_profile.sha256"] == strict.seccomp_profile_sha256
    assert "seccomp_profile.sha256" not in driver(environment("container")).describe(RecordingHost())


@pytest.mark.parametrize(
    ("content", "message", "hint"),
    [
        (None, "is not there", "did you mean strict.json?"),
        ("{", "no JSON", "defaultAction"),
        ("[1]", "without a defaultAction", "SCMP_ACT_ERRNO"),
        ('{"syscalls": []}', "without a defaultAction", "SCMP_ACT_ERRNO"),
    ],
)
def test_a_profile_that_is_none_is_refused_by_name(
    tmp_path: Path, content: str | None, message: str, hint: str
) -> None:
    (tmp_path / "strict.json").write_text(PROFILE)
    if content is not None:
        (tmp_path / "strikt.json").write_text(content)
    said, todo = refusal(tmp_path, 'security_opt = ["seccomp=strikt.json"]\n')
    assert message in said
    assert "strikt.json" in said
    assert hint in todo


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('tmpfs = ["tmp"]\n', "must have absolute paths"),
        ('userns = "private"\n', "must be one of 'host'"),
        ('cap_drop = ["--privileged"]\n', "must not begin with '-'"),
        ("no_new_privileges = 1\n", "must be true or false"),
        ('security_opt = ["seccomp=unconfined", "seccomp=x.json"]\n', "names two seccomp profiles"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, table: str, message: str) -> None:
    assert message in refusal(tmp_path, table)[0]


def test_what_a_host_refuses_is_unavailable_with_the_engines_words() -> None:
    words = b"docker: Error response from daemon: failed to create shim task: unable to apply caps: denied"
    host = RecordingHost(Completed((), 125, b"", words))
    with pytest.raises(EnvironmentUnavailable, match="unable to apply caps: denied"):
        driver(environment("container-privileged")).check(host)


def rows(view: View) -> list[dict[str, Any]]:
    return [row_values(view.fields, record) for record in view.records]


def test_users_see_what_is_not_stock(tmp_path: Path) -> None:
    (tmp_path / "strict.json").write_text(PROFILE)
    strict = mine(tmp_path, 'security_opt = ["seccomp=strict.json"]\nread_only = true\n')
    digest = str(strict.seccomp_profile_sha256)
    (listed,) = rows(environments_view([strict]))
    assert listed["relaxations"] == f"--security-opt seccomp=sha256:{digest[:12]} --read-only"
    fields = {item["field"]: item["value"] for item in rows(environment_view(strict))}
    assert (fields["seccomp_profile"], fields["read_only"]) == (digest, "yes")
    assert PROFILE not in json.dumps(fields)
