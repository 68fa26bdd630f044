#!/usr/bin/python
# Runs on the managed host with the host's own Python: the standard library of 3.7 at most.
"""Work out docker.service's drop-in from the vendor's unit, and what stands against it. Changes nothing."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
module: perf_docker_plan
short_description: Work out docker.service's drop-in and what stands against it
description:
  - Reads docker.service, its drop-ins, the environment files that they name, C(daemon.json) or the file that
    C(--config-file) names, and the running daemon. Where there is no docker.service yet, Debian's is assumed.
  - Changes nothing.
options:
  flags:
    description: Flags for dockerd, as C(--name=value) or C(--name).
    type: list
    elements: str
    required: true
  drop_in:
    description: Path of our own drop-in, which does not count as somebody else's.
    type: path
    required: true
  address:
    description: The host's address on the test network with its prefix length; empty when it has none.
    type: str
    default: ''
author: the perfctl authors
"""

EXAMPLES = r"""
- name: Work out the drop-in
  perf_docker_plan:
    flags: [--bridge=br1, --mtu=9000]
    drop_in: /etc/systemd/system/docker.service.d/50-perfctl.conf
    address: 10.77.0.1/16
"""

RETURN = r"""
exec_start:
  description: The vendor's command line with our flags at its end; empty when no flag is needed.
  type: str
  returned: always
refusals:
  description: Why it must not be done.
  type: list
  returned: always
running:
  description: Whether the running dockerd has all our flags already.
  type: bool
  returned: always
missing:
  description: Our flags that the running dockerd lacks.
  type: list
  returned: always
present:
  description: The text of our drop-in as it is, empty when there is none.
  type: str
  returned: always
containers:
  description: Names of running containers, which a restart stops.
  type: list
  returned: always
unit:
  description: The file of docker.service, empty when there is none.
  type: str
  returned: always
"""

SHORT = {
    "D": "debug",
    "G": "group",
    "H": "host",
    "b": "bridge",
    "g": "graph",
    "l": "log-level",
    "p": "pidfile",
    "s": "storage-driver",
    "h": "help",
    "v": "version",
}
SWITCHES = "Dhv"
"""The short options without a value."""
REPEATABLE = (
    "add-runtime",
    "authorization-plugin",
    "default-address-pool",
    "default-network-opt",
    "default-ulimit",
    "dns",
    "dns-opt",
    "dns-search",
    "exec-opt",
    "feature",
    "host",
    "insecure-registry",
    "label",
    "log-opt",
    "registry-mirror",
    "storage-opt",
)
"""The flags that may be given more than once."""
IN_BOTH_PLACES = ("runtimes",)
"""The keys of daemon.json that a flag may add to."""
NOT_NESTED = (
    "builder",
    "cluster-store-opts",
    "default-network-opts",
    "default-ulimits",
    "features",
    "log-opts",
    "runtimes",
)
"""The keys of daemon.json whose object is the value itself; another's keys are options of their own."""
DAEMON_JSON = "etc/docker/daemon.json"
UNIT = "docker.service"
UNIT_FOLDERS = (
    "etc/systemd/system",
    "run/systemd/system",
    "usr/local/lib/systemd/system",
    "usr/lib/systemd/system",
    "lib/systemd/system",
)
"""The first one that has a file wins."""
DEBIAN_UNIT = (
    f"Debian's {UNIT}",
    """[Service]
EnvironmentFile=-/etc/default/docker
ExecStart=/usr/sbin/dockerd -H fd:// --containerd=/run/containerd/containerd.sock $DOCKER_OPTS
""",
)
"""The place and the text of the unit that a host without an engine will get."""
OURS = "perfctl"
"""The place of our own flags."""


class Option(NamedTuple):
    """One option of dockerd: its long name without dashes, its value (None for a switch), where it is set."""

    name: str
    value: Any
    place: str
    written: str
    """As it is written there."""


# -- options as text -------------------------------------------------------------------------------


