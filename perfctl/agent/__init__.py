"""One process on each host of a run: starts its commands, reads the kernel around them, keeps their results.

AgentChannel  --frames-->  relay on the host  --its descriptors-->  agent  -->  jobs, in sessions of their own

agent      the agent itself: one file of standard-library Python, sent to the host
client     starting it, channels to it, and ending what it has left
"""

from __future__ import annotations

from perfctl.agent.client import (
    Agent,
    AgentChannel,
    AgentGone,
    AgentRefused,
    Answer,
    reap_run,
)

__all__ = ["Agent", "AgentChannel", "AgentGone", "AgentRefused", "Answer", "reap_run"]
