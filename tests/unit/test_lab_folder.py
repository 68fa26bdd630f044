"""What a lab keeps in its project folder, and what it leaves alone."""

import json
import multiprocessing
import stat
from dataclasses import replace

import pytest

from perfctl.errors import DataError, Refused
from perfctl.lab.folder import LabFolder, LabState
from perfctl.lab.topology import LabSpec

SPEC = LabSpec("lab", 2, False, "172.31.240.0/24", "10.241.0.0/16", ("12", "13"), ("machine", "v2"))
STATE = LabState(SPEC, {"12": "abc", "13": "def"}, {"lab-1": "0f"})


@pytest.fixture
def folder(tmp_path):
    return LabFolder(tmp_path, "lab")


def test_what_is_written_is_read_back(folder):
    assert folder.read() is None
    with folder.locked():
        folder.write(STATE)
    assert folder.read() == STATE
    assert stat.S_IMODE(folder.state_dir.stat().st_mode) == 0o700


def test_a_lab_of_an_older_perfctl_is_read_and_known_as_such(folder):
    with folder.locked():
        folder.write(STATE)
    path = folder.state_dir / "lab.json"
    document = json.loads(path.read_text())
    del document["layout"], document["image_tags"], document["spec"]["releases"], document["spec"]["cgroups"]
    path.write_text(json.dumps(document | {"image_tag": "abc"}))
    before = replace(SPEC, releases=(), cgroups=())
    assert folder.read() == replace(STATE, spec=before, image_tags={"": "abc"}, layout=1)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"spec": {"name": "lab"}}', '{"spec": 1, "ids": {}}'])
def test_a_damaged_state_file_is_named(folder, text):
    with folder.locked():
        (folder.state_dir / "lab.json").write_text(text)
    with pytest.raises(DataError) as caught:
        folder.read()
    assert "lab.json" in (caught.value.where or "")


def test_forgetting_leaves_what_others_wrote(folder):
    with folder.locked():
        folder.write(STATE)
        folder.inventory.parent.mkdir()
        folder.inventory.write_text("all: {hosts: {mine: }}\n")
        (folder.state_dir / "notes.txt").write_text("mine")
        assert folder.has_foreign_inventory()
        folder.forget()
    assert folder.read() is None
    assert folder.inventory.exists()
    assert [path.name for path in folder.state_dir.iterdir()] == ["notes.txt"]


def test_forgetting_removes_our_own_files(folder):
    with folder.locked():
        folder.write(STATE)
        folder.inventory.parent.mkdir()
        folder.inventory.write_text("---\n# Written by `perfctl lab up`; ...\n")
        folder.forget()
    assert not folder.inventory.exists()
    assert not folder.state_dir.exists()


def _lock_and_say(folder, said):
    try:
        with folder.locked():
            said.put("got it")
    except Refused as error:
        said.put(error.message)


def test_two_processes_never_work_on_one_lab(folder):
    context = multiprocessing.get_context("spawn")
    said = context.Queue()
    with folder.locked():
        other = context.Process(target=_lock_and_say, args=(folder, said))
        other.start()
        assert "another perfctl" in said.get(timeout=30)
        other.join(timeout=30)