def split_words(text: str) -> list[str]:
    """Return the words of a command line; what is quoted badly is split at blanks."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def parse_command_line(words: Iterable[tuple[str, str]]) -> list[Option]:
    """Return the options in the (word, place) pairs of a command line; a value may be a word of its own."""
    found: list[Option] = []
    rest = list(words)
    while rest:
        word, place = rest.pop(0)
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            has_value = bool(equals)
        elif word.startswith("-") and len(word) > 1:
            letters = word[1:]
            while letters[0] in SWITCHES and letters[1:2] not in ("", "="):
                found.append(Option(SHORT[letters[0]], None, place, "-" + letters[0]))
                letters = letters[1:]
            name, value = SHORT.get(letters[0], letters[0]), letters[1:]
            has_value, value = bool(value), value[1:] if value.startswith("=") else value
        else:
            continue
        if not has_value and rest and not rest[0][0].startswith(("-", "$")):
            value, has_value = rest.pop(0)[0], True
            word = f"{word} {value}"
        found.append(Option(name, value if has_value else None, place, word))
    return found


def parse_config(config: Mapping[str, Any], place: str) -> list[Option]:
    """Return the options of daemon.json."""
    found: list[Option] = []
    for key, value in config.items():
        if isinstance(value, Mapping) and key not in NOT_NESTED:
            found += parse_config(value, place)
        else:
            found.append(Option(key, value, place, json.dumps({key: value})))
    return found


def config_keys(name: str) -> tuple[str, ...]:
    """Return the keys of daemon.json that mean this flag: those of repeated flags are in the plural."""
    if name == "add-runtime":
        return ("runtimes",)
    return (name, name[:-1] + "ies" if name.endswith("y") else name + "s")


def is_same_option(one: Option, other: Option) -> bool:
    """Return whether two settings are of one option, in whichever place."""
    return one.name in config_keys(other.name) or other.name in config_keys(one.name)


def is_same_value(one: Option, other: Option) -> bool:
    """Return whether two settings of one option say the same."""
    if isinstance(one.value, bool) or isinstance(other.value, bool) or None in (one.value, other.value):
        return is_off(one) == is_off(other)
    return str(one.value) == str(other.value)


def settle(
    ours: Sequence[Option], command_line: Sequence[Option], config: Sequence[Option]
) -> tuple[list[Option], list[str]]:
    """Return (our options that are still needed, complaints): dockerd takes an option from one place only.

    What is set to the same value already, is left to where it is set.
    """
    needed, complaints = [], []
    for option in ours:
        flags = [other for other in command_line if is_same_option(option, other)]
        keys = [
            other for other in config if is_same_option(option, other) and other.name not in IN_BOTH_PLACES
        ]
        same = [other for other in flags + keys if is_same_value(option, other)]
        if option.name in REPEATABLE:
            flags = []
        others = [other for other in flags[:1] + keys[:1] if other not in same]
        complaints += [
            f"{other.place} says {other.written}, perfctl needs {option.written}; "
            "dockerd takes an option from one place only"
            for other in others
        ]
        if not same and not others:
            needed.append(option)
    return needed, complaints


def set_twice(command_line: Sequence[Option], config: Sequence[Option]) -> list[str]:
    """Return a complaint for each option of others that is both a flag and in daemon.json."""
    return [
        f"{other.place} says {other.written}, but {option.place} gives dockerd {option.written}: "
        "dockerd takes an option from one place only and would not start again"
        for option in command_line
        for other in config
        if is_same_option(option, other) and other.name not in IN_BOTH_PLACES
    ]


def is_set(option: Option) -> bool:
    """Return whether an option has a value."""
    return option.value not in (None, "")


def has_option(option: Option, *names: str) -> bool:
    """Return whether one of these names is among the options of an option, such as --log-opt max-size=10m."""
    values = option.value if isinstance(option.value, (list, Mapping)) else [option.value]
    return any(str(value).partition("=")[0] in names for value in values)


def uses_systemd(option: Option) -> bool:
    """Return whether --exec-opt says that systemd manages cgroups."""
    values = option.value if isinstance(option.value, list) else [option.value]
    return "native.cgroupdriver=systemd" in values


def is_off(option: Option) -> bool:
    """Return whether an option is switched off."""
    return option.value is False or str(option.value).lower() in ("false", "0", "f")


def is_no_slice(option: Option) -> bool:
    """Return whether --cgroup-parent is no slice of systemd."""
    return not str(option.value).endswith(".slice")


def keeps_no_files(option: Option) -> bool:
    """Return whether --log-driver is one of those that send everything on."""
    return option.value in ("awslogs", "fluentd", "gcplogs", "gelf", "journald", "splunk", "syslog")


def rotates_files(option: Option) -> bool:
    """Return whether --log-opt is about files."""
    return has_option(option, "max-size", "max-file", "compress")


EXCLUSIVE: Sequence[tuple[str, Callable[[Option], bool], str, Callable[[Option], bool]]] = (
    ("bridge", is_set, "bip", is_set),
    ("bridge", is_set, "bip6", is_set),
    ("icc", is_off, "iptables", is_off),
    ("cgroup-parent", is_no_slice, "exec-opt", uses_systemd),
    ("log-driver", keeps_no_files, "log-opt", rotates_files),
)
"""Pairs of options that stop dockerd together, each with the values of which that is true."""


def exclusions(options: Sequence[Option]) -> list[str]:
    """Return a complaint for each pair of options that exclude each other, wherever they are set."""
    found = []
    for name, test, other_name, other_test in EXCLUSIVE:
        ones = [item for item in options if item.name in config_keys(name) and test(item)]
        others = [item for item in options if item.name in config_keys(other_name) and other_test(item)]
        if ones and others:
            one, other = ones[-1], others[-1]
            # Somebody else's is named first: that is what can be changed.
            first, second = (other, one) if one.place == OURS else (one, other)
            found.append(
                f"{first.place} says {first.written}, which excludes {second.written} of {second.place}: "
                "dockerd would not start"
            )
    return found


def foreign_gateway(options: Sequence[Option], address: str) -> list[str]:
    """Return a complaint when containers' gateway is set and is not in the network of our bridge."""
    is_ours = any(option.name == "bridge" and option.place == OURS for option in options)
    if not address or not is_ours:
        return []
    network, found = ipaddress.ip_interface(address).network, []
    for option in options:
        if option.name == "default-gateway" and is_set(option):
            try:
                fits = ipaddress.ip_address(str(option.value)) in network
            except ValueError:
                fits = False
            if not fits:
                found.append(
                    f"{option.place} says {option.written}, which is not in {network}, "
                    "the network of the bridge: dockerd would not start"
                )
    return found


