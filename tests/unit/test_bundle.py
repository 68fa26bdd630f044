"""A run as one file: written, checked byte for byte, signed, and read into another database."""

from __future__ import annotations

import json
import random
import subprocess
import zipfile
from contextlib import closing
from pathlib import Path

import pytest

from perfctl.__main__ import main
from perfctl.errors import DataError, SchemaMismatch, UsageError
from perfctl.store import open_store
from perfctl.transfer import import_bundle, verify_bundle, write_bundle
from tests.unit.test_store_upkeep import dump, problems
from tests.unit.test_transfer import change, content, measure


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database of two runs, made once: it is not changed."""
    path = tmp_path_factory.mktemp("results") / "results.db"
    measure(path)
    measure(path, machine="m-2", seed=2)
    return path


@pytest.fixture(scope="module")
def first(results: Path) -> str:
    """The id of its first run."""
    with open_store(results, read_only=True) as store:
        return store.runs()[0].run_id


@pytest.fixture(scope="module")
def bundle(results: Path, first: str) -> Path:
    """A bundle of the first run: it is not changed either."""
    path = results.with_name("first.bundle")
    with open_store(results, read_only=True) as store:
        write_bundle(store, first, path)
    return path


def imported(path: Path, target: Path, **options):
    with open_store(target, create=True) as store:
        return import_bundle(path, store, **options)


def test_a_run_comes_back_whole(bundle, results, first, tmp_path):
    target = tmp_path / "target.db"
    done = imported(bundle, target)
    assert (done.new["run"], done.new["invocation"], done.new["series"]) == (1, 4, 1)
    with open_store(results, read_only=True) as store, open_store(target) as other:
        assert [run.run_id for run in other.runs()] == [first]
        assert other.run(first).observations() == store.run(first).observations()
        assert other.run(first).detail().events == store.run(first).detail().events
        (console,) = [
            item.sha256
            for failure in [other.run(first).invocation(pk) for pk in ids(target)]
            for item in failure.artifacts
            if item.name == "console"
        ]
        assert console is not None and other.run(first).artifact(console) == b"console 1"
    assert problems(target) == {}
    before = dump(target)
    assert imported(bundle, target).is_nothing
    assert dump(target) == before


def ids(path: Path) -> list[str]:
    return [str(row[1]) for row in dump(path)["invocation"]]


def test_it_has_what_the_database_has_and_the_other_run_not(bundle, results, first, tmp_path):
    target = tmp_path / "target.db"
    imported(bundle, target)
    wanted, got = content(results), content(target)
    for name in ("run", "run_host", "block", "host_snapshot", "event"):
        assert got[name] == [row for row in wanted[name] if first in row], name  # type: ignore[attr-defined]
    assert len(got["host"]) == 2  # type: ignore[arg-type]


def test_the_same_run_makes_the_same_bytes_and_nothing_is_left_beside_them(bundle, results, first, tmp_path):
    again = tmp_path / "again.bundle"
    with open_store(results, read_only=True) as store:
        write_bundle(store, first, again)
    assert again.read_bytes() == bundle.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.bundle"]
    assert again.stat().st_mode & 0o777 == 0o600


def test_an_existing_file_is_replaced_by_force_alone(results, first, tmp_path):
    path = tmp_path / "precious"
    path.write_text("precious")
    with open_store(results, read_only=True) as store:
        with pytest.raises(UsageError, match="exists"):
            write_bundle(store, first, path)
        assert path.read_text() == "precious"
        write_bundle(store, first, path, force=True)
        assert verify_bundle(path)["run_id"] == first
        with pytest.raises(DataError, match="cannot be written"):
            write_bundle(store, first, tmp_path / "typo" / "x")
    assert [item.name for item in tmp_path.iterdir()] == ["precious"]


def test_it_can_be_checked_without_perfctl(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path)
    argv = ["sha256sum", "--check", "--strict", "MANIFEST"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for path in (tmp_path / "raw").iterdir():
        summed = subprocess.run(["sha256sum", path], capture_output=True, text=True, timeout=60).stdout
        assert summed.split()[0] == path.name
    assert len(list((tmp_path / "raw").iterdir())) == 5


def test_every_changed_byte_is_found(bundle, tmp_path):
    whole = bundle.read_bytes()
    changed = tmp_path / "changed.bundle"
    generator = random.Random(1)
    places = {*generator.sample(range(len(whole)), 150), 0, len(whole) - 1, len(whole) - 70}
    for place in sorted(places):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << generator.randrange(8)
        changed.write_bytes(damaged)
        with pytest.raises(DataError):
            verify_bundle(changed)
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        changed.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"no bundle|not as it was|damaged"):
            verify_bundle(changed)
    changed.write_bytes(whole + b"\0")
    with pytest.raises(DataError):
        verify_bundle(changed)


def rewritten(bundle: Path, path: Path, parts: dict[str, bytes | None]) -> Path:
    """Write a bundle with other parts (None: without it), as somebody would who knows zip."""
    with zipfile.ZipFile(bundle) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        new.comment = old.comment
        for name in [*old.namelist(), *(parts.keys() - set(old.namelist()))]:
            content_ = parts.get(name, b"") if name in parts else old.read(name)
            if content_ is not None:
                new.writestr(name, content_)
    return path


@pytest.mark.parametrize(
    ("part", "content_", "words"),
    [
        ("rows/event.jsonl", b"", "rows/event.jsonl was changed"),
        ("rows/event.jsonl", None, "rows/event.jsonl is damaged or missing"),
        ("extra", b"x", "extra is not in the manifest"),
        ("MANIFEST", b"x", "MANIFEST is damaged"),
        ("MANIFEST", None, "MANIFEST is damaged or missing"),
    ],
)
def test_what_was_changed_is_named(bundle, tmp_path, part, content_, words):
    changed = rewritten(bundle, tmp_path / "changed", {part: content_})
    with pytest.raises(DataError, match=words):
        verify_bundle(changed)
    with pytest.raises(DataError, match=words):
        imported(changed, tmp_path / "target.db")
    with open_store(tmp_path / "target.db") as store:
        assert store.runs() == []


def test_a_byte_in_a_part_is_named_with_the_part(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as archive:
        info = archive.getinfo("rows/invocation.jsonl")
    damaged = bytearray(bundle.read_bytes())
    damaged[info.header_offset + 80] ^= 4
    (tmp_path / "changed").write_bytes(damaged)
    with pytest.raises(DataError, match=r"rows/invocation\.jsonl"):
        verify_bundle(tmp_path / "changed")


def sealed(bundle: Path, path: Path, parts: dict[str, bytes]) -> Path:
    """Write a bundle with other parts, whole, as a forger would."""
    from perfctl.transfer.archive import MANIFEST, Archive, write_archive

    with closing(Archive(bundle)) as archive:
        names = [name for name in archive.names if name != MANIFEST]
        found = [(name, [parts.get(name, archive.content(name))]) for name in names]
    write_archive(path, found, force=False, sign=None)
    return path


@pytest.mark.parametrize(
    ("part", "old", "new", "error", "words"),
    [
        ("bundle.json", b'"version": 1', b'"version": 2', SchemaMismatch, "version 2"),
        (
            "bundle.json",
            b'"schema_revision": "0',
            b'"schema_revision": "9',
            SchemaMismatch,
            "schema 9",
        ),
        ("bundle.json", b"perfctl bundle", b"something else", DataError, "no bundle of perfctl"),
        ("bundle.json", b"{", b"[", DataError, "no bundle of perfctl"),
        ("rows/event.jsonl", b'"level"', b'"livel"', DataError, "not the columns level, livel"),
        ("rows/event.jsonl", b'"event_id"', b'"rowid"', DataError, "do not make a run"),
        ("rows/run.jsonl", b'"status":"partial"', b'"status":"nonsense"', DataError, "do not make a run"),
        ("rows/run_host.jsonl", b'"host_id":"', b'"host_id":"0', DataError, "do not make a run"),
        ("rows/artifact.jsonl", b'"size_bytes":', b'"size_bytes":1', DataError, "raw output of its row"),
        ("rows/event.jsonl", b"{", b"", DataError, "do not make a run"),
    ],
)
def test_a_file_that_is_whole_and_no_run_is_refused(bundle, tmp_path, part, old, new, error, words):
    with zipfile.ZipFile(bundle) as archive:
        before = archive.read(part)
    assert old in before
    forged = sealed(bundle, tmp_path / "forged", {part: before.replace(old, new, 1)})
    with pytest.raises(error, match=words):
        imported(forged, tmp_path / "target.db")
    with open_store(tmp_path / "target.db") as store:
        assert store.runs() == []


def test_a_run_that_contradicts_the_database_stops_the_import(bundle, tmp_path):
    target = tmp_path / "target.db"
    imported(bundle, target)
    change(target, "UPDATE event SET text = 'x'")
    before = dump(target)
    with pytest.raises(DataError, match="differs in text"):
        imported(bundle, target)
    assert dump(target) == before


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ssh key, and beside it `signers`, who are its owner alone."""
    path = tmp_path_factory.mktemp("keys") / "id"
    argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(argv, check=True, timeout=60)
    path.with_name("signers").write_text(f"ann@example.org {path.with_suffix('.pub').read_text()}")
    return path


