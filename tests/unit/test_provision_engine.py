"""Which engines provisioning uses, and which it refuses by their names."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.role_modules import load

engine = load("perf_engine/library/perf_engine_facts.py")

DEBIAN = {"program": "/usr/sbin/dockerd", "exists": True, "masked": False, "enabled": True, "pid": 300}
ANSWER = {"Version": "20.10.24", "Components": [{"Name": "Engine", "Version": "20.10.24"}]}


def _found(**findings: Any) -> dict[str, Any]:
    """Return the findings of a host without an engine, but for what is given."""
    nothing: dict[str, Any] = {
        "answer": None,
        "process": {},
        "service": {},
        "snap": False,
        "dockerd": "",
        "client": False,
        "podman": "",
        "systemd": True,
        "package": "",
    }
    assert set(findings) <= set(nothing)
    return nothing | findings


def test_without_an_engine_one_is_installed() -> None:
    facts = engine.facts(_found())
    assert (facts["installed"], facts["refusal"], facts["name"]) == (False, "", "")


@pytest.mark.parametrize("pid", [1, 300])
def test_an_engine_that_runs_as_docker_service_is_used(pid: int) -> None:
    facts = engine.facts(
        _found(
            answer=ANSWER,
            process={"pid": pid, "program": "", "unit": ""},
            service=DEBIAN,
            dockerd="/usr/sbin/dockerd",
            package="docker.io",
        )
    )
    assert facts["refusal"] == ""
    assert facts["installed"]
    assert facts["enabled"]
    assert facts["name"] == "docker.io 20.10.24, /usr/sbin/dockerd, docker.service"


@pytest.mark.parametrize(
    ("program", "package"),
    [("/usr/bin/dockerd", "docker-ce"), ("/usr/bin/dockerd", "moby-engine"), ("/opt/docker/dockerd", "")],
)
def test_whose_docker_service_it_is_does_not_matter(program: str, package: str) -> None:
    service = DEBIAN | {"program": program}
    for answer, process in ((ANSWER, {"pid": 1, "program": "", "unit": ""}), (None, {})):
        facts = engine.facts(_found(answer=answer, process=process, service=service, package=package))
        assert facts["refusal"] == ""
        assert facts["installed"]


@pytest.mark.parametrize(
    ("findings", "words"),
    [
        (
            {
                "answer": ANSWER,
                "process": {
                    "pid": 9,
                    "program": "/snap/docker/2932/bin/dockerd",
                    "unit": "snap.docker.dockerd.service",
                },
                "snap": True,
            },
            "the engine that answers is docker 20.10.24 of snap",
        ),
        ({"snap": True}, "this host has docker of snap, which does not answer"),
        (
            {"answer": ANSWER, "process": {"pid": 9, "program": "/opt/docker/dockerd", "unit": ""}},
            "a dockerd of no package 20.10.24, /opt/docker/dockerd, started by hand (process 9)",
        ),
        (
            {
                "answer": ANSWER,
                "process": {"pid": 9, "program": "/usr/bin/dockerd", "unit": "engine.service"},
                "package": "docker-ce",
            },
            "docker-ce 20.10.24, /usr/bin/dockerd, engine.service",
        ),
        (
            # Debian's is installed, but another answers.
            {
                "answer": ANSWER,
                "process": {"pid": 9, "program": "/opt/docker/dockerd", "unit": ""},
                "service": DEBIAN | {"pid": 0},
            },
            "/opt/docker/dockerd, started by hand (process 9)",
        ),
        (
            {"answer": ANSWER, "process": {"pid": 0, "program": "", "unit": ""}},
            "docker 20.10.24 outside of this host, which shares its socket",
        ),
        (
            {"answer": ANSWER, "process": {"pid": 1, "program": "", "unit": ""}},
            "the engine that answers is docker 20.10.24",
        ),
        (
            {"dockerd": "/usr/local/bin/dockerd"},
            "this host has a dockerd of no package, /usr/local/bin/dockerd, which does not answer",
        ),
    ],
)
def test_an_engine_that_cannot_be_configured_is_refused_by_its_name(
    findings: dict[str, Any], words: str
) -> None:
    facts = engine.facts(_found(**findings))
    assert words in facts["refusal"]
    assert facts["refusal"].endswith(engine.ADVICE)
    assert facts["installed"], "never a second one"


@pytest.mark.parametrize(
    "findings",
    [
        {"podman": "/usr/bin/docker"},
        {
            "answer": {"Version": "4.3.1", "Components": [{"Name": "Podman Engine"}]},
            "process": {"pid": 1, "program": "", "unit": ""},
        },
        {"podman": "/usr/bin/docker", "systemd": False},
    ],
)
def test_podman_in_dockers_place_is_refused(findings: dict[str, Any]) -> None:
    facts = engine.facts(_found(**findings))
    assert "podman in docker's place" in facts["refusal"]
    assert facts["installed"]


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (DEBIAN | {"program": "", "exists": False, "masked": True}, "docker.service is masked"),
        (DEBIAN | {"exists": False}, "docker.service starts /usr/sbin/dockerd, which is not there"),
    ],
)
def test_a_docker_service_that_cannot_start_is_refused(service: dict[str, Any], words: str) -> None:
    assert engine.facts(_found(service=service))["refusal"].startswith(words)


def test_without_systemd_whatever_answers_is_used() -> None:
    process = {"pid": 9, "program": "/usr/sbin/dockerd", "unit": ""}
    facts = engine.facts(_found(answer=ANSWER, process=process, systemd=False, package="docker.io"))
    assert (facts["refusal"], facts["installed"], facts["answers"]) == ("", True, True)


@pytest.mark.parametrize("answer", [{}, {"Components": None, "Version": None}, {"Components": [{}]}])
def test_an_answer_with_holes_is_survived(answer: dict[str, Any]) -> None:
    process = {"pid": 9, "program": "/opt/dockerd", "unit": ""}
    assert engine.facts(_found(answer=answer, process=process, dockerd="/opt/dockerd"))["installed"]


# -- this host -------------------------------------------------------------------------------------


class _Version(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps(ANSWER).encode()
        self.send_response(200 if self.path == "/version" else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Print nothing."""


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[str]:
    """Return the path of a socket at which something answers as an engine does."""
    path = str(tmp_path / "docker.sock")
    with socketserver.ThreadingUnixStreamServer(path, _Version) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield path
        server.shutdown()
        thread.join()


