"""Docker: its command lines, and the meaning of what they print. Pure: nothing runs here.

All of it works with the client of Docker 20.10 and later.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from perfctl.environments.catalogue import is_layer
from perfctl.environments.container.engine import KEEP_ALIVE, RUN_LABEL
from perfctl.errors import EnvironmentFailure, EnvironmentNotMade, EnvironmentUnavailable
from perfctl.model import Environment
from perfctl.shell import Completed

_REFUSALS = (
    "unable to apply caps",
    "operation not permitted",
    "operation not supported",
    "no such device",
    "kernel does not support",
    "is not enabled in your kernel",
    "range of cpus is from",
    "requested cpus are not available",
    "requested memory nodes are not available",
    "error gathering device information",
    "could not select device driver",
    "apparmor",
    "/sys/fs/cgroup",
    "read-only file system",
)
"""Messages, in small letters, of hosts and kernels that lack a privilege, device, module or CPU."""

_UNKNOWN_RUNTIME = ("unknown or invalid runtime name", "Unknown runtime specified")
"""Docker's message for a runtime that it does not have: from version 23 on, and before."""

_NO_SHELL = (
    "the image {image} has no shell (sh, true) on its PATH, which runs its main process and servers",
    "put one into it (COPY --from=busybox /bin/busybox /bin/sh, and /bin/true), or install what is measured"
    " in an image FROM perfctl/perf-tools",
)
"""Of an image made FROM scratch, or a distroless one."""
_BUILD = "build it: perfctl provision"
_BUILD_LAYER = "build it: perfctl run --build, or name the suite in perf_suites and: perfctl provision"
"""Of an image of perfctl's own, and of one made on top of it."""

_MEANINGS: tuple[tuple[str, str, str | None], ...] = (
    (
        "Cannot connect to the Docker daemon",
        "the Docker daemon does not answer",
        "start it: systemctl start docker",
    ),
    (
        "permission denied while trying to connect",
        "this user may not talk to the Docker daemon",
        "set ansible_become for the host, or: usermod -aG docker USER",
    ),
    ("No such image", "the image {image} is not there", _BUILD),
    ("Unable to find image", "the image {image} is not there", _BUILD),
    (
        "unable to apply caps",
        "the host itself lacks capabilities that the container needs",
        "leave it out with --env, or measure on a host with all capabilities (not itself a container)",
    ),
    (_UNKNOWN_RUNTIME[0], "the engine has no runtime {runtime}", None),
    (_UNKNOWN_RUNTIME[1], "the engine has no runtime {runtime}", None),
    ('exec: "sh": executable file not found', *_NO_SHELL),
    ('exec: "true": executable file not found', *_NO_SHELL),
    ("opening seccomp profile", "the seccomp profile cannot be read", "copy the profile to the host"),
)

PROFILE_PATH = "/dev/stdin"
"""Where the client reads a seccomp profile that an environment brings: no file is left on a host."""

_NOT_STARTED = "OCI runtime exec failed: "


