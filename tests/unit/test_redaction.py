"""No secret in words: what is registered, in which forms it is found, and what is printed instead."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from perfctl import redaction
from perfctl.cli.variables import read_variables
from perfctl.errors import PerfctlError, UsageError
from perfctl.inventory.hosts import hosts_in
from perfctl.inventory.template import Resolver
from perfctl.inventory.vault import Vault, register_options, with_literal_texts
from perfctl.model import Host, TaskEnded
from perfctl.output import print_error, visible
from perfctl.playbook.event_log import EventLog
from perfctl.redaction import redact
from perfctl.store import open_store
from tests.unit import store_cases as cases


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test begin without secrets, and leave none behind."""
    monkeypatch.setattr(redaction, "_names", {})
    monkeypatch.setattr(redaction, "_pattern", None)


def host_of(**variables: object) -> Host:
    """Return the one host with these variables, as `ansible-inventory --list` prints them."""
    hostvars = with_literal_texts({"h1": variables})
    listing = {"_meta": {"hostvars": hostvars}, "all": {"hosts": ["h1"]}}
    return hosts_in(listing, Resolver(("/fleet/hosts.yml",), Vault(())))[0]


# ---- the redactor ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret", ["hunter22", 'quo"te\\d', "it's one", "zwölf Bäume", "line one\nline two", " blank "]
)
def test_a_secret_is_found_however_it_is_quoted(secret: str) -> None:
    redaction.register("DB_PASS", secret)
    shown = [secret, repr(secret), json.dumps(secret), json.dumps(secret, ensure_ascii=False)]
    for text in (*shown, shlex.quote(secret), *secret.splitlines()):
        found = redaction.redact(f"got {text}.")
        assert secret.strip().splitlines()[0] not in found and "[hidden: DB_PASS]" in found


def test_the_longest_of_two_secrets_is_hidden_whole() -> None:
    redaction.register("SHORT", "abcdef")
    redaction.register("LONG", "abcdef-ghijkl")
    assert redaction.redact("abcdef-ghijkl abcdef") == "[hidden: LONG] [hidden: SHORT]"


def test_environment_variables_are_secret_by_their_names_only() -> None:
    environ = {
        "MY_PASSPHRASE": "phrase-1", "GITHUB_TOKEN": "token-12", "A_SECRET": "secret-3",
        "API_KEY": "key-1234", "aws_credentials": "cred-123", "HOME_TOWN": "Springfield",
        "PIN_KEY": "1234", "SSH_ASKPASS": "/bin/sh",
    }  # fmt: skip
    redaction.register_environment(environ)
    hidden = [name for name, value in environ.items() if redaction.redact(value) != value]
    assert hidden == ["MY_PASSPHRASE", "GITHUB_TOKEN", "A_SECRET", "API_KEY", "aws_credentials"]
    assert redaction.redact("uses key-1234") == "uses [hidden: API_KEY]"


def written(path: Path, text: str, mode: int = 0o600) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("section", "setting"),
    [
        ("defaults", "vault_password_file = {}"),
        ("defaults", "vault_password_file = {} ; a comment"),
        ("defaults", "vault_password_file: {{{{CWD}}}}/keys/one"),
        ("defaults", "vault_identity_list = dev@{}, prod@prompt"),
        ("defaults", "vault_identity_list = prod@missing, {}"),
        ("defaults", "connection_password_file = {}"),
        ("privilege_escalation", "become_password_file = {}"),
    ],
)
@pytest.mark.parametrize("is_relative", [False, True])
def test_password_files_of_ansible_cfg_are_registered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, setting: str, is_relative: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "keys" / "one", "velvet-anchor\n")
    told = setting.format("keys/one" if is_relative else path)
    written(tmp_path / "ansible.cfg", f"[{section}]\n{told}\n")
    register_options((), {})
    assert redact("the password is velvet-anchor.") == (
        f"the password is [hidden: {setting.split()[0].rstrip(':')}]."
    )


