"""The engine of a lab host: what is refused before a change, and what is taken back when it does not work.

Each test leaves the host as it was provisioned, and its stamp, which only says so.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.lab import LabAtHand

pytestmark = pytest.mark.lab("first")

DAEMON_JSON = "/etc/docker/daemon.json"
DROP_IN = "/etc/systemd/system/docker.service.d/50-perfctl.conf"
STAMP = "/var/lib/perfctl/stamp.json"


@pytest.fixture
def host(provisioned_lab: LabAtHand) -> Iterator[str]:
    """Return the lab's first host; its stamp is put back after the test."""
    name = provisioned_lab.hosts[0]
    stamp = provisioned_lab.inside(name, "cat", STAMP)
    yield name
    _write(name, STAMP, stamp)


def _write(host: str, path: str, text: str) -> None:
    argv = ["docker", "exec", "-i", host, "sh", "-c", 'mkdir -p "$(dirname "$1")" && cat > "$1"', "sh", path]
    subprocess.run(argv, input=text, text=True, timeout=60, check=True)


def _provision(lab: LabAtHand, host: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return lab.perfctl("provision", "--limit", host, *arguments, timeout_s=300)


def _state(lab: LabAtHand, host: str) -> str:
    """Return everything about the engine that must stay as it is, but for its process."""
    show = ["systemctl", "show", "-p", "ActiveState,UnitFileState,DropInPaths", "docker.service"]
    files = f"ls -A {DROP_IN.rpartition('/')[0]} /etc/docker; stat -c '%a %U %n' {DROP_IN}; cat {DROP_IN}"
    flags = "tr '\\0' ' ' < /proc/$(systemctl show --value -p MainPID docker.service)/cmdline"
    return lab.inside(host, *show) + lab.inside(host, "sh", "-c", f"{files}; {flags}; docker version")


def _process(lab: LabAtHand, host: str) -> str:
    return lab.inside(host, "systemctl", "show", "--value", "-p", "MainPID", "docker.service")


def _wait_for_engine(lab: LabAtHand, host: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        argv = ["docker", "exec", host, "docker", "version"]
        if subprocess.run(argv, capture_output=True, timeout=60, check=False).returncode == 0:
            return
        assert time.monotonic() < deadline, "the engine does not answer"
        time.sleep(0.2)


def test_what_excludes_the_bridge_is_refused_before_anything_is_changed(
    provisioned_lab: LabAtHand, host: str
) -> None:
    before, process = _state(provisioned_lab, host), _process(provisioned_lab, host)
    _write(host, DAEMON_JSON, '{"bip": "192.168.5.1/24", "hosts": ["unix:///run/docker.sock"]}')
    try:
        done = _provision(provisioned_lab, host, "--check", "--tags", "docker")
    finally:
        provisioned_lab.inside(host, "rm", DAEMON_JSON)
    assert done.returncode == 7, done.stdout + done.stderr
    message = " ".join(done.stderr.split())
    assert f'{DAEMON_JSON} says {{"bip": "192.168.5.1/24"}}, which excludes --bridge=br1' in message
    assert f'{DAEMON_JSON} says {{"hosts": ["unix:///run/docker.sock"]}}, but ' in message
    assert (_state(provisioned_lab, host), _process(provisioned_lab, host)) == (before, process)


def test_a_change_with_which_dockerd_does_not_start_is_taken_back(
    provisioned_lab: LabAtHand, host: str
) -> None:
    # A folder that cannot be made: dockerd finds out when it starts, and not before.
    before = _state(provisioned_lab, host)
    variables = json.dumps({"perf_docker_extra_flags": ["--exec-root=/proc/perfctl-test"]})
    done = _provision(provisioned_lab, host, "--tags", "docker", "-e", variables)
    assert done.returncode == 3, done.stdout + done.stderr
    message = " ".join(done.stderr.split())
    assert f"dockerd did not start with {DROP_IN}: " in message
    assert "/proc/perfctl-test: no such file or directory" in message
    assert "The change was taken back, and the engine runs as before" in message
    assert _state(provisioned_lab, host) == before


@pytest.fixture
def engine_by_hand(provisioned_lab: LabAtHand, host: str) -> Iterator[str]:
    """Return the path of a dockerd that was started by hand in place of docker.service, not on the PATH."""
    program = "/opt/engine/dockerd"
    options = "--data-root /opt/engine/data --exec-root /opt/engine/run -p /opt/engine/pid --bridge=none"
    script = f"""
        systemctl stop docker.service docker.socket
        mkdir -p /opt/engine && mv /usr/sbin/dockerd {program}
        mv /lib/systemd/system/docker.service /opt/engine && systemctl daemon-reload
        nohup {program} -H unix:///run/docker.sock {options} > /opt/engine/log 2>&1 &
    """
    provisioned_lab.inside(host, "sh", "-euc", script)
    try:
        _wait_for_engine(provisioned_lab, host)
        yield program
    finally:
        script = f"""
            pid=$(cat /opt/engine/pid) && kill "$pid"
            while [ -e "/proc/$pid/exe" ]; do sleep 0.1; done
            mv {program} /usr/sbin/dockerd
            mv /opt/engine/docker.service /lib/systemd/system && systemctl daemon-reload
            rm -rf /opt/engine
            systemctl start docker.socket docker.service
        """
        provisioned_lab.inside(host, "sh", "-euc", script)
        _wait_for_engine(provisioned_lab, host)


def test_an_engine_that_is_not_docker_service_is_refused_and_gets_none_beside_it(
    provisioned_lab: LabAtHand, host: str, engine_by_hand: str
) -> None:
    before = provisioned_lab.inside(host, "docker", "info", "--format", "{{.ID}} {{.DockerRootDir}}")
    packages = provisioned_lab.inside(host, "dpkg-query", "-W")
    done = _provision(provisioned_lab, host, "--tags", "engine")
    assert done.returncode == 7, done.stdout + done.stderr
    message = " ".join(done.stderr.split())
    assert f"{engine_by_hand}, started by hand (process " in message
    assert "installs no second one beside another" in message
    assert provisioned_lab.inside(host, "dpkg-query", "-W") == packages
    after = provisioned_lab.inside(host, "docker", "info", "--format", "{{.ID}} {{.DockerRootDir}}")
    assert after == before
