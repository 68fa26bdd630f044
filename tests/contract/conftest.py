"""The shells that the contract is tested over. A new kind of shell is one function here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from perfctl.job import JobShell
from perfctl.model import Host
from perfctl.shell import Shell, Transport
from perfctl.ssh import connect
from tests.sshd import Sshd, running_sshd

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


SHELLS: dict[str, Maker] = {
    "local": local_shell,
    "ssh": ssh_shell,
    "jobs over local": jobs_over(local_shell),
    "jobs over ssh": jobs_over(ssh_shell),
}


@pytest.fixture(scope="module", params=SHELLS)
def shell(
    request: pytest.FixtureRequest, sshd: Sshd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Shell]:
    """Return each kind of shell in turn."""
    with SHELLS[request.param](sshd, tmp_path_factory.mktemp("shell")) as made:
        yield made