# -- units as text ---------------------------------------------------------------------------------


def service_settings(text: str) -> list[tuple[str, str]]:
    """Return the (name, value) pairs of a unit's section [Service], continuation lines joined."""
    found, section, pending = [], "", ""
    for line in text.splitlines():
        stripped = line.strip()
        if stripped.startswith(("#", ";")) or (not stripped and not pending):
            continue
        if stripped.endswith("\\"):
            pending += stripped[:-1].rstrip() + " "
            continue
        stripped, pending = pending + stripped, ""
        if stripped.startswith("["):
            section = stripped
        elif section == "[Service]" and "=" in stripped:
            name, _, value = stripped.partition("=")
            found.append((name.strip(), value.strip()))
    return found


def exec_starts(text: str) -> list[str]:
    """Return the ExecStart lines of a unit."""
    return [value for name, value in service_settings(text) if name == "ExecStart"]


def environment_of_file(text: str) -> dict[str, str]:
    """Return the variables in an EnvironmentFile of systemd, quotes removed."""
    found = {}
    for line in re.sub(r"\\\n", "", text).splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and re.match(r"[A-Za-z_]\w*$", name):
            value = value.strip()
            if value[:1] in "\"'" and value[1:].count(value[:1]) and value:
                value = value[1 : value.rindex(value[0])]
            found[name] = value
    return found


