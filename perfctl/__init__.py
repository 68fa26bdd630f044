"""perfctl: what a container, a VM or a setting costs on your machines, and how sure that is."""

__version__ = "0.1.0"