def test_the_engine_is_asked_at_its_socket_and_its_process_found(listening: str) -> None:
    answer, pid = engine.version_at(listening)
    assert answer == ANSWER
    assert pid == os.getpid()
    assert engine.process(pid)["program"] == str(Path("/proc/self/exe").resolve())


def test_a_socket_at_which_nobody_answers(tmp_path: Path) -> None:
    assert engine.version_at(str(tmp_path / "nothing")) == (None, -1)
    assert engine.process(1) == {"pid": 1, "program": "", "unit": ""}


@pytest.mark.parametrize(
    ("text", "is_podman"),
    [
        ('#!/bin/sh\necho "Emulate Docker CLI using podman." >&2\nexec /usr/bin/podman "$@"\n', True),
        ('#!/bin/sh\nexec /opt/docker/docker "$@"\n', False),
        ("\x7fELF podman", False),
    ],
)
def test_podmans_command_in_dockers_place_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, is_podman: bool
) -> None:
    program = tmp_path / "docker"
    program.write_text(text)
    program.chmod(0o755)
    monkeypatch.setattr(engine, "PATH", str(tmp_path))
    assert engine.podman() == (str(program) if is_podman else "")


def test_the_package_of_a_program_is_found() -> None:
    assert engine.package_of("/usr/bin/apt-get") == "apt"
    assert engine.package_of("/nowhere/dockerd") == ""