def test_the_ansible_cfg_that_counts_is_read_and_paths_are_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "ansible.cfg", "[defaults]\nvault_password_file = other\n")
    written(tmp_path / "other", "of-another-project")
    named = written(tmp_path / "fleet" / "ansible.cfg", "[defaults]\nvault_password_file = key\n")
    written(tmp_path / "fleet" / "key", "velvet-anchor")
    for value in (named, named.parent):
        monkeypatch.setattr(redaction, "_names", {})
        monkeypatch.setattr(redaction, "_pattern", None)
        register_options((), {"ANSIBLE_CONFIG": str(value)})
        assert redact("velvet-anchor of-another-project") == (
            "[hidden: vault_password_file] of-another-project"
        )


@pytest.mark.parametrize(
    "content", ["no ini", "[defaults]\nvault_password_file =\n", "[defaults]\nx\n[", "\xff"]
)
def test_an_ansible_cfg_without_password_files_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ansible.cfg").write_text(content, encoding="latin-1")
    register_options((), {})
    assert redaction._names == {}


def test_password_files_of_variables_are_registered_but_no_programs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "one", "velvet-anchor")
    program = written(tmp_path / "program", "#!/bin/sh\nsecret-tool lookup x y\n", 0o700)
    register_options((), {"ANSIBLE_VAULT_PASSWORD_FILE": str(program)})
    assert redaction._names == {}
    register_options((), {"ANSIBLE_VAULT_IDENTITY_LIST": f"prod@prompt,dev@{path}"})
    assert redact("velvet-anchor") == "[hidden: ANSIBLE_VAULT_IDENTITY_LIST]"


def test_errors_and_what_others_print_are_redacted(capsys: pytest.CaptureFixture[str]) -> None:
    redaction.register("TOKEN", "s3cret-t0ken")
    print_error(PerfctlError("bad s3cret-t0ken", where="h1 s3cret-t0ken", hint="no s3cret-t0ken"))
    assert "s3cret" not in capsys.readouterr().err
    assert visible("\x1b s3cret-t0ken") == "\\x1b [hidden: TOKEN]"


def test_what_ansible_says_is_redacted_before_anybody_hears_it() -> None:
    redaction.register("TOKEN", "s3cret-t0ken")
    heard: list[object] = []
    log = EventLog(heard.append)
    failed = {"host": "h1", "task": "t", "res": {"msg": "no s3cret-t0ken", "stderr": "x s3cret-t0ken"}}
    log.record({"event": "runner_on_failed", "event_data": failed})
    log.record({"event": "runner_on_ok", "event_data": {**failed, "task_action": "debug"}})
    log.record({"event": "warning", "stdout": "[WARNING]: s3cret-t0ken"})
    log.record({"event": "runner_on_file_diff", "event_data": failed, "stdout": "+ s3cret-t0ken"})
    assert any(isinstance(event, TaskEnded) for event in heard) and len(heard) == 5
    assert "s3cret" not in f"{heard}{log.failures}{log.messages}"


def test_the_database_gets_no_secret(tmp_path: Path) -> None:
    redaction.register("TOKEN", "s3cret-t0ken")
    with open_store(tmp_path / "results.db", create=True) as store:
        run_id = cases.begin_run(store, command=["perfctl", "run", "--seed", "s3cret-t0ken"])
        block_id = store.writer.begin_block(run_id, cases.block(), 1)
        store.writer.record_invocation(cases.record(block_id, detail="says s3cret-t0ken"), cases.METRICS, [])
        store.writer.record_event(run_id, "warning", "h1", "heard s3cret-t0ken")
    assert b"s3cret" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


# ---- variables of an inventory -----------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["plain{%secret", "pl{{ain}}secret", "{{ sec + ret }}", "{{plainsecret}}"])
@pytest.mark.parametrize("variable", ["ansible_password", "ansible_become_password", "ansible_ssh_pass"])
def test_a_password_that_is_no_template_names_host_and_variable_only(variable: str, value: str) -> None:
    with pytest.raises(UsageError, match="read as a template") as caught:
        host_of(**{variable: value, "ansible_become": True})
    assert caught.value.where == f"h1: {variable}"
    words = f"{caught.value}{caught.value.hint}"
    assert not any(piece in words for piece in ("plain", "secret", "ain", "sec +", "{%"))


