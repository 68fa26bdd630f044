"""The source of non-free that a host gets: its own stanzas taken over, as real apt sees them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.role_modules import load

sources = load("perf_tools/library/perf_tools_non_free.py")

DEBIAN = {
    ("http:/deb.example.org/debian", "trixie"),
    ("http:/deb.example.org/debian", "trixie-updates"),
    ("http:/deb.example.org/debian-security", "trixie-security"),
}
DEB822 = """Types: deb deb-src
# a snapshot
URIs: http://deb.example.org/debian/
Suites: trixie trixie-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""
SIGNED_BY = DEB822.splitlines(keepends=True)[-1]
KEY = """Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mDMEY865UxYJKwYBBAHaRw8BAQdAd7Z0srwuhlB6JKFkcf4HU4SSS/xcRfwEQWzr
 -----END PGP PUBLIC KEY BLOCK-----
"""


def _text(name: str, text: str, debian: set[tuple[str, str]] = DEBIAN) -> str:
    read = sources.stanzas_of_sources if name.endswith(".sources") else sources.stanzas_of_list
    made: str = sources.text_of(sources.non_free(read(text), debian), ["netperf"])
    return made


# -- text ------------------------------------------------------------------------------------------


def test_a_stanza_is_taken_over_key_and_all() -> None:
    text = DEB822.replace("Types", "types") + "Check-Valid-Until: no\n"
    assert _text("debian.sources", text) == (
        "# Written by perfctl, from this host's own sources, for: netperf\n"
        "Types: deb\n"
        "URIs: http://deb.example.org/debian/\n"
        "Suites: trixie trixie-updates\n"
        "Components: non-free\n"
        "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg\n"
        "Check-Valid-Until: no\n"
    )


def test_a_key_inside_of_a_stanza_is_taken_over_line_by_line() -> None:
    text = DEB822.replace(SIGNED_BY, KEY)
    assert _text("debian.sources", f"\n\n{text}\n \n{text}").endswith(f"Components: non-free\n{KEY}")


def test_the_options_of_one_line_become_fields() -> None:
    options = "arch=amd64,arm64 lang-=de signed-by=/k.gpg,/l.gpg trusted=yes"
    line = f"deb [{options}] http://deb.example.org/debian trixie main contrib # mine"
    assert _text("sources.list", f"# deb http://no main\n{line}\n").splitlines()[1:] == [
        "Types: deb",
        "URIs: http://deb.example.org/debian",
        "Suites: trixie",
        "Components: non-free",
        "Architectures: amd64 arm64",
        "Languages-Remove: de",
        "Signed-By: /k.gpg,/l.gpg",
        "Trusted: yes",
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.sources", DEB822.replace("main", "main non-free")),
        ("a.sources", DEB822 + "Enabled: no\n"),
        ("a.sources", DEB822.replace("deb deb-src", "deb-src")),
        ("a.sources", DEB822.replace("main contrib", "contrib")),
        ("a.sources", DEB822.replace("deb.example.org", "other.example.org")),
        ("a.sources", DEB822.replace("Components: main contrib", "X-Other: main").replace("trixie", "./")),
        ("a.list", "deb-src http://deb.example.org/debian trixie main\n"),
        ("a.list", "deb http://deb.example.org/debian/ ./\n"),
        ("a.list", ""),
    ],
)
def test_what_apt_does_not_read_or_debian_did_not_make_is_left_out(name: str, text: str) -> None:
    assert _text(name, text) == ""


def test_only_suites_without_non_free_are_added_and_none_twice() -> None:
    has_it = DEB822.replace("main contrib", "non-free").replace(" trixie-updates", "")
    (line,) = [
        line for line in _text("a.sources", f"{has_it}\n{DEB822}\n{DEB822}").splitlines() if "Suites" in line
    ]
    assert line == "Suites: trixie-updates"


def test_addresses_are_compared_in_one_form() -> None:
    assert sources.archive("http://user:word@deb.example.org//debian/") == "http:/deb.example.org/debian"
    assert sources.archive("mirror+file:///etc/apt/m.list") == sources.archive("mirror+file:/etc/apt/m.list/")
    listed = "Debian http://deb.example.org/debian/ trixie\n$(ORIGIN) http://x/ y\nOther http://z/ y\n"
    assert sources.debian_archives(listed) == {("http:/deb.example.org/debian", "trixie")}


def test_what_apt_knows() -> None:
    policy = (
        "netperf:\n  Installed: (none)\n  Candidate: 2.7.0-0.1\n  Version table:\n     2.7.0-0.1 500\n"
        "other:\n  Installed: (none)\n  Candidate: (none)\n"
    )
    assert sources.with_candidate(policy) == {"netperf"}


# -- real apt --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("debian.sources", DEB822),
        ("debian.sources", DEB822.replace(SIGNED_BY, "Signed-By: /k.gpg,/l.gpg\n")),
        ("debian.sources", DEB822.replace(SIGNED_BY, KEY)),
        ("debian.sources", DEB822.split("Signed-By")[0] + "Trusted: yes\nAllow-Insecure: yes\n"),
        ("debian.list", "deb [signed-by=/k.gpg] http://deb.example.org/debian trixie main\n"),
        ("debian.list", "deb [signed-by=/k.gpg,/l.gpg] http://deb.example.org/debian/ trixie main\n"),
        ("debian.list", "deb [ trusted=yes check-date=no ] http://deb.example.org/debian trixie main\n"),
        ("debian.list", "deb [arch=amd64,arm64 by-hash=force] http://deb.example.org/debian trixie main\n"),
    ],
)
def test_apt_finds_no_conflict_with_the_hosts_own_source(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path / "perfctl-non-free.sources").write_text(_text(name, text))
    assert _apt_reads(tmp_path) == (0, "")