def expand(command: str, variables: Mapping[str, tuple[str, str]], place: str) -> list[tuple[str, str]]:
    """Return the (word, place) pairs of a command line; `variables` are {name: (value, place)}.

    As systemd does: $NAME is split into words, ${NAME} is a part of its word; what is not set is empty.
    """
    words: list[tuple[str, str]] = []
    for word in split_words(command):
        whole = re.match(r"\$(\w+)$", word)
        if whole:
            value, source = variables.get(whole.group(1), ("", place))
            words += [(part, source) for part in split_words(value)]
            continue
        names = re.findall(r"\$\{(\w+)\}", word)
        sources = [variables[name][1] for name in names if name in variables]
        text = re.sub(r"\$\{(\w+)\}", lambda match: variables.get(match.group(1), ("", ""))[0], word)
        words.append((text, sources[0] if sources else place))
    return words


# -- this host -------------------------------------------------------------------------------------


def read(path: Path) -> str:
    """Return a file's text, '' when there is none."""
    return path.read_text(encoding="utf-8-sig", errors="replace") if path.is_file() else ""


def output(argv: Sequence[str], timeout_s: float = 30) -> str:
    """Return what a command writes, '' when it cannot."""
    try:
        done = subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=timeout_s, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace") if done.returncode == 0 else ""


def foreign_drop_ins(root: Path, own: Path) -> list[Path]:
    """Return the drop-ins of docker.service but for our own, as systemd orders them."""
    found: dict[str, Path] = {}
    for folder in reversed(UNIT_FOLDERS):
        for unit in ("service", UNIT):
            found.update((path.name, path) for path in (root / folder / f"{unit}.d").glob("*.conf"))
    return [path for _, path in sorted(found.items()) if path.resolve() != own.resolve()]


def variables_of(texts: Iterable[tuple[str, str]], root: Path) -> dict[str, tuple[str, str]]:
    """Return {name: (value, place)} of the variables that a unit and its drop-ins, (place, text), set."""
    variables: dict[str, tuple[str, str]] = {}
    files: list[str] = []
    for place, text in texts:
        for name, value in service_settings(text):
            # An empty value forgets those before it.
            if name == "Environment":
                pairs = [word.partition("=") for word in split_words(value)]
                variables = {**variables, **{key: (word, place) for key, _, word in pairs}} if value else {}
            elif name == "EnvironmentFile":
                files = [*files, value.lstrip("-")] if value else []
    for pattern in files:
        for path in sorted(root.glob(pattern.lstrip("/"))):
            found = environment_of_file(read(path))
            variables.update((name, (value, str(path))) for name, value in found.items())
    return variables


class Service:
    """docker.service as its files say it: systemd reads them when the engine is restarted.

    `root` is the folder that stands for / (for tests), `own` our drop-in, which is left out.
    """

    def __init__(self, root: Path, own: Path) -> None:
        candidates = [root / folder / UNIT for folder in UNIT_FOLDERS]
        self.unit = next((path for path in candidates if path.exists()), None)
        self.place, text = (str(self.unit), read(self.unit)) if self.unit else DEBIAN_UNIT
        drop_ins = [(str(path), read(path)) for path in foreign_drop_ins(root, own)]
        self.foreign_commands = [place for place, text in drop_ins if exec_starts(text)]
        self.command = (exec_starts(text) or [""])[-1]
        self.words = expand(self.command, variables_of([(self.place, text), *drop_ins], root), self.place)
        self._root = root

    @property
    def program(self) -> str:
        """The path of the program that the unit starts, '' when it starts none."""
        return self.words[0][0].lstrip("@-:+!|") if self.words else ""

    @property
    def options(self) -> list[Option]:
        """The options on its command line, with where each comes from."""
        return parse_command_line(self.words[1:])

    def config_path(self, flags: Sequence[Option]) -> Path:
        """Return the file that dockerd reads with these flags beside its own."""
        named = [option.value for option in [*self.options, *flags] if option.name == "config-file"]
        return self._root / str(named[-1] if named and named[-1] else DAEMON_JSON).lstrip("/")


