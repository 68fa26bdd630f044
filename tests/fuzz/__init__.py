"""Inputs made at random for everything that reads what others wrote (docs/contributing.md)."""
