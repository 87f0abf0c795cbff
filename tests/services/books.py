"""The books about events: each that was read is processed, failed or in flight, never two of them, at any moment."""

from typing import NamedTuple

import trio

from tests.services.switch import FakeSwitch


class Balance(NamedTuple):
    """How many events have been read, and how they ended or have not ended yet."""

    read: int
    processed: int
    failed: int
    in_flight: int


def balance(switch: FakeSwitch) -> Balance:
    """The books of the present process. Fails where they do not balance."""
    reader, writer, inbox = switch.reader.statistics(), switch.writer.statistics(), switch.inbox.statistics()
    found = Balance(
        reader.events,
        writer.events_processed,
        reader.failed + writer.events_failed,
        inbox.events + writer.events_in_flight,
    )
    assert found.read == found.processed + found.failed + found.in_flight, found
    assert min(found) >= 0, found
    assert reader.folded + inbox.conflated <= found.read, (reader, inbox)
    return found


class Auditor(trio.abc.Instrument):
    """Looks at the books whenever a task has run a step. problem: the first thing that did not balance."""

    def __init__(self, switch: FakeSwitch) -> None:
        self._switch = switch
        self.problem: AssertionError | None = None

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - Trio's name for it
        try:
            balance(self._switch)
        except AssertionError as problem:
            # What an instrument raises is not raised anywhere.
            self.problem = self.problem or problem
