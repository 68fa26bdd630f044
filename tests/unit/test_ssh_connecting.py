"""Connections that are begun ahead: who asks gets them, and nobody else keeps them."""

from __future__ import annotations

import resource
import threading

import pytest

import perfctl.ssh
from perfctl.errors import HostTurnedAway, HostUnreachable, UsageError
from perfctl.model import Host
from perfctl.ssh import connecting

HOSTS = tuple(Host(name, "127.0.0.1", connection="local") for name in ("h1", "h2", "h3"))


class Connection:
    """A connection that knows whether it was closed."""

    def __init__(self, host: Host) -> None:
        self.name = host.name
        self.is_closed = False

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> dict[str, Connection]:
    """The connections that were made; h3 cannot be reached."""
    found: dict[str, Connection] = {}

    def connect(host: Host) -> Connection:
        if host.name == "h3":
            raise HostUnreachable("no answer", where=host.name)
        found[host.name] = Connection(host)
        return found[host.name]

    monkeypatch.setattr(perfctl.ssh, "connect", connect)
    return found


def test_who_asks_gets_the_connection_and_closes_it(made: dict[str, Connection]) -> None:
    with connecting(HOSTS) as connect:
        assert id(connect(HOSTS[0])) == id(made["h1"])
        with pytest.raises(HostUnreachable):
            connect(HOSTS[2])
    assert not made["h1"].is_closed


def test_a_connection_that_nobody_asks_for_is_closed(made: dict[str, Connection]) -> None:
    with pytest.raises(KeyError), connecting(HOSTS) as connect:
        connect(HOSTS[0])
        raise KeyError("the database cannot be opened")
    assert [each.is_closed for each in made.values()] == [False, True]


def test_all_are_begun_before_anybody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    both = threading.Barrier(3, timeout=20)

    def connect(host: Host) -> Connection:
        both.wait()
        return Connection(host)

    monkeypatch.setattr(perfctl.ssh, "connect", connect)
    with connecting(HOSTS[:2]):
        both.wait()


def test_a_host_that_could_not_be_reached_is_tried_anew_for_who_asks_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[Exception | None] = [HostTurnedAway("it hung up", where="h1"), None]

    def connect(host: Host) -> Connection:
        if error := answers.pop(0):
            raise error
        return Connection(host)

    monkeypatch.setattr(perfctl.ssh, "connect", connect)
    with connecting(HOSTS[:1]) as ask:
        with pytest.raises(HostTurnedAway):
            ask(HOSTS[0])
        assert ask(HOSTS[0]).name == "h1"


def test_so_many_hosts_may_have_their_files_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (64, 70))
    with pytest.raises(UsageError, match="3 hosts need up to"), connecting(HOSTS):
        pass


def test_no_host_is_no_error() -> None:
    with connecting(()):
        pass