class Docker:
    """The engine `docker`."""

    program = "docker"

    def run_argv(self, environment: Environment, name: str, labels: Mapping[str, str]) -> list[str]:
        """Return `docker run -d` with `--pull never`: nothing is downloaded while measuring."""
        return [self.program, "run", "-d", *_options(environment, name, labels), *_command(environment)]

    def create_argv(self, environment: Environment, name: str, labels: Mapping[str, str]) -> list[str]:
        """Return the command that makes the same container without starting it, to read docker's view."""
        return [self.program, "create", *_options(environment, name, labels), *_command(environment)]

    def probe_argv(
        self,
        environment: Environment,
        name: str,
        labels: Mapping[str, str],
        command: Sequence[str] = ("true",),
    ) -> list[str]:
        """Return the command that runs `command` in such a container and removes it: existence is not use."""
        options = _options(environment, name, labels)
        program, *arguments = command
        image = str(environment.image)
        return [self.program, "run", "--rm", *options, "--entrypoint", program, image, *arguments]

    def exec_argv(self, name: str, argv: Sequence[str], *, has_stdin: bool = False) -> list[str]:
        """Return the command that runs `argv` inside; without input stdin is /dev/null there."""
        return [self.program, "exec", *(["-i"] if has_stdin else []), name, *argv]

    def inspect_argv(self, template: str, *names: str) -> list[str]:
        """Return the command that prints `template` filled in for each container, image or network named."""
        return [self.program, "inspect", "-f", template, *names]

    def logs_argv(self, name: str) -> list[str]:
        """Return the command that prints the last lines of a container's log."""
        return [self.program, "logs", "--tail", "20", name]

    def remove_argv(self, *names: str) -> list[str]:
        """Return the command that kills and removes containers with their anonymous volumes."""
        return [self.program, "rm", "-f", "-v", *names]

    def list_argv(self, run_id: str) -> list[str]:
        """Return the command that prints the names of all containers, running or not, of a run."""
        return [self.program, "ps", "-a", "--filter", f"label={RUN_LABEL}={run_id}", "--format", "{{.Names}}"]

    def list_runs_argv(self) -> list[str]:
        """Return the command that prints the run's id and the age of each container, running or not."""
        line = f'{{{{.Label "{RUN_LABEL}"}}}} {{{{.RunningFor}}}}'
        return [self.program, "ps", "-a", "--filter", f"label={RUN_LABEL}", "--format", line]

    def info_argv(self) -> list[str]:
        """Return the command that prints the engine's version and settings, as JSON."""
        return [self.program, "info", "-f", "{{json .}}"]

    def lost_limit(self, environment: Environment, completed: Completed) -> str | None:
        """Return docker's warning that a limit of the environment was dropped, None when there is none."""
        if not (environment.cpuset_cpus or environment.cpuset_mems or environment.memory_mib):
            return None
        for line in completed.error_text.splitlines():
            if "discarded" in line or self.is_about_swap(line):
                return line.removeprefix("WARNING: ")
        return None

    def is_about_swap(self, warning: str) -> bool:
        """Return whether the warning is that swap is not counted: harmless where there is none."""
        return "limited without swap" in warning

    def failure(self, environment: Environment, completed: Completed) -> EnvironmentFailure:
        """Return the error for a docker command that failed, with docker's message and what to do."""
        message, hint = self._why(environment, completed)
        output = f"{completed.error_text}\n{completed.text}".lower()
        is_refused = any(words in output for words in _REFUSALS)
        return (EnvironmentUnavailable if is_refused else EnvironmentNotMade)(message, hint=hint)

    def _why(self, environment: Environment, completed: Completed) -> tuple[str, str | None]:
        output = completed.error_text or completed.text.strip()
        first = (
            output.splitlines()[0].removeprefix("docker: ") if output else f"exit code {completed.exit_code}"
        )
        for marker, meaning, hint in _MEANINGS:
            if marker in output:
                if hint == _BUILD and is_layer(environment.image):
                    hint = _BUILD_LAYER
                return (
                    f"{meaning.format(image=environment.image, runtime=environment.runtime)} ({first})",
                    hint,
                )
        if self.has_no_client(completed):
            return f"there is no docker client ({first})", "install it: perfctl provision"
        return first, None

    def lacks_runtime(self, completed: Completed) -> bool:
        """Return whether a command failed because docker does not know the runtime."""
        return completed.exit_code != 0 and any(text in completed.error_text for text in _UNKNOWN_RUNTIME)

    def runtimes(self, info: str) -> list[str]:
        """Return the names of the runtimes in the JSON of `info_argv`, those of containerd's shims too."""
        found = _part(_objects(info), 0, "Runtimes")
        return sorted(found) if isinstance(found, dict) else []

    def has_no_client(self, completed: Completed) -> bool:
        """Return whether the host has no docker program (docker's own 127 names the daemon)."""
        return completed.exit_code in (126, 127) and "daemon" not in completed.error_text

    def has_no_daemon(self, completed: Completed) -> bool:
        """Return whether the docker client found no daemon to talk to."""
        return completed.exit_code != 0 and "Cannot connect to the Docker daemon" in completed.error_text

    def is_gone(self, completed: Completed) -> bool:
        """Return whether `docker exec` failed because the container does not run: nothing was executed."""
        return completed.exit_code == 1 and not completed.stdout and _is_gone_message(completed.error_text)

    def is_missing(self, removed: Completed) -> bool:
        """Return whether the removal failed because there is no such container."""
        return "No such container" in removed.error_text

    def as_native(self, completed: Completed, argv: Sequence[str]) -> Completed:
        """Return what `docker exec` left behind as a shell on the host would have given it for `argv`.

        Docker reports a program that cannot be started on stdout, with 126 or 127 as its version pleases.
        What was used is the client's own, not the command's.
        """
        completed = replace(completed, usage=None)
        if completed.exit_code not in (126, 127) or not completed.text.startswith(_NOT_STARTED):
            return replace(completed, argv=tuple(argv))
        is_missing = "not found" in completed.text or "no such file or directory" in completed.text
        stderr = f"{argv[0]}: {completed.text.strip()}\n".encode()
        code = 127 if is_missing else 126
        return replace(completed, argv=tuple(argv), exit_code=code, stdout=b"", stderr=stderr)

    def description(self, inspected: str, info: str) -> dict[str, str]:
        """Return what an environment is made of, from docker's JSON; '' where docker prints nothing.

        `inspected` has one line each for the container, its image and (not with the host's network) its
        network; `info` is the engine's. Identities that change with every container are left out.
        """
        container, image, network = range(3)
        objects, engine = _objects(inspected), _objects(info)
        return {
            "engine.version": _text(_part(engine, 0, "ServerVersion")),
            "engine.runtime": _text(_part(objects, container, "HostConfig", "Runtime")),
            "engine.storage_driver": _text(_part(engine, 0, "Driver")),
            "engine.cgroup_driver": _text(_part(engine, 0, "CgroupDriver")),
            "engine.cgroup_version": _text(_part(engine, 0, "CgroupVersion")),
            "engine.security_options": _text(_part(engine, 0, "SecurityOptions")),
            "engine.containerd_commit": _text(_part(engine, 0, "ContainerdCommit", "ID")),
            "engine.runc_commit": _text(_part(engine, 0, "RuncCommit", "ID")),
            "image.id": _text(_part(objects, image, "Id")),
            "image.repo_digests": _text(_part(objects, image, "RepoDigests")),
            "image.labels": _text(_part(objects, image, "Config", "Labels")),
            "network.options": _text(_part(objects, network, "Options")),
            "container.host_config": _text(_part(objects, container, "HostConfig")),
        }


