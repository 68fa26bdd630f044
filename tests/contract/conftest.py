"""The shells that the contract is tested over. A new kind of shell is one function here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from perfctl.environments import driver_for, environment
from perfctl.job import JobShell
from perfctl.model import Host, new_id
from perfctl.shell import Shell, Transport
from perfctl.ssh import connect
from tests.sshd import Sshd, running_sshd
from tests.tiny_image import tiny_image

Maker = Callable[[Sshd, Path], AbstractContextManager[Shell]]


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Return a running sshd that knows our key."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@contextmanager
def local_shell(sshd: Sshd, folder: Path) -> Iterator[Transport]:
    """This machine itself."""
    transport = connect(Host("here", "localhost", connection="local"))
    yield transport
    transport.close()


@contextmanager
def ssh_shell(sshd: Sshd, folder: Path) -> Iterator[Transport]:
    """This machine through ssh."""
    transport = connect(sshd.host())
    yield transport
    transport.close()


def jobs_over(transport_maker: Callable[[Sshd, Path], AbstractContextManager[Transport]]) -> Maker:
    """Return the maker of a job shell over a transport."""

    @contextmanager
    def make(sshd: Sshd, folder: Path) -> Iterator[Shell]:
        with transport_maker(sshd, folder) as transport:
            jobs = JobShell.start(transport, "contract", lifetime_s=600, spool_root=str(folder / "spool"))
            yield jobs
            jobs.stop()

    return make


def container_over(host_maker: Maker) -> Maker:
    """Return the maker of a shell inside a container, made through a host's shell."""

    @contextmanager
    def make(sshd: Sshd, folder: Path) -> Iterator[Shell]:
        driver = driver_for(
            environment("container"),
            run_id=new_id(),
            invocation_id=new_id(),
            host_address="127.0.0.1",
            image=tiny_image(),
        )
        with host_maker(sshd, folder) as host, driver.open(host) as inside:
            yield inside

    return make


SHELLS: dict[str, Maker] = {
    "local": local_shell,
    "ssh": ssh_shell,
    "jobs over local": jobs_over(local_shell),
    "jobs over ssh": jobs_over(ssh_shell),
    "container over local": container_over(local_shell),
    "container over jobs over ssh": container_over(jobs_over(ssh_shell)),
}
_PARAMETERS = [
    pytest.param(name, marks=pytest.mark.lab) if name.startswith("container") else name for name in SHELLS
]


@pytest.fixture(scope="module", params=_PARAMETERS)
def shell(
    request: pytest.FixtureRequest, sshd: Sshd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shell]:
    """Return each kind of shell in turn."""
    if request.param.startswith("container"):
        request.getfixturevalue("engine")
    with SHELLS[request.param](sshd, tmp_path_factory.mktemp("shell")) as made:
        yield made
