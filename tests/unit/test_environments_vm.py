"""Guests without libvirt: what hosts say, the order of things, and what becomes of a guest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from perfctl.environments import environment
from perfctl.environments.drivers import driver_for, start_argv
from perfctl.environments.vm import VmDriver, left_behind, remove_all
from perfctl.environments.vm.domain import tap_name
from perfctl.environments.vm.errors import NoOutput
from perfctl.environments.vm.host_state import GuestState, HostState
from perfctl.errors import (
    CommandFailed,
    CommandTimeout,
    EnvironmentDied,
    EnvironmentNotMade,
    EnvironmentUnavailable,
)
from perfctl.model import GuestBoot
from perfctl.shell import Completed
from tests.unit.vm_host import (
    GONE,
    HOST_JSON,
    INVOCATION_ID,
    PANIC,
    RUN_ID,
    RUNNING,
    ScriptedHost,
    driver,
    inside,
    said,
    state_text,
    survey_text,
    verb,
)

VM = environment("vm")


def with_range(text: str) -> str:
    return json.dumps({**HOST_JSON, "guest_range": text})


# --- what a host says ---------------------------------------------------------------------------------------


def survey(**changes: str) -> HostState:
    return HostState.parse(survey_text(**changes))


def test_a_range_has_an_address_for_every_eighth():
    assert HostState.parse(survey_text(host=with_range("10.0.0.16/27"))).guest_addresses(8) == [
        *("10.0.0.1", "10.0.0.9", "10.0.0.17", "10.0.0.25")
    ]
    assert len(HostState.parse(survey_text(host=with_range("10.0.0.0/8"))).guest_addresses(8)) == 512


def test_a_survey_is_read():
    found = survey()
    found.check(with_engine=True)
    assert (found.network.bridge, found.network.mtu_bytes) == ("br1", 9000)
    assert found.versions == {"hypervisor": "7.2.22", "daemon": "9.0.0"}
    assert found.manifest["kernel_source"] == "host"
    assert found.boot == "boot-1 7.2.22"


@pytest.mark.parametrize(
    ("changes", "message", "hint"),
    [
        ({"programs": "ssh"}, "no libvirt here", "perf_vm_host: true"),
        ({"programs": "virsh qemu-img ssh mkfs.ext4"}, "no qemu here", "perfctl provision"),
        ({"host": ""}, "not set up for guests", "perf_vm_host: true"),
        (
            {"libvirt": "error: failed to connect\nerror: No such file"},
            "does not answer: No such",
            "systemctl",
        ),
        ({"libvirt": ""}, "does not answer: no output", "systemctl"),
        (
            {"image": "", "unreadable": "root.ext4\nvmlinuz"},
            r"no image for guests \(root.ext4, vml",
            "provision",
        ),
        ({"unreadable": "vmlinuz"}, r"no image for guests \(vmlinuz\)", "perfctl provision"),
        ({"unreadable": "engine.ext4"}, "engine.ext4", "perfctl provision"),
        ({"host": "{"}, "host.json cannot be read", "perfctl provision"),
        ({"host": "null"}, "host.json cannot be read", "perfctl provision"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(changes, message, hint):
    with pytest.raises(EnvironmentNotMade, match=message) as caught:
        found = survey(**changes)
        found.check(with_engine=True)
        assert found.network
    assert caught.value.reason == "environment_not_made"
    assert hint in str(caught.value.hint)


def test_only_those_who_need_the_engine_need_its_disk():
    survey(unreadable="engine.ext4").check(with_engine=False)


@pytest.mark.parametrize(
    ("memory_mib", "hugepages", "kind", "message"),
    [
        # Others use it now, and may not later.
        (7900, False, EnvironmentNotMade, "the host has 8000 MiB available"),
        (1300, True, EnvironmentNotMade, "1200 MiB are free"),
        (16000, False, EnvironmentUnavailable, "the host has 8000 MiB available"),
        (2100, True, EnvironmentUnavailable, "1200 MiB are free"),
    ],
)
def test_more_memory_than_there_is(memory_mib, hugepages, kind, message):
    with pytest.raises(kind, match=message) as caught:
        survey().check_memory(memory_mib, hugepages=hugepages)
    assert caught.value.reason == "out_of_memory"
    survey().check_memory(1024, hugepages=hugepages)


# --- what became of a guest ---------------------------------------------------------------------------------


STALL = "[61.2] watchdog: BUG: soft lockup - CPU#1 stuck for 26s! [runc:488]"


def state(console: str = "perfctl: ssh", **sections: str) -> GuestState:
    return GuestState({**sections, "console": console})


def test_a_guest_that_runs_has_not_died():
    assert state(**RUNNING).death() is None


@pytest.mark.parametrize(
    ("found", "reason", "message"),
    [
        (state(PANIC, **GONE), "guest_panicked", "panicked: Kernel panic - not syncing: VFS"),
        (state(PANIC, **RUNNING), "guest_panicked", "Kernel panic"),
        (
            state(**{**GONE, "stall": STALL}),
            "guest_stalled",
            "stalled and the guest was ended: [61.2]",
        ),
        (state(**{**RUNNING, "stall": STALL}), "guest_stalled", "CPU#1 stuck for 26s! [runc:488]"),
        (state(PANIC, **{**GONE, "stall": STALL}), "guest_panicked", "Kernel panic"),
        (state(**{**RUNNING, "domain": "paused (I/O error)"}), "disk_full", "I/O error on its disk"),
        (state(**{**RUNNING, "domain": "paused (user)"}), "environment_died", "the guest paused"),
        (
            state(**{**GONE, "kernel": "[9] Out of memory: Killed process 77 (qemu-system-x86)"}),
            "out_of_memory",
            "Killed process 77",
        ),
        (state(**{**GONE, "oom": "1"}), "out_of_memory", "OOM-killed"),
        (
            state(**{**GONE, "oom": "1", "libvirt": "shutting down, reason=shutdown"}),
            "environment_died",
            "reason=shutdown",
        ),
        (state(**GONE), "environment_died", "qemu has ended"),
    ],
)
def test_deaths_are_told_apart(found, reason, message):
    death = found.death()
    assert death is not None
    assert (death.reason, death.artifacts) == (reason, {"console": found.console.encode()})
    assert message in str(death)


# --- the driver ---------------------------------------------------------------------------------------------


ADDRESSES = [f"10.241.1.{last}" for last in range(129, 256, 8)]
"""The second of every eight in the range."""


def test_three_calls_to_open_and_one_to_close():
    host = ScriptedHost()
    with driver().open(host) as guest:
        assert (guest.name, guest.address, guest.mtu_bytes) == ("h1/vm", "10.241.1.129", 9000)
        assert guest.boot == GuestBoot("tcg", vcpus=1, attempts=1)
        assert guest.opening_s == {"kernel": 1.5, "ssh": 4.25}
        assert guest.domain.startswith("perfctl-0000aaaa-0000bbbb-")
        assert guest.host_processes == f"pidfile:/run/libvirt/qemu/{guest.domain}.pid"
    assert host.verbs() == ["survey", "claim", "start", "close"]
    name, identity = host.arguments("close")
    assert host.arguments("claim") == [guest.domain, RUN_ID, identity, tap_name(name), *ADDRESSES]
    xml = next(stdin for argv, stdin in host.asked if verb(argv) == "start").decode()
    assert f"<uuid>{identity}</uuid>" in xml
    assert "perfctl.address=10.241.1.129/16" in xml
    start = host.arguments("start")
    assert start[:6] == [name, identity, "ssh", "180", "30", "+64055:+106"]
    assert start[6] == "root.qcow2=/var/lib/perfctl/vm/images/abc/root.ext4"
    assert start[-3:] == ["-M", "-N", "root@10.241.1.129"]


def test_ssh_trusts_the_guests_key_only_and_reads_nobodys_settings():
    host = ScriptedHost()
    with driver().open(host):
        pass
    start = host.arguments("start")
    ssh = start[start.index("--") + 1 :]
    assert ssh[:3] == ["ssh", "-F", "none"]
    assert {
        *("BatchMode=yes", "StrictHostKeyChecking=yes", "HostKeyAlias=perfctl-guest"),
        *("UserKnownHostsFile=/var/lib/perfctl/vm/known_hosts", "GlobalKnownHostsFile=/dev/null"),
    } <= set(ssh)


def test_an_engine_gets_addresses_of_the_guests_own_eight():
    engine = VmDriver(VM, run_id=RUN_ID, invocation_id=INVOCATION_ID, with_engine=True)
    host = ScriptedHost()
    with engine.open(host):
        pass
    xml = next(stdin for argv, stdin in host.asked if verb(argv) == "start").decode()
    assert "perfctl.engine=10.241.1.132/30" in xml
    assert "engine.qcow2" in xml
    assert host.arguments("start")[2] == "engine"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("x"), CommandTimeout("slow")])
def test_removed_when_the_body_raises(error):
    host = ScriptedHost()
    with pytest.raises(type(error)), driver().open(host):
        raise error
    assert host.verbs() == ["survey", "claim", "start", "close"]


@pytest.mark.parametrize("step", ["claim", "start"])
def test_removed_when_a_step_does_not_come_back(step):
    host = ScriptedHost(**{step: KeyboardInterrupt()})
    with pytest.raises(KeyboardInterrupt), driver().open(host):
        pytest.fail("the body ran")
    assert host.verbs()[-1] == "close"


def test_a_failed_removal_is_an_error_that_names_what_is_left():
    host = ScriptedHost(close=said(1, stdout=" domain perfctl-1 folder /x\n"))
    with (
        pytest.raises(CommandFailed, match="domain perfctl-1 folder /x is left") as caught,
        driver().open(host),
    ):
        pass
    assert "virsh destroy perfctl-0000aaaa" in str(caught.value.hint)
    with pytest.raises(ValueError, match="first") as other, driver().open(host):
        raise ValueError("first")
    assert "is left" in other.value.__notes__[0]


@pytest.mark.parametrize(
    ("answers", "reason", "message"),
    [
        ({"claim": said(11)}, "name_taken", "left alone"),
        (
            {"claim": said(13, stderr="perfctl-1\nperfctl-2\n")},
            "environment_not_made",
            "perfctl-1, perfctl-2",
        ),
        (
            {"survey": said(stdout=survey_text(host=with_range("10.241.1.128/30")))},
            "environment_not_made",
            "the range is too small",
        ),
        (
            {"survey": said(stdout=survey_text(host=with_range("")))},
            "environment_not_made",
            "the range for guests cannot be read",
        ),
        ({"claim": said(12, stderr="echo: No space left on device")}, "disk_full", "host's disk is full"),
        (
            {
                "start": said(
                    14, stderr="error: x\nerror: operation failed: domain 'n' already exists with uuid u"
                )
            },
            "name_taken",
            "not perfctl's",
        ),
        (
            {
                "start": said(
                    14, stderr="error: qemu: cannot set up guest memory 'pc.ram': Cannot allocate memory"
                )
            },
            "out_of_memory",
            "too little memory",
        ),
        (
            {
                "start": said(
                    14, stderr="error: Failed to create\nerror: Unable to add bridge br1: No such device"
                )
            },
            "environment_not_made",
            "Unable to add bridge br1",
        ),
        ({"start": said(12, stderr="mkfs: No space left on device")}, "disk_full", "host's disk is full"),
    ],
)
def test_what_the_host_does_not_make_is_told_with_its_words(answers, reason, message):
    host = ScriptedHost(**answers)
    with pytest.raises(EnvironmentNotMade, match=message) as caught, driver().open(host):
        pytest.fail("the body ran")
    assert (caught.value.reason, caught.value.where) == (reason, "h1/vm")
    assert host.verbs()[-1] == "close"


@pytest.mark.parametrize(
    "stderr",
    [
        "Could not access KVM kernel module: Permission denied",
        "qemu-system-x86_64: failed to initialize kvm: No such file or directory",
        "Unable to open /dev/net/tun, is tun module loaded?: No such file or directory",
        "Unable to set XATTR trusted.libvirt.security.dac: Operation not permitted",
    ],
)
def test_what_the_kernel_refuses_is_unavailable(stderr):
    host = ScriptedHost(start=said(14, stderr=f"error: Failed to create\nerror: {stderr}"))
    with pytest.raises(EnvironmentUnavailable), driver().open(host):
        pytest.fail("the body ran")


@pytest.mark.parametrize(
    ("why", "gone", "kind", "reason", "message"),
    [
        ("panicked [1] Kernel panic - x", GONE, EnvironmentDied, "guest_panicked", "Kernel panic - x"),
        (
            "silent",
            RUNNING,
            EnvironmentDied,
            "guest_silent",
            "within 180 s; last line of its console: perfctl: ssh",
        ),
        ("silent No route to host", RUNNING, EnvironmentDied, "guest_silent", "answer: No route to host"),
        (f"stalled {STALL}", RUNNING, EnvironmentDied, "guest_stalled", "soft lockup - CPU#1 stuck for 26s!"),
        ("ended", {**GONE, "stall": STALL}, EnvironmentDied, "guest_stalled", "soft lockup - CPU#1"),
        ("ended", GONE, EnvironmentDied, "environment_died", "qemu has ended"),
        ("ended", {**GONE, "oom": "2"}, EnvironmentDied, "out_of_memory", "OOM-killed"),
        ("failed no br1", RUNNING, EnvironmentNotMade, "environment_not_made", "needs: no br1"),
    ],
)
def test_a_guest_that_does_not_come_up_says_why_with_its_console(why, gone, kind, reason, message):
    host = ScriptedHost(
        start=said(15, stdout=f"kernel 1.00\nwhy {why}\n"), state=said(stdout=state_text(gone))
    )
    with pytest.raises(kind, match=message) as caught, driver().open(host):
        pytest.fail("the body ran")
    assert (caught.value.reason, caught.value.where) == (reason, "h1/vm")
    assert caught.value.artifacts == {"console": b"perfctl: ssh"}
    assert host.verbs() == ["survey", "claim", "start", "state", "close"]


def test_checking_boots_as_far_as_the_kernel_and_leaves_nothing():
    host = ScriptedHost(start=said(stdout="kernel 1.00\n"))
    driver().check(host)
    assert host.verbs() == ["survey", "claim", "start", "close"]
    assert len(host.arguments("claim")) == 4
    assert host.arguments("start")[2] == "kernel"


# --- a second boot ------------------------------------------------------------------------------------------

NO_OUTPUT = said(15, stdout="why no_output 30\n")


def in_turn(*answers: Completed) -> Callable[[Sequence[str], bytes], Completed]:
    left = iter(answers)
    return lambda argv, stdin: next(left)


def test_a_guest_that_printed_nothing_is_removed_and_another_one_is_booted():
    host = ScriptedHost(
        start=in_turn(NO_OUTPUT, said(stdout="console 0.80\nkernel 1.50\nssh 4.25\n")),
        state=said(stdout=state_text(RUNNING, console="")),
    )
    with driver().open(host) as guest:
        assert guest.boot == GuestBoot("tcg", vcpus=1, attempts=2)
        assert guest.opening_s == {"console": 0.8, "kernel": 1.5, "ssh": 4.25}
        assert host.verbs() == ["survey", "claim", "start", "state", "close", "claim", "start"]
        silent = host.arguments("close")[0]
        assert guest.domain != silent
    assert host.verbs()[-1] == "close"
    assert [argv[5] for argv, _ in host.asked if verb(argv) == "close"] == [silent, guest.domain]


def test_a_guest_that_prints_nothing_twice_is_given_up():
    host = ScriptedHost(start=NO_OUTPUT, state=said(stdout=state_text(RUNNING, console="")))
    with (
        pytest.raises(EnvironmentDied, match=r"printed nothing for 30 s \(boot 2 of 2\)$") as caught,
        driver().open(host),
    ):
        pytest.fail("the body ran")
    assert (caught.value.reason, caught.value.where) == ("guest_silent", "h1/vm")
    assert caught.value.artifacts == {"console": b""}
    assert host.verbs() == ["survey", *["claim", "start", "state", "close"] * 2]


def test_no_second_boot_beside_a_guest_that_could_not_be_removed():
    host = ScriptedHost(start=NO_OUTPUT, close=said(1, stdout=" domain perfctl-1\n"))
    with pytest.raises(EnvironmentDied) as caught, driver().open(host):
        pytest.fail("the body ran")
    assert "domain perfctl-1 is left" in caught.value.__notes__[0]
    assert host.verbs().count("start") == 1


@pytest.mark.parametrize("why", ["silent", f"stalled {STALL}", "panicked Kernel panic - x"])
def test_what_is_no_lack_of_output_is_not_booted_again(why):
    host = ScriptedHost(start=said(15, stdout=f"console 0.80\nwhy {why}\n"))
    with pytest.raises(EnvironmentDied), driver().open(host):
        pytest.fail("the body ran")
    assert host.verbs().count("start") == 1


def test_the_body_may_fail_for_lack_of_output_of_another_guest():
    host = ScriptedHost()
    with pytest.raises(NoOutput), driver().open(host):
        raise NoOutput("of another guest")
    assert host.verbs() == ["survey", "claim", "start", "close"]


@pytest.mark.parametrize(("first_output_s", "limit"), [(None, "30"), (0.8, "30"), (6.0, "30"), (9.5, "48")])
def test_how_long_no_output_is_waited_for_follows_from_an_earlier_guest(first_output_s, limit):
    host = ScriptedHost()
    made = VmDriver(VM, run_id=RUN_ID, invocation_id=INVOCATION_ID, first_output_s=first_output_s)
    with made.open(host):
        assert host.arguments("start")[4] == limit


def test_a_container_in_a_guest_waits_as_long_for_its_guest():
    host = ScriptedHost(ssh=inside(stdout="x\n"))
    made = driver_for(
        environment("container-in-vm"),
        run_id=RUN_ID,
        invocation_id=INVOCATION_ID,
        host_address="10.0.0.1",
        first_output_s=9.5,
    )
    with made.open(host) as shell:
        assert shell.boot == GuestBoot("tcg", vcpus=1)
    assert host.arguments("start")[4] == "48"


@pytest.mark.parametrize("why", ["no_output 30", "silent", f"stalled {STALL}"])
def test_checking_tries_a_guest_that_hung_once_more(why):
    host = ScriptedHost(start=in_turn(said(15, stdout=f"why {why}\n"), said(stdout="kernel 1.00\n")))
    driver().check(host)
    assert host.verbs().count("start") == 2
    with pytest.raises(EnvironmentDied):
        driver().check(ScriptedHost(start=said(15, stdout=f"why {why}\n")))


def test_checking_does_not_try_again_what_cannot_be():
    host = ScriptedHost(start=said(14, stderr="error: Unable to add bridge br1: No such device"))
    with pytest.raises(EnvironmentNotMade):
        driver().check(host)
    assert host.verbs().count("start") == 1


def test_describing_makes_nothing():
    host = ScriptedHost()
    described = driver().describe(host)
    assert host.verbs() == ["survey"]
    assert described["accelerator.reason"] == "there is no /dev/kvm"
    assert (described["image.sha256"], described["vhost"]) == ("abc", "no")
    assert described["kernel.source"] == "host"
    assert "perfctl-" not in described["domain.xml"] and RUN_ID not in described["domain.xml"]


def test_a_list_of_cpus_is_as_many_vcpus():
    host = ScriptedHost()
    assert driver(cpuset_cpus="1", vcpus=None).describe(host)["pinning.vcpus"] == "0:1"


def test_the_default_number_of_vcpus_is_that_of_the_accelerator_which_the_guest_gets():
    assert driver().describe(ScriptedHost())["pinning.vcpus"] == "0:1"
    remembered = survey_text(devices="kvm", accelerator="boot-1 7.2.22\nkvm\nit booted")
    on_kvm = ScriptedHost(survey=said(stdout=remembered))
    assert driver().describe(on_kvm)["pinning.vcpus"] == "0:0 1:1"
    assert driver(vcpus=2).describe(ScriptedHost())["pinning.vcpus"] == "0:1 1:0"


def test_a_host_with_too_few_cpus_does_not_remember_that_kvm_does_not_work():
    host = ScriptedHost(survey=said(stdout=survey_text(devices="kvm", topology="0,0,0,0\n")))
    with pytest.raises(EnvironmentUnavailable, match="2 vCPUs do not fit"):
        driver().describe(host)
    assert host.verbs() == ["survey"]


# --- the accelerator ----------------------------------------------------------------------------------------

KVM = survey_text(devices="kvm\nvhost-net")


def test_kvm_is_taken_when_a_probe_booted_and_vhost_with_it():
    host = ScriptedHost(survey=said(stdout=KVM), start=said(stdout="kernel 0.40\n"))
    described = driver().describe(host)
    assert (described["accelerator"], described["accelerator.reason"]) == (
        "kvm",
        "a probe guest booted with it",
    )
    assert (described["vhost"], described["cpu.mode"]) == ("yes", "host-passthrough")
    assert host.verbs() == ["survey", "claim", "start", "close", "remember"]
    assert host.arguments("remember") == ["boot-1 7.2.22\nkvm\na probe guest booted with it"]
    assert host.arguments("start")[3] == "15"


@pytest.mark.parametrize(
    ("started", "words"),
    [
        (said(15, stdout="why silent\n"), "did not answer within 15 s"),
        (said(14, stderr="error: failed to set MSR 0x10a to 0x0"), "failed to set MSR"),
    ],
)
def test_a_probe_that_does_not_boot_means_emulation_and_the_reason_is_kept(started, words):
    host = ScriptedHost(survey=said(stdout=KVM), start=started)
    described = driver().describe(host)
    assert (described["accelerator"], described["vhost"]) == ("tcg", "no")
    assert words in described["accelerator.reason"]
    assert words in host.arguments("remember")[0]
    assert host.verbs().count("close") == 1


@pytest.mark.parametrize(
    ("memory", "probes"),
    [
        ("boot-1 7.2.22\ntcg\nit hung", 0),
        ("boot-0 7.2.22\ntcg\nit hung", 1),
        ("boot-1 8.0.0\ntcg\nit hung", 1),
        ("half", 1),
    ],
)
def test_what_a_probe_found_counts_for_this_boot_and_this_qemu(memory, probes):
    text = survey_text(devices="kvm", accelerator=memory)
    host = ScriptedHost(survey=said(stdout=text), start=said(stdout="kernel 0.40\n"))
    assert driver().describe(host)["accelerator"] == ("kvm" if probes else "tcg")
    assert host.verbs().count("start") == probes


def test_emulation_that_is_asked_for_probes_nothing():
    host = ScriptedHost(survey=said(stdout=KVM))
    assert driver(accelerator="tcg").describe(host)["accelerator.reason"] == "the environment asks for it"
    assert host.verbs() == ["survey"]


def test_kvm_that_is_insisted_on_and_does_not_work_is_unavailable():
    with pytest.raises(EnvironmentUnavailable, match="there is no /dev/kvm") as caught:
        driver(accelerator="kvm").check(ScriptedHost())
    assert 'accelerator = "tcg"' in str(caught.value.hint)
    assert caught.value.where == "h1/vm"


# --- composition and the reaper -----------------------------------------------------------------------------


def test_a_container_in_a_guest_is_opened_in_the_guest_and_both_are_removed():
    host = ScriptedHost(
        start=said(stdout="kernel 1.00\nssh 4.00\nengine 6.00\n"), ssh=inside(stdout="4711 172.0.0.9 \n")
    )
    made = driver_for(
        environment("container-in-vm"), run_id=RUN_ID, invocation_id=INVOCATION_ID, host_address="10.0.0.1"
    )
    with made.open(host) as shell:
        assert shell.name == "h1/vm/container-in-vm"
        assert shell.boot == GuestBoot("tcg", vcpus=1, attempts=1)
        assert shell.opening_s == {"kernel": 1.0, "ssh": 4.0, "engine": 6.0, "made": pytest.approx(6.0)}
        assert shell.opening_s["made"] > 6.0
        assert shell.host_processes.startswith("pidfile:")
        assert shell.address == "172.0.0.9"
        assert set(shell.artifacts()) == {"console", "domain_xml"}
    lines = [argv[-1] for argv, _ in host.asked if argv[0] == "ssh"]
    assert "docker run -d" in lines[0]
    assert "docker rm -f -v" in lines[-1]
    assert host.verbs()[-1] == "close"


def test_describing_a_container_in_a_guest_that_stands_boots_no_other():
    host = ScriptedHost(start=said(stdout="ssh 4.00\n"), ssh=inside())
    made = driver_for(
        environment("container-in-vm"), run_id=RUN_ID, invocation_id=INVOCATION_ID, host_address="10.0.0.1"
    )
    with made.open(host):
        described = made.describe(host)
    assert host.verbs().count("start") == 1
    assert described["within.accelerator"] == "tcg"
    assert "engine.version" in described
    made.describe(host)
    assert host.verbs().count("start") == 2


def test_the_words_of_a_composed_environment_are_those_of_the_one_that_died():
    host = ScriptedHost(state=said(stdout=state_text(GONE, PANIC)), ssh=inside())
    made = driver_for(
        environment("container-in-vm"), run_id=RUN_ID, invocation_id=INVOCATION_ID, host_address="10.0.0.1"
    )
    with made.open(host) as shell:
        assert not shell.is_alive()
        assert "panicked" in shell.state_report()


def test_the_command_that_makes_a_guest_is_shown():
    assert start_argv(VM)[:2] == ["virsh", "create"]
    assert start_argv(environment("container-in-vm"))[:2] == ["docker", "run"]


def test_the_reaper_asks_for_its_own_run_and_says_what_is_left():
    host = ScriptedHost(reap=said(stdout="perfctl-0000aaaa-0000bbbb-1234\n"), left=said(stdout="tap pfc1\n"))
    assert remove_all(host, RUN_ID) == ["perfctl-0000aaaa-0000bbbb-1234"]
    assert host.arguments("reap") == ["perfctl-0000aaaa-", RUN_ID]
    assert left_behind(host, RUN_ID) == ["tap pfc1"]
    assert left_behind(host) == ["tap pfc1"]
    assert host.asked[-1][0][-2:] == ["perfctl-", ""]
    with pytest.raises(CommandFailed, match="domain x"):
        remove_all(ScriptedHost(reap=said(1, stderr="domain x")), RUN_ID)