def test_apt_does_find_the_conflict_of_a_source_without_the_key(tmp_path: Path) -> None:
    # The counterproof: what was written before.
    (tmp_path / "debian.sources").write_text(DEB822)
    (tmp_path / "perfctl-non-free.list").write_text("deb http://deb.example.org/debian/ trixie non-free\n")
    code, complaints = _apt_reads(tmp_path)
    assert code == 100
    assert "Conflicting values set for option Signed-By" in complaints


def _apt_reads(parts: Path) -> tuple[int, str]:
    options = ["-o", "Dir::Etc::sourcelist=/dev/null", "-o", f"Dir::Etc::sourceparts={parts}"]
    done = subprocess.run(
        ["apt-get", *options, "indextargets"],
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


class Archive:
    """An archive of Debian in a folder, and an apt with folders of its own that reads it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.parts = folder / "etc" / "sources.list.d"
        self.own = self.parts / "perfctl-non-free.sources"
        self._publish({"main": "sysbench", "non-free": "netperf"})
        for path in ("etc/sources.list.d", "state/lists/partial", "cache/archives/partial"):
            (folder / path).mkdir(parents=True)
        (folder / "status").touch()
        settings = {
            "Dir::Etc::sourcelist": "/dev/null",
            "Dir::Etc::sourceparts": self.parts,
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "APT::Sandbox::User": "",
            "APT::Architecture": "amd64",
        }
        self.config = folder / "apt.conf"
        self.config.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
        (self.parts / "debian.sources").write_text(
            f"Types: deb\nURIs: file://{folder}/archive\nSuites: trixie\nComponents: main\nTrusted: yes\n"
        )

    def _publish(self, packages: Mapping[str, str]) -> None:
        suite = self.folder / "archive" / "dists" / "trixie"
        lines = ["Origin: Debian", "Suite: trixie", "Codename: trixie", "Architectures: amd64"]
        lines += [f"Components: {' '.join(packages)}", "Date: Sat, 01 Nov 2025 00:00:00 UTC", "SHA256:"]
        for component, name in packages.items():
            file = suite / component / "binary-amd64" / "Packages"
            file.parent.mkdir(parents=True)
            file.write_text(
                f"Package: {name}\nVersion: 1\nArchitecture: amd64\nMaintainer: x <x@example.org>\n"
                f"Filename: pool/{name}.deb\nSize: 1\nSHA256: {'0' * 64}\nDescription: x\n\n"
            )
            data = file.read_bytes()
            lines.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {file.relative_to(suite)}")
        (suite / "Release").write_text("\n".join(lines) + "\n")

    def names(self) -> list[str]:
        """Return the names of the files with sources."""
        return sorted(path.name for path in self.parts.iterdir())


@pytest.fixture
def archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Archive:
    """Return an archive whose component main is known to apt."""
    made = Archive(tmp_path)
    monkeypatch.setenv("APT_CONFIG", str(made.config))
    sources.run(["apt-get", "-q", "update"])
    return made


def test_a_package_of_non_free_is_known_afterwards(archive: Archive) -> None:
    text = sources.source(archive.own, ["netperf"])
    assert "Components: non-free\nTrusted: yes\n" in text
    assert sources.add(archive.own, text, ["netperf", "no-such-package"]) == ["netperf"]
    assert archive.own.read_text() == text
    # A second time there is nothing to add but the same.
    assert sources.source(archive.own, ["netperf"]) == text


def test_a_source_that_does_not_help_is_taken_back(archive: Archive) -> None:
    text = sources.source(archive.own, ["no-such-package"])
    assert sources.add(archive.own, text, ["no-such-package"]) == []
    assert archive.names() == ["debian.sources"]


@pytest.mark.parametrize("before", [None, b"# mine\n"])
def test_a_source_that_apt_cannot_use_is_taken_back(archive: Archive, before: bytes | None) -> None:
    if before is not None:
        archive.own.write_bytes(before)
    text = sources.source(archive.own, ["netperf"]).replace("Trusted: yes\n", "")
    with pytest.raises(sources.AptError, match="Conflicting values set for option Trusted"):
        sources.add(archive.own, text, ["netperf"])
    assert (archive.own.read_bytes() if archive.own.exists() else None) == before


def test_every_file_that_apt_reads_is_read(archive: Archive) -> None:
    (archive.parts / "other.list").write_text("deb [trusted=yes] http://other.example.org/ x main\n")
    (archive.parts / "left.save").write_text("deb http://left.example.org/ x main\n")
    archive.own.write_text(DEB822)
    found: list[Any] = [stanza["URIs"] for stanza in sources.read_stanzas(archive.own)]
    assert found == [f"file://{archive.folder}/archive", "http://other.example.org/"]
