"""The shells of the contract (a new kind of shell is one function here), and jobs on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from perfctl.environments import environment
from perfctl.environments.drivers import driver_for
from perfctl.inventory import load_hosts
from perfctl.job import JobShell, reap
from perfctl.model import Environment, Host, new_id
from perfctl.shell import Shell, Transport
from perfctl.ssh import connect
from tests.contract.job_spool import RUN
from tests.lab import LabAtHand
from tests.processes import wait_until, with_argument
from tests.sshd import Sshd, running_sshd
from tests.tiny_image import tiny_image

Maker = Callable[[pytest.FixtureRequest, Path], AbstractContextManager[Shell]]
TransportMaker = Callable[[pytest.FixtureRequest, Path], AbstractContextManager[Transport]]


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """Return a running sshd that knows our key."""
    with running_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(params=["local", "ssh"])
def transport(request: pytest.FixtureRequest, sshd: Sshd) -> Iterator[Transport]:
    """Return a way to this machine, directly or through ssh."""
    is_local = request.param == "local"
    made = connect(Host("box", "localhost", connection="local") if is_local else sshd.host())
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> str:
    """Return the folder that spools lie in."""
    return str(tmp_path / "spool")


@pytest.fixture
def jobs(transport: Transport, root: str) -> Iterator[JobShell]:
    """Return a job shell that is stopped at the end."""
    made = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    yield made
    made.stop()
    reap(transport, RUN, spool_root=root)
    wait_until(lambda: not with_argument(made.spool), "our processes on the host to end")


@pytest.fixture
def ssh_jobs(sshd: Sshd, root: str) -> Iterator[JobShell]:
    """Return a job shell over ssh."""
    transport = connect(sshd.host())
    made = JobShell.start(transport, RUN, lifetime_s=600, spool_root=root)
    yield made
    made.stop()
    transport.close()


@contextmanager
def local_shell(request: pytest.FixtureRequest, folder: Path) -> Iterator[Transport]:
    """This machine itself."""
    transport = connect(Host("here", "localhost", connection="local"))
    yield transport
    transport.close()


@contextmanager
def ssh_shell(request: pytest.FixtureRequest, folder: Path) -> Iterator[Transport]:
    """This machine through ssh."""
    sshd: Sshd = request.getfixturevalue("sshd")
    transport = connect(sshd.host())
    yield transport
    transport.close()


def lab_host(fixture: str) -> TransportMaker:
    """Return the maker of a connection to the first of a fixture's hosts, which has what guests need."""

    @contextmanager
    def make(request: pytest.FixtureRequest, folder: Path) -> Iterator[Transport]:
        lab: LabAtHand = request.getfixturevalue(fixture)
        (host,) = load_hosts([str(lab.inventory)], limit=lab.hosts[0])
        transport = connect(host)
        yield transport
        transport.close()

    return make


def jobs_over(transport_maker: TransportMaker, *, on_this_machine: bool = True) -> Maker:
    """Return the maker of a job shell over a transport."""

    @contextmanager
    def make(request: pytest.FixtureRequest, folder: Path) -> Iterator[Shell]:
        spool_root = str(folder / "spool") if on_this_machine else None
        with transport_maker(request, folder) as transport:
            jobs = JobShell.start(transport, f"contract-{new_id()}", lifetime_s=1800, spool_root=spool_root)
            yield jobs
            jobs.stop()

    return make


def container_over(host_maker: Maker) -> Maker:
    """Return the maker of a shell inside a container, made through a host's shell."""

    @contextmanager
    def make(request: pytest.FixtureRequest, folder: Path) -> Iterator[Shell]:
        request.getfixturevalue("engine")
        with host_maker(request, folder) as host, opened(host, "container", tiny_image()) as inside:
            yield inside

    return make


def inside_of(host_maker: Maker, what: str | Environment) -> Maker:
    """Return the maker of a shell inside an environment of a lab host, made of the image of that host."""

    @contextmanager
    def make(request: pytest.FixtureRequest, folder: Path) -> Iterator[Shell]:
        with host_maker(request, folder) as host, opened(host, what) as inside:
            yield inside

    return make