def test_a_signature_says_whose_it_is(results, first, bundle, key, tmp_path):
    signed, signers = tmp_path / "signed", key.with_name("signers")
    with open_store(results, read_only=True) as store:
        write_bundle(store, first, signed, key=key)
        with pytest.raises(UsageError, match="cannot be signed"):
            write_bundle(store, first, tmp_path / "x", key=tmp_path / "no-key")
    assert not (tmp_path / "x").exists()
    assert "ann@example.org" in verify_bundle(signed, signers=signers)["signature"]
    assert "was not checked" in verify_bundle(signed)["signature"]
    assert verify_bundle(bundle)["signature"] is None
    with pytest.raises(DataError, match="nobody has signed"):
        verify_bundle(bundle, signers=signers)
    other = tmp_path / "others"
    stranger = "AAAAC3NzaC1lZDI1NTE5AAAAIJmPTbZVhvTLXjkg9YKhUbrBFcWsBVzCcrjsDdAgfuSW"
    other.write_text(f"bob@example.org ssh-ed25519 {stranger}\n")
    with pytest.raises(DataError, match="none of the signers"):
        imported(signed, tmp_path / "target.db", signers=other)
    # The signature of another manifest.
    with zipfile.ZipFile(signed) as archive:
        signature = archive.read("MANIFEST.sig")
    forged = sealed(signed, tmp_path / "forged", {"rows/event.jsonl": b""})
    with zipfile.ZipFile(forged) as archive:
        assert archive.read("MANIFEST.sig") == signature
    for known in (None, signers):
        with pytest.raises(DataError, match=r"does not belong|not in the manifest|twice|2 times"):
            verify_bundle(forged, signers=known)


def test_bundle_as_a_user_types_it(results, first, tmp_path, capsys):
    def perfctl(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["--db", str(results), *arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    file = tmp_path / "run.bundle"
    assert perfctl("bundle", first, "-o", str(file))[0] == 0
    code, _, err = perfctl("bundle", first, "-o", str(file))
    assert code == 2 and "exists" in err and "--force" in err
    assert perfctl("bundle", first, "-o", str(file), "--force")[0] == 0
    code, out, _ = perfctl("bundle", "verify", str(file), "--format", "json")
    assert (code, json.loads(out)["rows"][0]["run_id"]) == (0, first)
    code, out, err = perfctl("bundle", "import", str(file), "--db", str(tmp_path / "new.db"))
    assert code == 0 and "rows are new" in err and "invocation" in out
    assert perfctl("bundle", "import", str(file))[2] == "nothing to do: all of it is there\n"
    file.write_bytes(b"PK")
    code, _, err = perfctl("bundle", "verify", str(file))
    assert code == 8 and "no bundle" in err and "try: " in " ".join(err.split())
    assert perfctl("bundle", "nonsense", "-o", str(tmp_path / "x"))[0] == 2