def running_options() -> list[Option]:
    """Return the options of the dockerd that runs as docker.service, [] when none does."""
    pid = output(["systemctl", "show", "--value", "-p", "MainPID", UNIT]).strip()
    try:
        words = Path("/proc", pid, "cmdline").read_text().split("\0")[1:] if pid not in ("", "0") else []
    except OSError:
        words = []
    return parse_command_line((word, "the running dockerd") for word in words if word)


def validated(service: Service, needed: Sequence[Option]) -> list[str]:
    """Return what dockerd itself says against its options with ours; Docker before 23.0 cannot be asked."""
    if "--validate" not in output([service.program, "--help"]):
        return []
    words = [word for word, _ in service.words[1:]]
    words += [word for option in needed for word in split_words(option.written)]
    try:
        done = subprocess.run(
            [service.program, *words, "--validate"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    if done.returncode == 0:
        return []
    lines = done.stdout.decode(errors="replace").strip().splitlines()
    return [f"dockerd would not start: {lines[-1] if lines else 'it does not say why'}"]


def complaints_on_paper(
    service: Service, flags: Sequence[Option], address: str
) -> tuple[list[Option], list[Option], list[str]]:
    """Return (our options still needed, all options that are set, what stands against them)."""
    path = service.config_path(flags)
    try:
        config = json.loads(read(path).strip() or "{}")
    except ValueError as error:
        return [], [], [f"{path} is no JSON: {error}"]
    if not isinstance(config, dict):
        return [], [], [f"{path} is not an object in JSON"]
    configured = parse_config(config, str(path))
    needed, found = settle(flags, service.options, configured)
    found += set_twice(service.options, configured)
    everything = [*configured, *service.options, *needed]
    found += exclusions(everything) + foreign_gateway(everything, address)
    found += [f"{place} sets ExecStart, and is not ours" for place in service.foreign_commands]
    if not service.command:
        found.append(f"{service.place} has no ExecStart")
    elif not Path(service.program).name.startswith("dockerd"):
        found.append(f"{service.place} starts {service.program}, not dockerd: perfctl cannot add flags to it")
    return needed, everything, found


def plan(flags: Sequence[str], drop_in: Path, address: str = "", root: Path = Path("/")) -> dict[str, Any]:
    """Return the module's result."""
    service = Service(root, drop_in)
    result: dict[str, Any] = {
        "exec_start": "",
        "refusals": [],
        "containers": [],
        "missing": [],
        "running": True,
        "present": read(drop_in),
        "unit": str(service.unit or ""),
    }
    if not flags:
        return result
    ours = parse_command_line((flag, OURS) for flag in flags)
    needed, everything, result["refusals"] = complaints_on_paper(service, ours, address)
    if service.unit is None or result["refusals"]:
        # Of an engine that is not there yet only its files can be checked.
        return result
    if needed or result["present"]:
        # A drop-in of before may give dockerd what daemon.json says by now: it is written anew.
        result["exec_start"] = " ".join([service.command, *(option.written for option in needed)])
    have = {(option.name, option.value) for option in running_options()}
    result["missing"] = [option.written for option in needed if (option.name, option.value) not in have]
    result["running"] = not result["missing"]
    if result["running"]:
        return result
    result["containers"] = output(["docker", "ps", "--format", "{{.Names}}"]).split()
    result["refusals"] = validated(service, needed)
    kept = [option for option in everything if option.name == "live-restore" and not is_off(option)]
    if kept and result["containers"]:
        result["refusals"].append(
            f"{kept[-1].place} says {kept[-1].written}: dockerd keeps its network as it is while containers "
            f"run; stop {', '.join(result['containers'])}"
        )
    return result


def main() -> None:
    """Run as an Ansible module."""
    module = AnsibleModule(
        argument_spec={
            "flags": {"type": "list", "elements": "str", "required": True},
            "drop_in": {"type": "path", "required": True},
            "address": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    given = module.params
    module.exit_json(changed=False, **plan(given["flags"], Path(given["drop_in"]), given["address"]))


if __name__ == "__main__":
    main()
