"""Guests: transient libvirt domains, booted for one invocation and thrown away."""

from perfctl.environments.vm.driver import VmDriver, left_behind, remove_all, start_argv
from perfctl.environments.vm.shell import GuestShell

__all__ = ["GuestShell", "VmDriver", "left_behind", "remove_all", "start_argv"]