def limited_over(host_maker: Maker) -> Maker:
    """Return the maker of a host's shell within every limit that there is."""

    @contextmanager
    def make(request: pytest.FixtureRequest, folder: Path) -> Iterator[Shell]:
        every = Environment(
            "limited", "native", cpuset_cpus="1", cpuset_mems="0", cpu_quota=1.0, memory_mib=512
        )
        with host_maker(request, folder) as host, opened(host, every) as inside:
            yield inside

    return make


@contextmanager
def opened(host: Shell, what: str | Environment, image: str | None = None) -> Iterator[Shell]:
    """Open an environment, a built-in one by its name, on a host."""
    driver = driver_for(
        environment(what) if isinstance(what, str) else what,
        run_id=new_id(),
        invocation_id=new_id(),
        host_address="127.0.0.1",
        image=image,
    )
    with driver.open(host) as inside:
        yield inside


LIMITED_IN_GUEST = replace(
    environment("container-in-vm"), cpuset_cpus="0", cpuset_mems="0", cpu_quota=1.0, memory_mib=512
)
"""A guest has control groups of version 2 with all their controllers."""
FIRST = jobs_over(lab_host("provisioned_lab"), on_this_machine=False)
THIRD = jobs_over(lab_host("third_host"), on_this_machine=False)
SHELLS: dict[str, Maker] = {
    "local": local_shell,
    "ssh": ssh_shell,
    "jobs over local": jobs_over(local_shell),
    "jobs over ssh": jobs_over(ssh_shell),
    "container over local": container_over(local_shell),
    "container over jobs over ssh": container_over(jobs_over(ssh_shell)),
    "native with limits": limited_over(FIRST),
    "container of a host": inside_of(FIRST, "container"),
    "vm over jobs over ssh": inside_of(THIRD, "vm"),
    "container in vm": inside_of(THIRD, LIMITED_IN_GUEST),
}
_ASKED_BY_NAME = ("container of a host",)
"""Those that only some tests are tried over."""
_OF_THE_LAB = {
    "container over local": "engine",
    "container over jobs over ssh": "engine",
    "native with limits": "first",
    "container of a host": "first",
    "vm over jobs over ssh": "third",
    "container in vm": "third",
}
_SLOW = "container in vm"
"""Each command takes seconds: the engine's client starts on an emulated processor."""


def _marks(name: str) -> list[pytest.MarkDecorator]:
    marks = [pytest.mark.lab(_OF_THE_LAB[name])] if name in _OF_THE_LAB else []
    return [*marks, pytest.mark.slow] if name == _SLOW else marks


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the tests of one shell together: it is opened once. The slow one gets the last value alone."""
    places = [place for place, item in enumerate(items) if _shell_of(item)]
    ordered = sorted((items[place] for place in places), key=lambda item: list(SHELLS).index(_shell_of(item)))
    for place, item in zip(places, ordered, strict=True):
        items[place] = item
    last = {item.function: item for item in ordered if isinstance(item, pytest.Function)}
    dropped = [item for item in ordered if _shell_of(item) == _SLOW and item not in last.values()]
    items[:] = [item for item in items if item not in dropped]
    config.hook.pytest_deselected(items=dropped)


def _shell_of(item: pytest.Item) -> str:
    """Return the name of the shell that a test of the contract is tried over; '' where it is no such test."""
    if not isinstance(item, pytest.Function) or item.path.name != "test_shells.py":
        return ""
    return str(item.callspec.params["shell"])


_PARAMETERS = [pytest.param(name, marks=_marks(name)) for name in SHELLS if name not in _ASKED_BY_NAME]


@pytest.fixture(scope="module", params=_PARAMETERS)
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """Return each kind of shell in turn; a guest boots once for all tests of a file."""
    with SHELLS[request.param](request, tmp_path_factory.mktemp("shell")) as made:
        yield made
