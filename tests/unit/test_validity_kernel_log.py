"""The kernel's log: what is new, what matters."""

from __future__ import annotations

from pathlib import Path

import pytest

from perfctl.validity.counter_files import kernel_log, parse_files
from perfctl.validity.kernel_log import KINDS, by_kind, kind_of, messages_of

DATA = Path(__file__).parents[1] / "data" / "facts"


def log_of(folder: str) -> list[str]:
    """Return the log that was captured after a command."""
    lines, is_cut = kernel_log(parse_files((DATA / folder / "after").read_bytes()))
    assert lines is not None and not is_cut
    return lines


@pytest.mark.parametrize(
    ("records", "messages"),
    [
        ([], ()),
        (
            ["6,25094,25120584908,-;br1: entered disabled state"],
            ("[25120.584908] br1: entered disabled state",),
        ),
        # With what belongs to it: the device, and how records of one line hang together.
        (
            ["3,1,5,c,caller=T1;I/O; error", " SUBSYSTEM=block", " DEVICE=b8:0"],
            ("[    0.000005] I/O; error",),
        ),
        # A program, not the kernel: facility 1, priority 4; facility 3.
        (["12,2,6,-;WARNING: says a program", "30,3,7,-;systemd[1]: Started"], ()),
        # Cut off, or no record at all.
        (["4,7,8", "4,7,8,-", "WARNING: x", "", " ", "-4,7,8,-;x", "4,7,x,-;y"], ()),
        (["4,7,8,-;"], ("[    0.000008] ",)),
    ],
)
def test_what_the_kernel_itself_said(records, messages):
    assert messages_of(records) == messages


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("[1.0] br1: port 1(eth1) entered forwarding state", None),
        ("[1.0] docker0: port 2(veth1) entered disabled state", None),
        ("[1.0] IPv6: ADDRCONF(NETDEV_CHANGE): veth1: link becomes ready", None),
        ("[1.0] perf: interrupt took too long (2501 > 2500), lowering", None),
        ("[1.0] mce: CPU0: Package temperature above threshold, cpu clock throttled", "heat"),
        ("[1.0] traps: a.out[7] general protection fault ip:1 sp:2 error:0", "crash"),
        ("[1.0] general protection fault, probably for non-canonical address", "fault"),
        ("[1.0] EDAC MC0: 1 CE memory read error on CPU_SrcID#0", "hardware"),
        ("[1.0] rcu: INFO: rcu_preempt self-detected stall on CPU", "stall"),
        ("[1.0] INFO: task dd:77 blocked for more than 120 seconds.", "stall"),
        ("[1.0] clocksource: Switched to clocksource hpet", "clock"),
        ("[1.0] EXT4-fs error (device sda1): ext4_find_entry", "storage"),
        ("[1.0] nvme nvme0: I/O 5 QID 1 timeout, aborting", "storage"),
        # The block layer: one form for every error.
        ("[1.0] critical medium error, dev sdb, sector 8736552 op 0x0:(READ) flags 0x0", "storage"),
        ("[1.0] critical space allocation error, dev dm-3, sector 88064 op 0x1:(WRITE)", "storage"),
        ("[1.0] blk_update_request: critical target error, dev sda, sector 0", "storage"),
        ("[1.0] protection error, dev nvme0n1, sector 8 op 0x0:(READ)", "storage"),
        ("[1.0] recoverable transport error, dev sdc, sector 12", "storage"),
        ("[1.0] device offline error, dev sdd, sector 99", "storage"),
        ("[1.0] operation not supported error, dev loop0, sector 8 op 0x9:(WRITE_ZEROES)", None),
        ("[1.0] Buffer I/O error on dev sda1, logical block 7, async page read", "storage"),
        # Drivers of disks and controllers.
        ("[1.0] sd 1:0:0:0: [sdb] tag#0 FAILED Result: hostbyte=DID_OK driverbyte=DRIVER_SENSE", "storage"),
        ("[1.0] sd 1:0:0:0: [sdb] tag#0 Sense Key : Medium Error [current]", "storage"),
        ("[1.0] sd 1:0:0:0: [sdb] tag#0 Sense Key : Hardware Error [current]", "storage"),
        ("[1.0] sd 1:0:0:0: [sdb] tag#0 Sense Key : Recovered Error [current]", None),
        ("[1.0] sd 1:0:0:0: [sdb] tag#0 CDB: Read(10) 28 00 00 85 4f 28 00 00 08 00", None),
        ("[1.0] sd 2:0:0:0: rejecting I/O to offline device", "storage"),
        ("[1.0] ata1: SATA link down (SStatus 0 SControl 300)", "storage"),
        ("[1.0] ata1: SATA link up 6.0 Gbps (SStatus 133 SControl 300)", None),
        ("[1.0] ata2.00: exception Emask 0x0 SAct 0x0 SErr 0x0 action 0x6 frozen", "storage"),
        ("[1.0] nvme nvme1: controller is down; will reset: CSTS=0x3, PCI_STATUS=0x10", "storage"),
        ("[1.0] nvme nvme0: Shutdown timeout set to 8 seconds", None),
        ("[1.0] mmc0: cache flush error -110", "storage"),
        ("[1.0] megaraid_sas 0000:01:00.0: resetting fusion adapter scsi0.", "storage"),
        ("[1.0] lpfc 0000:05:00.0: 0:1305 Link Down Event x2 received", "storage"),
        ("[1.0] qla2xxx [0000:06:00.0]-500b:3: LOOP DOWN detected (2 7 0 0).", "storage"),
        ("[1.0] md/raid1:md0: Disk failure on sda1, disabling device.", "storage"),
        ("[1.0] md: data-check of RAID array md0", None),
        ("[1.0] device-mapper: multipath: 253:3: Failing path 8:16.", "storage"),
        ("[1.0] device-mapper: thin: 253:2: switching pool to out-of-data-space (queue IO) mode", None),
        ("[1.0] device-mapper: thin: 253:2: no free data space available.", "storage"),
        (" connection1:0: detected conn error (1022)", "storage"),
        # File systems, local and far.
        ("[1.0] EXT4-fs (sda1): mounted filesystem with ordered data mode. Opts: errors=remount-ro", None),
        ("[1.0] EXT4-fs (dm-0): failed to convert unwritten extents to written extents", "storage"),
        ("[1.0] Aborting journal on device sda1-8.", "storage"),
        ("[1.0] XFS (dm-1): Ending clean mount", None),
        ("[1.0] XFS (dm-1): Metadata corruption detected at xfs_agf_read_verify", "storage"),
        ("[1.0] XFS (dm-1): Filesystem has been shut down due to log error (0x2).", "storage"),
        ("[1.0] BTRFS info (device sda): bdev /dev/sda errs: wr 0, rd 0, flush 0, corrupt 0, gen 0", None),
        ("[1.0] BTRFS error (device sdb): bdev /dev/sdb errs: wr 1, rd 0", "storage"),
        ("[1.0] nfs: server filer not responding, still trying", "storage"),
        ("[1.0] nfs: server filer OK", None),
        ("[1.0] LustreError: 11-0: scratch-OST0001: operation ost_read failed", "storage"),
        ("[1.0] libceph: osd3 down", "storage"),
        # Links.
        ("[1.0] igb 0000:03:00.0 eth0: igb: eth0 NIC Link is Down", "link"),
        ("[1.0] mlx5_core 0000:08:00.0 ens1: Link down", "link"),
        ("[1.0] tg3 0000:02:00.0 eno1: Link is down", "link"),
        ("[1.0] bnxt_en 0000:18:00.0 eno1np0: NIC Link is Down", "link"),
        ("[1.0] bond0: (slave eth1): link status definitely down, disabling slave", "link"),
        ("[1.0] r8169 0000:03:00.0 enp3s0: Link is Down", "link"),
        ("[1.0] smsc95xx 1-1:1.0 eth0: carrier lost", "link"),
        ("[1.0] NETDEV WATCHDOG: eth0 (e1000): transmit queue 0 timed out", "link"),
        ("[1.0] e1000e 0000:00:19.0 eno1: Detected Hardware Unit Hang:", "link"),
        ("[1.0] igb 0000:03:00.0 eth0: igb: eth0 NIC Link is Up 1000 Mbps Full Duplex", None),
        ("[1.0] pcieport 0000:00:1c.0: pciehp: Slot(0): Link Down", "hardware"),
        # Memory: who was short of it.
        ("[1.0] TCP: out of memory -- consider tuning tcp_mem", "buffers"),
        ("[1.0] eth0: Memory squeeze, dropping packet.", "buffers"),
        ("[1.0] eth0: failed to allocate rx buffer, retry failed", "buffers"),
        ("[1.0] Out of memory: Killed process 77 (sysbench) total-vm:1kB", "memory"),
        ("[1.0] Memory cgroup out of memory: Killed process 78 (sysbench)", "memory"),
        ("[1.0] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null)", "memory"),
        (
            "[1.0] swapper/0: page allocation failure: order:5, mode:0x40cc0(GFP_KERNEL|__GFP_COMP)",
            "allocation",
        ),
        ("[1.0] SLUB: Unable to allocate memory on node -1, gfp=0x920(GFP_ATOMIC)", "allocation"),
        ("[1.0] usb 1-1: out of memory", "allocation"),
        ("[1.0] nf_conntrack: nf_conntrack: table full, dropping packet", "table"),
        ("[1.0] neighbour: arp_cache: neighbor table overflow!", "table"),
        ("[1.0] TCP: too many orphaned sockets", "table"),
        ("[1.0] TCP: request_sock_TCP: Possible SYN flooding on port 80. Sending cookies.", "table"),
        # Other architectures.
        ("[1.0] a.out[77]: segfault (11) at 0 nip 10000 lr 10001 code 1", "crash"),
        ("[1.0] a.out[77]: unhandled level 2 translation fault (11) at 0x00000000", "crash"),
        ("[1.0] User process fault: interruption code 0011 ilc:3 in a.out", "crash"),
        ("[1.0] Internal error: Oops - undefined instruction: 0 [#1] SMP ARM", "fault"),
        ("[1.0] EEH: Frozen PHB#0-PE#1 detected", "hardware"),
        ("[1.0] pcieport 0000:00:1b.4: AER: Corrected error received: 0000:02:00.0", "hardware"),
        ("[1.0] mce: [Hardware Error]: Machine check events logged", "hardware"),
        ("[1.0] rcu: INFO: rcu_sched detected expedited stalls on CPUs/tasks: { 3-... }", "stall"),
        ("[1.0] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [kworker/1:1:77]", "stall"),
        ("[1.0] tsc: Marking TSC unstable due to clocksource watchdog", "clock"),
    ],
)
def test_what_a_line_is_about(line, kind):
    found = kind_of(line)
    assert (found.name if found else None) == kind


def test_what_invalidates_is_what_no_environment_can_cause():
    severe = {kind.name for kind in KINDS if kind.is_severe}
    assert severe == {"hardware", "stall", "fault", "clock", "storage", "link"}


def test_lines_are_grouped_in_the_order_of_kinds():
    lines = ["WARNING: CPU: 1", "nothing", "mce: Uncorrected hardware memory error", "WARNING: CPU: 2"]
    assert by_kind(lines) == {"hardware": [lines[2]], "warning": [lines[0], lines[3]]}
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_a_real_log_of_containers_that_come_and_go_holds_nothing_that_matters():
    lines = messages_of(log_of("counters-containers"))
    assert len(lines) > 20
    assert by_kind(lines) == {}


def test_a_real_program_that_crashed():
    lines = messages_of(log_of("counters-crash"))
    (crashed,) = by_kind(lines)["crash"]
    assert "segfault at 0" in crashed
