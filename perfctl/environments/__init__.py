"""Environments: each maps a Shell to a Shell.

    Environment (a value)  --driver_for()-->  EnvironmentDriver  --open(host shell)-->  EnvironmentShell

Everything an environment does on the host it does through the shell it is given, so a container over ssh,
over a local shell or inside a VM is the same code.

    protocol.py    the methods of a driver and its shell          kinds.py      what is true of each kind
    drivers.py     from a value to its driver                     catalogue.py  the built-in environments
    native.py  container/  vm/  nested.py                         the drivers
    inside.py  limits.py  scope.py  variables.py  naming.py       what they share
    launcher.py  label.py                                         what a measured command uses, and may do
"""

from __future__ import annotations

from perfctl.environments.catalogue import CATALOGUE, environment
from perfctl.environments.kinds import KINDS, KindTraits, traits_of
from perfctl.environments.protocol import EnvironmentDriver, EnvironmentShell

__all__ = [
    "CATALOGUE",
    "KINDS",
    "EnvironmentDriver",
    "EnvironmentShell",
    "KindTraits",
    "environment",
    "traits_of",
]
