"""How what one process has proved comes to another: over a pipe, with descriptors of the memory."""

import os
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle, send_handle
from typing import NamedTuple

from serving.backends.sealed import SealedModel
from serving.engine.warm_up import Measured
from serving.loading import Plan, Proved


class Handover(NamedTuple):
    """What is `Proved`; after it come the descriptors of the sealed parts, in this order."""

    plan: Plan
    measured: Measured
    made_by: str
    parts: Sequence[str]


def send(pipe: Connection, proved: Proved) -> None:
    """Send what was proved."""
    plan, measured, sealed = proved
    made_by, parts = (sealed.made_by, sealed.parts) if sealed else ("", {})
    pipe.send(Handover(plan, measured, made_by, [*parts]))
    for descriptor in parts.values():
        send_handle(pipe, descriptor, os.getppid())


def receive(pipe: Connection, handover: Handover) -> Proved:
    """Return what follows a `Handover`; raise `EOFError` if the other side has ended."""
    plan, measured, made_by, parts = handover
    sealed = SealedModel(made_by, {}) if parts else None
    if sealed:
        for name in parts:
            sealed.parts[name] = recv_handle(pipe)
        sealed.seal()
    return Proved(plan, measured, sealed)