def _objects(text: str) -> list[object]:
    """Return the JSON value of each line. Raises EnvironmentUnavailable for anything else."""
    found = []
    for line in filter(str.strip, text.splitlines()):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            raise EnvironmentUnavailable(
                f"what is called docker here does not answer as docker does: {line.strip()[:200]!r}",
                hint="podman's stand-in prints notices until there is /etc/containers/nodocker; docker itself"
                " comes with: perfctl provision",
            ) from error
    return found


def _part(objects: list[object], number: int, *names: str) -> Any:
    """Return a field of the object of that number, None where it, or an object on the way, is not there."""
    found: object = objects[number] if number < len(objects) else None
    for name in names:
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _options(environment: Environment, name: str, labels: Mapping[str, str]) -> list[str]:
    options = ["--name", name, "--pull", "never"]
    for key, value in labels.items():
        options += ["--label", f"{key}={value}"]
    options += ["--network", environment.network or "bridge"]
    if environment.runtime:
        options += ["--runtime", environment.runtime]
    for variable, value in environment.env:
        options += ["--env", f"{variable}={value}"]
    return [*options, *security_options(environment), *_limits(environment)]


def security_options(environment: Environment, *, profile: str = PROFILE_PATH) -> list[str]:
    """Return the options of `docker run` that loosen or tighten what a container may do.

    `profile` is how a seccomp profile that it brings is named in them.
    """
    options = []
    if environment.seccomp_profile is not None:
        options += ["--security-opt", f"seccomp={profile}"]
    if environment.no_new_privileges:
        options += ["--security-opt", "no-new-privileges"]
    for option, values in (
        ("--security-opt", environment.security_opt),
        ("--cap-drop", environment.cap_drop),
        ("--cap-add", environment.cap_add),
        ("--tmpfs", environment.tmpfs),
    ):
        for value in values:
            options += [option, value]
    if environment.privileged:
        options.append("--privileged")
    if environment.read_only:
        options.append("--read-only")
    if environment.userns:
        options += ["--userns", environment.userns]
    return options


def _limits(environment: Environment) -> list[str]:
    options = []
    if environment.cpuset_cpus:
        options += ["--cpuset-cpus", environment.cpuset_cpus]
    if environment.cpuset_mems:
        options += ["--cpuset-mems", environment.cpuset_mems]
    if environment.cpu_quota is not None:
        options += ["--cpus", f"{environment.cpu_quota:.2f}"]
    if environment.memory_mib is not None:
        # By itself --memory allows as much swap again: the program would get slow where it should end.
        size = f"{environment.memory_mib}m"
        options += ["--memory", size, "--memory-swap", size]
    return options


def _command(environment: Environment) -> list[str]:
    return ["--entrypoint", "sh", str(environment.image), "-c", KEEP_ALIVE]


def _is_gone_message(text: str) -> bool:
    lines = text.splitlines()
    first = lines[0] if lines else ""
    if first.startswith(("Error: No such container", "Error response from daemon: No such container")):
        return True
    return first.startswith("Error response from daemon: Container ") and first.endswith("is not running")


def _text(value: Any) -> str:
    if value is None or value == [] or value == {}:
        return ""
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)
