"""What the guardian does about memory, disks and certificates."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import structlog
import trio
from trio.testing import MockClock

from portsyncd.errors import EXIT_UNAVAILABLE
from portsyncd.model.disk import Space
from portsyncd.model.healing import Kind
from portsyncd.services.guardian import DISK_SECONDS, Guardian, Settings
from portsyncd.services.upkeep import WARM_UP_SECONDS
from tests.services.guarding import DAY, MB, GuardedSwitch, guarded, only
from tests.services.watching import NEW_YEAR

MEMORY = only(Kind.MEMORY)


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def events(log: list[Any]) -> list[str]:
    return [line["event"] for line in log if line["log_level"] != "debug"]


# ---- memory


async def test_memory_that_can_be_given_back_is(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = GuardedSwitch(MEMORY)
    async with guarded(switch):
        log[:] = []
        switch.resident, switch.given_back = 600 * MB, 400 * MB
        await trio.sleep(600)
        assert len(switch.trims) == 1
        assert switch.counts() == {Kind.MEMORY: 1}
        assert switch.healed(Kind.MEMORY).what == (
            "memory given back, now 200.0 MB; of 600.0 MB: 600.0 MB are resident, self_healing.memory_limit_mb is 512"
        )
        memory = switch.guardian.statistics().memory
        assert (memory.level, memory.resident, memory.limit, memory.reason) == ("fine", 200 * MB, 512 * MB, "")
    assert events(log) == ["memory is too much", "gave memory back", "memory is not too much any more", "healed"]
    assert (log[1]["before"], log[1]["after"], log[1]["limit"]) == ("600.0 MB", "200.0 MB", "512.0 MB")


async def test_what_was_given_back_counts_at_once_and_only_once(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(MEMORY)
    async with guarded(switch):
        switch.resident, switch.given_back = 600 * MB, 400 * MB
        await switch.until(lambda: switch.trims, 3)
        await switch.settle()
        memory = switch.guardian.statistics().memory
        assert (memory.level, memory.resident) == ("trimmed", 200 * MB)
        await switch.until(switch.counts, 3)
        # Too soon for another time: it comes down by itself.
        switch.resident = 600 * MB
        await trio.sleep(10)
        assert switch.guardian.statistics().memory.level == "trimmed"
        switch.resident = 200 * MB
        await trio.sleep(10)
        assert switch.guardian.statistics().memory.level == "fine"
        assert (len(switch.trims), switch.counts()) == (1, {Kind.MEMORY: 1})


async def test_memory_that_is_given_back_in_the_end_is_told_with_what_there_was_at_first(
    autojump_clock: MockClock,
) -> None:
    switch = GuardedSwitch(MEMORY, may_leave=False)
    async with guarded(switch):
        switch.resident, switch.given_back = 600 * MB, 20 * MB
        await switch.until(lambda: len(switch.trims) == 2, 400)
        switch.resident = 100 * MB
        await switch.until(switch.counts, 3)
        assert "now 100.0 MB; of 600.0 MB: 600.0 MB are resident" in switch.healed(Kind.MEMORY).what


async def test_memory_that_nothing_helps_ends_the_process_once(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = GuardedSwitch(MEMORY)
    async with guarded(switch):
        log[:] = []
        began = trio.current_time()
        switch.resident = 600 * MB
        await switch.until(lambda: switch.left, 500)
        assert trio.current_time() - began > 300
        await trio.sleep(1200)
        (error,) = switch.left
        assert error.exit_code == EXIT_UNAVAILABLE
        assert "600.0 MB are resident" in str(error)
        assert switch.guardian.statistics().memory.level == "leave"
        assert switch.counts() == {}
    assert events(log) == [
        "memory is too much",
        "gave memory back",
        "memory is too much, and stays so",
        "gave memory back",
    ]


async def test_a_process_that_may_not_end_stays_and_is_trimmed_at_most_every_five_minutes(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = GuardedSwitch(MEMORY, may_leave=False)
    async with guarded(switch):
        switch.resident, switch.given_back = 600 * MB, 1
        await trio.sleep(3600)
        assert switch.guardian.statistics().memory.level == "high"
        assert len(switch.trims) == 12
        assert min(b - a for a, b in pairwise(switch.trims)) >= 300
        assert switch.counts() == {}


@pytest.mark.unmeasured
async def test_what_a_start_takes_is_no_growth_and_a_leak_is(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(replace(MEMORY, check_interval=30.0))
    async with guarded(switch):
        # 100 MB in the first ten minutes.
        for _ in range(int(WARM_UP_SECONDS / 10)):
            switch.resident += 100 * MB * 10 // int(WARM_UP_SECONDS)
            await trio.sleep(10)
        await trio.sleep(1500)
        assert switch.guardian.statistics().memory.growth is None
        await trio.sleep(2100)
        assert switch.guardian.statistics().memory.growth == 0
        assert switch.trims == []
        for _ in range(720):
            switch.resident += 32 * MB // 360
            await trio.sleep(10)
        memory = switch.guardian.statistics().memory
        assert memory.growth is not None
        assert memory.growth / MB == pytest.approx(32, abs=1)
        # The process does not end for growth alone.
        assert memory.level == "high"
        assert "32.0 MB more every hour" in memory.reason
        assert switch.trims
        assert switch.left == []


async def test_what_cannot_give_memory_back_does_not_keep_others_from_it(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = GuardedSwitch(MEMORY)
    switch.guardian._memory._trim = [lambda: 1 / 0, switch._trim]
    async with guarded(switch):
        switch.resident, switch.given_back = 600 * MB, 400 * MB
        await trio.sleep(10)
        assert switch.counts() == {Kind.MEMORY: 1}
    assert "memory could not be given back" in events(log)


async def test_memory_that_came_down_without_help_is_no_healing(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = GuardedSwitch(only())
    async with guarded(switch):
        log[:] = []
        switch.resident = 600 * MB
        await trio.sleep(10)
        switch.resident = 100 * MB
        await trio.sleep(10)
        assert switch.counts() == {}
    assert events(log) == ["memory is too much, and stays so", "memory is not too much any more"]


# ---- disks


async def test_a_disk_that_is_nearly_full_holds_the_history_back_until_there_is_room(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = GuardedSwitch(only(Kind.DISK))
    async with guarded(switch):
        log[:] = []
        switch.free = 10 * MB
        await switch.until(lambda: switch.held, DISK_SECONDS + 1)
        await trio.sleep(600)
        assert switch.healed(Kind.DISK).count == 1
        assert switch.held == [switch.healed(Kind.DISK).what] == [switch.guardian.statistics().low_disk]
        switch.free = 50 * MB
        await trio.sleep(600)
        assert len(switch.held) == 1
        switch.free = 70 * MB
        await switch.until(lambda: len(switch.held) == 2, DISK_SECONDS + 1)
        await trio.sleep(600)
        assert switch.held[1:] == [""]
        assert switch.guardian.statistics().low_disk == ""
        assert switch.healed(Kind.DISK).count == 1
    assert events(log) == ["healed", "the history is written again"]


async def test_a_disk_that_hangs_is_told_once_and_nothing_changes(autojump_clock: MockClock, log: list[Any]) -> None:
    switch = GuardedSwitch(only(Kind.DISK))
    async with guarded(switch):
        switch.free = 10 * MB
        await trio.sleep(20)
        log[:] = []
        switch.free = None
        checks = switch.guardian.statistics().checks
        await trio.sleep(600)
        assert switch.guardian.statistics().checks == pytest.approx(checks + 300, abs=1)
        assert switch.guardian.statistics().free_bytes["history"] == 10 * MB
        assert len(switch.held) == 1
        (line,) = log
        assert "has not said within 1.5 s how much is free" in str(line["exc_info"])


async def test_of_a_disk_that_is_not_asked_for_any_more_nothing_is_told(autojump_clock: MockClock) -> None:
    async def disks() -> Mapping[str, Space]:
        await trio.lowlevel.checkpoint()
        return {"port_state": Space(1 << 34, 1 << 40)}

    switch = GuardedSwitch(only(Kind.DISK))
    async with guarded(switch):
        assert switch.guardian.statistics().free_bytes.keys() == {"history", "port_state"}
        assert switch.guardian._disk is not None
        switch.guardian._disk._look = disks
        await trio.sleep(DISK_SECONDS)
        assert switch.guardian.statistics().free_bytes == {"port_state": 1 << 34}


# ---- certificates


async def test_certificates_that_are_about_to_expire_are_read_again_every_hour(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(replace(only(Kind.CERTIFICATES), check_interval=60.0))
    async with guarded(switch):
        switch.expiries["server"] = NEW_YEAR + 14 * DAY + 3600
        await trio.sleep(3500)
        assert switch.reloads == []
        await trio.sleep(2 * 3600)
        assert [later - earlier for earlier, later in pairwise(switch.reloads)] == [3600.0]
        assert switch.counts() == {}
        switch.expiries["server"] += 90 * DAY
        await trio.sleep(3700)
        assert len(switch.reloads) == 2
        assert switch.counts() == {Kind.CERTIFICATES: 1}
        assert (
            switch.healed(Kind.CERTIFICATES).what == "the server certificate, about to expire, now lasts 90 days longer"
        )


async def test_certificates_that_are_gone_or_last_shorter_when_they_were_read_again_are_no_healing(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    switch = GuardedSwitch(replace(only(Kind.CERTIFICATES), check_interval=60.0))
    async with guarded(switch):
        log[:] = []
        switch.expiries.update(server=NEW_YEAR + DAY, ca=NEW_YEAR + DAY)
        await switch.until(lambda: switch.reloads, 70)
        switch.expiries["server"] -= 3600
        del switch.expiries["ca"]
        await trio.sleep(600)
        assert switch.counts() == {}
    assert events(log) == ["certificates are about to expire: reading them again"]


async def test_certificates_that_were_replaced_in_time_are_no_healing(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch()
    async with guarded(switch):
        switch.expiries["server"] += 90 * DAY
        await trio.sleep(100)
        del switch.expiries["server"]
        await trio.sleep(100)
        assert (switch.reloads, switch.counts()) == ([], {})


# ---- who is not there


async def test_where_nothing_is_kept_or_served_nothing_is_looked_after(autojump_clock: MockClock) -> None:
    switch = GuardedSwitch(Settings())
    switch.guardian = Guardian(
        switch.reader,
        switch.writer,
        switch.inbox,
        switch._cancel,
        settings=Settings(),
        resident=lambda: MB,
        wall=switch.wall,
    )
    async with guarded(switch):
        await trio.sleep(600)
        statistics = switch.guardian.statistics()
        assert (statistics.free_bytes, statistics.low_disk, statistics.blocks) == ({}, "", 0)
        assert switch.counts() == {}
