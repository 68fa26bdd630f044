"""Guests: transient libvirt domains, booted for one invocation and thrown away."""

from perfctl.environments.vm.driver import VmDriver, left_behind, remove_all
from perfctl.environments.vm.script import FOLDER
from perfctl.environments.vm.shell import GuestShell

__all__ = ["FOLDER", "GuestShell", "VmDriver", "left_behind", "remove_all"]