def test_a_password_behind_another_variable_is_not_printed_either() -> None:
    with pytest.raises(UsageError) as caught:
        host_of(ansible_become_password="{{ other }}", other="plain{%hunter22")
    assert "hunter22" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("text", ["pa{{ss%}word", "{%x%}", "{{ other }}", "{# no comment #}"])
def test_an_unsafe_text_is_the_text_itself_for_every_variable(text: str) -> None:
    unsafe = {"__ansible_unsafe": text}
    host = host_of(
        ansible_password=unsafe, ansible_become_password=unsafe, ansible_user=unsafe, perf_resource=unsafe,
        ansible_host="{{ net.address }}", net={"address": unsafe}, other="wrong",
    )  # fmt: skip
    assert host.become_password == host.user == host.resource == host.address == text
    assert host.variables["ansible_password"] == text


def test_a_value_of_a_secret_is_hidden_wherever_it_comes_from() -> None:
    host_of(ansible_become_password="{{ pw }}", pw="s3cret-t0ken")
    assert redaction.redact("s3cret-t0ken") == "[hidden: ansible_become_password]"


def test_a_wrong_value_out_of_the_environment_is_not_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FLEET_TOKEN", "s3cret-t0ken")
    with pytest.raises(UsageError) as caught:
        host_of(ansible_port="{{ lookup('env', 'FLEET_TOKEN') }}")
    print_error(caught.value)
    assert "[hidden: FLEET_TOKEN]" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["q7x2", "q7x2\n\n"])
def test_a_secret_of_the_environment_that_is_too_short_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("SUDO_PASS", value)
    with pytest.raises(UsageError, match="SUDO_PASS has fewer than 6 characters") as caught:
        host_of(ansible_become_password="{{ lookup('env', 'SUDO_PASS') }}")
    assert "q7x2" not in f"{caught.value}{caught.value.hint}"
    monkeypatch.setenv("FLEET_DOMAIN", "lan")
    assert host_of(ansible_host="{{ lookup('env', 'FLEET_DOMAIN') }}").address == "lan"


def test_variables_of_the_command_line_are_registered_and_never_quoted(tmp_path: Path) -> None:
    read_variables(["db_password=s3cret-t0ken", '{"nested": {"api_token": "0ther-t0ken"}}'])
    assert "t0ken" not in redaction.redact("s3cret-t0ken 0ther-t0ken")
    (tmp_path / "v.yml").write_text("password: thr33: t0ken\n")
    for wrong in (
        "password thr33-t0ken",
        f"@{tmp_path / 'v.yml'}",
        "{password: thr33: t0ken",
        "p=[thr33-t0ken",
    ):
        with pytest.raises(UsageError) as caught:
            read_variables([wrong])
        assert "thr33" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize(
    ("name", "ok"),
    [
        ("h1", True), ("web-1.example.org", True), ("2001:db8::1", True), ("größe", True), ("_x", True),
        ("a b", False), ("a\nb", False), ("-o", False), ("a,b", False), ("a*", False), ("a[1]", False),
        ("!a", False), ("a;b", False), ("$(x)", False), ("'a'", False), ("a\x1b[0m", False), ("", False),
    ],
)  # fmt: skip
def test_names_that_limit_cannot_name_are_refused(name: str, ok: bool) -> None:
    listing = {"_meta": {"hostvars": {name: {}}}, "all": {"hosts": [name]}}
    resolver = Resolver(("hosts.yml", "more.yml"), Vault(()))
    if ok:
        assert hosts_in(listing, resolver)[0].name == name
    else:
        with pytest.raises(UsageError, match="not a name for a host") as caught:
            hosts_in(listing, resolver)
        assert caught.value.where == "hosts.yml, more.yml"
