"""A program called docker whose containers are this machine itself, and which fails as it is told to."""

from __future__ import annotations

from pathlib import Path

SCRIPT = """#!/bin/sh
# Files beside it say how it behaves: notice (printed first), refusal (to make a container; without a daemon,
# of everything), gone (how many commands find their container ended), config, image (of a container).
here=${0%/*}
[ ! -e "$here/notice" ] || cat "$here/notice"
if [ -e "$here/refusal" ]; then
  refusal=$(cat "$here/refusal")
  case $1:$refusal in
  run:* | create:* | *"daemon running"*)
    echo "docker: $refusal" >&2
    exit 125
    ;;
  esac
fi
echo "$1" >>"$here/calls"
case $1 in
run | create) echo 0123456789abcdef ;;
exec)
  shift
  [ "$1" != -i ] || shift
  read -r left <"$here/gone"
  if [ "$left" -gt 0 ]; then
    echo $((left - 1)) >"$here/gone"
    echo "Error response from daemon: Container $1 is not running" >&2
    exit 1
  fi
  shift
  exec "$@"
  ;;
inspect)
  case $3 in
  '{{json .}}')
    cat "$here/config"
    echo "{\\"Id\\": \\"$(cat "$here/image")\\", \\"RepoDigests\\": null, \\"Config\\": null}"
    echo '{"Options": null}'
    ;;
  '{{json .State}}') echo null ;;
  *) echo true ;;
  esac
  ;;
info) cat "$here/info" ;;
esac
"""


class FakeDocker:
    """The program in a folder that is to be first on PATH."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.tell(
            gone="0",
            image="sha256:first",
            config='{"HostConfig": {"Runtime": "runc"}}',
            info='{"ServerVersion": "25.0", "ContainerdCommit": {"ID": "abc"}}',
            calls="",
        )
        program = folder / "docker"
        program.write_text(SCRIPT)
        program.chmod(0o755)

    def tell(self, **behaviour: str) -> None:
        """Behave so from now on."""
        for name, text in behaviour.items():
            (self.folder / name).write_text(f"{text}\n")

    def mend(self) -> None:
        """Refuse nothing any more."""
        (self.folder / "refusal").unlink()

    def calls(self, verb: str) -> int:
        """Return how often it was called with this verb."""
        return (self.folder / "calls").read_text().split().count(verb)
