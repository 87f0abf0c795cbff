"""What every ``HistoryStore`` does: the one in memory and the file."""

from collections.abc import AsyncIterator
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest
import trio

from portsyncd.analytics.history import LATEST, History, Outcome, PortFlaps, Restored, Sample, Start
from portsyncd.backends.base import HistoryStore
from portsyncd.backends.history import HistoryFile
from portsyncd.testing.fake_history import FakeHistory

ODD = b"Eth\xff\xfe".decode("utf-8", "surrogateescape")
START = Start(
    at=1000.25,
    warm=True,
    outcome=Outcome.EOIU,
    restored=Restored.BACKUP,
    damaged=2,
    ports=512,
    differences=7,
    sync_seconds=0.125,
    eoiu_seconds=0.0625,
    events=1_000_000_000_000,
    seen=2000.5,
    healthy=True,
    stopped=True,
)


def sample(at: float, **changes: float | None) -> Sample:
    return replace(Sample(at, 10.0, 1.0, 3, 2, 1, 0.0001, 0.0002, 0.0003, 50_000_000, 4), **changes)  # type: ignore[arg-type] # by name


@pytest.fixture(params=["memory", "file"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[HistoryStore]:
    store: HistoryStore = FakeHistory() if request.param == "memory" else HistoryFile(tmp_path / "kept", 4 << 20)
    await store.counted()
    assert store.damaged == 0
    yield store
    await store.close()


async def test_at_first_there_is_nothing(store: HistoryStore) -> None:
    assert await store.read(17.5) == History(17.5, [], [], [])


async def test_everything_comes_back_as_it_was(store: HistoryStore) -> None:
    flaps = [
        PortFlaps(1010.0, "Ethernet0", 2, 2),
        PortFlaps(1010.0, ODD, 1, 1),
    ]
    await store.begin(START)
    await store.append(sample(1010.0), flaps)
    await store.append(sample(1020.5, latency_p50=None, latency_p95=None, latency_p99=None, health=0.5), [])
    history = await store.read(0.0)
    assert history == History(
        0.0,
        [START],
        [sample(1010.0), sample(1020.5, latency_p50=None, latency_p95=None, latency_p99=None, health=0.5)],
        flaps,
    )
    assert type(history.starts[0].warm) is bool
    assert type(history.starts[0].outcome) is Outcome
    assert type(history.starts[0].restored) is Restored


async def test_a_start_is_updated_in_its_place(store: HistoryStore) -> None:
    await store.begin(Start(1.0))
    await store.begin(Start(2.0))
    await store.update(Start(2.0, outcome=Outcome.TIMEOUT, seen=3.0))
    await store.update(Start(2.5, outcome=Outcome.EOIU, seen=4.0))
    assert (await store.read(0.0)).starts == [Start(1.0), Start(2.5, outcome=Outcome.EOIU, seen=4.0)]


async def test_an_update_without_a_beginning_begins(store: HistoryStore) -> None:
    await store.update(Start(1.0))
    await store.update(Start(1.0, seen=2.0))
    assert (await store.read(0.0)).starts == [Start(1.0, seen=2.0)]


async def test_a_reading_begins_where_it_was_told_to(store: HistoryStore) -> None:
    await store.begin(Start(1.0, seen=5.0))
    await store.begin(Start(6.0, seen=30.0))
    for at in (10.0, 20.0, 30.0):
        await store.append(sample(at), [PortFlaps(at, "Ethernet0", 1, 1)])
    history = await store.read(20.0)
    assert history.starts == [Start(6.0, seen=30.0)]
    assert [each.at for each in history.samples] == [20.0, 30.0]
    assert [each.at for each in history.flaps] == [20.0, 30.0]


async def test_a_reading_ends_where_it_was_told_to_but_starts_did_happen(store: HistoryStore) -> None:
    await store.begin(Start(25.0, seen=30.0))
    for at in (10.0, 20.0, 30.0):
        await store.append(sample(at), [PortFlaps(at, "Ethernet0", 1, 1)])
    history = await store.read(0.0, 20.0)
    assert history.starts == [Start(25.0, seen=30.0)]
    assert [each.at for each in history.samples] == [10.0, 20.0]
    assert [each.at for each in history.flaps] == [10.0, 20.0]


async def test_what_has_no_place_in_a_calendar_is_left_out(store: HistoryStore) -> None:
    for at in (-1.0, -1e15, 1e15, inf, -inf, LATEST + 1):
        await store.begin(Start(at, seen=1.0))
        await store.begin(Start(1.0, seen=at))
        await store.append(sample(at), [PortFlaps(at, "Ethernet0", 1, 1)])
    await store.begin(Start(0.0, seen=LATEST))
    await store.append(sample(0.0), [])
    await store.append(sample(LATEST), [])
    for history in (await store.read(-1e16), await store.read(-inf, inf)):
        assert history.starts == [Start(0.0, seen=LATEST)]
        assert [each.at for each in history.samples] == [0.0, LATEST]
        assert history.flaps == []


async def test_a_ports_count_is_that_of_its_row_that_was_written_last(store: HistoryStore) -> None:
    assert await store.counted() == {}
    await store.append(sample(5000.0), [PortFlaps(5000.0, "Ethernet0", 2, 7), PortFlaps(5000.0, ODD, 1, 4)])
    # The clock was set back, and the port counts from 0 again.
    await store.append(sample(1000.0), [PortFlaps(1000.0, "Ethernet0", 1, 1)])
    await store.append(sample(1010.0), [])
    assert await store.counted() == {"Ethernet0": 1, ODD: 4}


async def test_a_clock_that_was_set_back_leaves_the_samples_in_the_order_of_their_times(store: HistoryStore) -> None:
    for at in (5000.0, 5010.0, 1000.0):
        await store.append(sample(at), [PortFlaps(at, "Ethernet0", 1, 1)])
    history = await store.read(0.0)
    assert [each.at for each in history.samples] == [1000.0, 5000.0, 5010.0]
    assert [each.at for each in history.flaps] == [1000.0, 5000.0, 5010.0]


async def test_what_is_too_old_goes_but_the_present_start_stays(store: HistoryStore) -> None:
    await store.begin(Start(1.0, seen=5.0))
    await store.begin(Start(6.0, seen=15.0))
    await store.begin(Start(2.0))
    for at in (9.0, 10.0, 11.0):
        await store.append(sample(at), [PortFlaps(at, "Ethernet0", 1, 1)])
    await store.trim(10.0)
    history = await store.read(0.0)
    assert history.starts == [Start(6.0, seen=15.0), Start(2.0)]
    assert [each.at for each in history.samples] == [10.0, 11.0]
    assert [each.at for each in history.flaps] == [10.0, 11.0]
    await store.update(Start(2.0, seen=12.0))
    assert (await store.read(0.0)).starts == [Start(6.0, seen=15.0), Start(2.0, seen=12.0)]


async def test_what_is_of_a_time_that_has_not_come_stays_and_is_not_read(store: HistoryStore) -> None:
    await store.begin(Start(1.0))
    for at in (19.0, 21.0):
        await store.append(sample(at), [])
    await store.trim(0.0)
    assert [each.at for each in (await store.read(0.0, 20.0)).samples] == [19.0]
    assert [each.at for each in (await store.read(0.0)).samples] == [19.0, 21.0]


async def test_it_can_be_used_after_it_was_closed(store: HistoryStore) -> None:
    await store.begin(Start(1.0))
    await store.close()
    await store.close()
    await store.update(Start(1.0, seen=2.0))
    assert (await store.read(0.0)).starts == [Start(1.0, seen=2.0)]


async def test_every_request_lets_others_run(store: HistoryStore) -> None:
    for request in (
        store.counted,
        lambda: store.begin(Start(1.0)),
        lambda: store.update(Start(1.0)),
        lambda: store.append(sample(1.0), []),
        lambda: store.trim(0.0),
        lambda: store.read(0.0),
        store.close,
    ):
        with trio.testing.assert_checkpoints():
            await request()
