"""Remove the files that benchmarks made on a host itself: those of containers and guests go with them."""

from __future__ import annotations

from perfctl.environments.kinds import traits_of
from perfctl.errors import CommandFailed
from perfctl.model import Plan
from perfctl.shell import Shell
from perfctl.workloads import workload_of

_TIMEOUT_S = 300.0


def remove_files(host: Shell, plan: Plan) -> list[str]:
    """Remove what the benchmarks of a plan may have left on this host; return the folders that were there.

    Raises CommandFailed for a folder that cannot be removed.
    """
    if all(item.within or traits_of(item).is_made for item in plan.environments):
        return []
    removed = []
    for benchmark in plan.benchmarks:
        tool = workload_of(benchmark)
        files = tool.files(benchmark.parameters)
        if files is None or files.folder in removed or not _is_there(host, files.folder):
            continue
        errors = [
            done.error_text
            for argv in tool.cleanup_argvs(benchmark.parameters)
            if (done := host.run(argv, timeout_s=_TIMEOUT_S)).exit_code
        ]
        if _is_there(host, files.folder):
            raise CommandFailed(f"{files.folder} cannot be removed: {'; '.join(errors)}", where=host.name)
        removed.append(files.folder)
    return removed


def _is_there(host: Shell, folder: str) -> bool:
    return host.run(["test", "-d", folder], timeout_s=_TIMEOUT_S).exit_code == 0
