"""The context that an invocation is judged in, besides counters and values, and its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, Self, TypeVar

from perfctl.model import Resource
from perfctl.validity.bounds import Bound

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Expected:
    """What a run expects of an invocation before it starts.

    `cpus` are those online on the host; `parallelism` is how many of them the benchmark can keep busy at
    once (None: not known); `uses` what it loads on purpose; `interfaces` the host's that its traffic takes.
    """

    cpus: int | None = None
    parallelism: int | None = None
    uses: frozenset[Resource] = frozenset({"cpu"})
    interfaces: tuple[str, ...] = ()
    shares_host_network: bool = True
    """False where its packets are counted in a network namespace, or a kernel, of its own."""
    has_cpu_quota: bool = False
    is_own_cpu_read: bool = True
    """False where tasks of the benchmark run in a control group that is not among the counters."""

    def to_json(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        # All are plain values: `asdict` would copy each of them for every invocation.
        return {name: getattr(self, name) for name in self.__slots__} | {"uses": sorted(self.uses)}

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> Self:
        """Return the value of what `to_json` returned."""
        made = known_fields(cls, item)
        return replace(made, uses=frozenset(made.uses), interfaces=tuple(made.interfaces))


@dataclass(frozen=True, slots=True)
class RateClaim:
    """A rate of data that must have crossed one of the host's devices, or its memory."""

    rate: str
    """The metric of the payload per second."""
    time: str
    """The metric of the seconds that the rate is the mean of."""
    direction: Literal["sent", "received", "read", "written"]
    device: str | None
    """The interface or disk that counts its bytes; None: they are in no counter that was read."""
    bound: Bound | None
    """What the wire carries, or the memory, where that is known."""

    @classmethod
    def from_json(cls, item: Mapping[str, Any]) -> Self:
        """Return a claim as it was stored."""
        # The first databases have `interface` and `line_rate`: only the network was judged.
        bound = item.get("bound", item.get("line_rate"))
        return cls(
            rate=item["rate"],
            time=item["time"],
            direction=item["direction"],
            device=item.get("device", item.get("interface")),
            bound=known_fields(Bound, bound) if bound else None,
        )


@dataclass(frozen=True, slots=True)
class ServerContext:
    """The host of a pair's server: what is expected there, and why it was not read ('': it was)."""

    host: str
    expected: Expected
    unread: str = ""


@dataclass(frozen=True, slots=True)
class JudgementContext:
    """What an invocation is judged by, besides its counters, its values and the limits."""

    expected: Expected
    own_cpu_us: int | None = None
    """The CPU time of the benchmark's own tasks where it is known otherwise than by the counters."""
    claims: tuple[RateClaim, ...] = ()
    server: ServerContext | None = None
    boot_attempts: int | None = None
    """Boots of the guest whose start was measured; None where no guest's start was measured."""

    def to_json(self) -> dict[str, Any]:
        """Return it ready for JSON."""
        content: dict[str, Any] = {"expected": self.expected.to_json(), "own_cpu_us": self.own_cpu_us}
        if self.boot_attempts is not None:
            content["boot_attempts"] = self.boot_attempts
        if self.server is not None:
            content["server"] = asdict(self.server) | {"expected": self.server.expected.to_json()}
        return content | {"claims": [asdict(claim) for claim in self.claims]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the context of what `to_json` returned; keys of a newer perfctl are left out."""
        server = content.get("server")
        if server:
            expected = Expected.from_json(server["expected"])
            server = known_fields(ServerContext, server | {"expected": expected})
        return cls(
            expected=Expected.from_json(content["expected"]),
            own_cpu_us=content["own_cpu_us"],
            claims=tuple(map(RateClaim.from_json, content["claims"])),
            server=server or None,
            boot_attempts=content.get("boot_attempts"),
        )


def known_fields(kind: type[T], item: Mapping[str, Any]) -> T:
    """Return a dataclass made of the items that are fields of it."""
    names = {each.name for each in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in item.items() if name in names})
