"""The supervisor under the test clock: every wait here is exact and takes no time."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from math import inf
from typing import Any, NoReturn

import pytest
import structlog
import trio
from trio.testing import MockClock

from portsyncd import logs
from portsyncd.errors import BudgetExhaustedError, ConfigError, LinkSourceError, NoPermissionError
from portsyncd.model.restart import RestartPolicy
from portsyncd.services.supervisor import Child, ChildState, ChildStatistics, Supervisor

POLICY = RestartPolicy(
    first_delay=0.1, factor=2.0, delay_cap=5.0, budget=3, window=300.0, healthy_after=30.0, start_deadline=15.0
)

Status = trio.TaskStatus[None]
Life = Callable[[Status], Awaitable[object]]


async def forever(status: Status) -> NoReturn:
    status.started()
    await trio.sleep_forever()


async def never_starts(_status: Status) -> NoReturn:
    await trio.sleep_forever()


def runs_for(seconds: float, error: BaseException | None = None) -> Life:
    """A life that is up for some seconds, then raises ``error`` or returns."""

    async def life(status: Status) -> None:
        status.started()
        await trio.sleep(seconds)
        if error is not None:
            raise error

    return life


def starts_after(seconds: float) -> Life:
    async def life(status: Status) -> None:
        await trio.sleep(seconds)
        await forever(status)

    return life


def raises_when_cancelled(error: BaseException, *, started: bool = True) -> Life:
    async def life(status: Status) -> None:
        if started:
            status.started()
        try:
            await trio.sleep_forever()
        finally:
            raise error

    return life


class Service:
    """Lives through ``lives`` one after the other, the last one again and again. ``calls`` are the times of its starts."""

    def __init__(self, *lives: Life) -> None:
        self.lives = lives
        self.calls: list[float] = []
        self.ends: list[float] = []

    async def __call__(self, *, task_status: Status) -> None:
        life = self.lives[min(len(self.calls), len(self.lives) - 1)]
        self.calls.append(trio.current_time())
        try:
            await life(task_status)
        finally:
            self.ends.append(trio.current_time())


def make(
    *children: Child, policy: RestartPolicy = POLICY, exit_to_restart: bool = True, jitter: float = 0.5
) -> Supervisor:
    return Supervisor(children, policy, exit_to_restart=exit_to_restart, random=lambda: jitter)


def only(supervisor: Supervisor) -> ChildStatistics:
    (child,) = supervisor.statistics().children
    return child


@asynccontextmanager
async def running(supervisor: Supervisor) -> AsyncIterator[trio.CancelScope]:
    """Run the supervisor in the background; at the end cancel it, and see that it left nothing."""
    tasks = trio.lowlevel.current_statistics().tasks_living
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.run)
        # On the test clock: when everybody who has something to do has done it.
        await trio.testing.wait_all_tasks_blocked()
        yield nursery.cancel_scope
        nursery.cancel_scope.cancel()
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert {child.state for child in supervisor.statistics().children} == {ChildState.STOPPED}


@pytest.fixture(autouse=True)
def log() -> Iterator[list[Any]]:
    """Everything that is logged, from level debug on. For every test, since logging is not set up here."""
    logs.set_level("debug")
    try:
        with structlog.testing.capture_logs() as lines:
            yield lines
    finally:
        logs.set_level("info")


# Starting


async def test_children_begin_in_their_order(autojump_clock: MockClock) -> None:
    begun: list[str] = []

    def life_of(name: str) -> Life:
        async def life(status: Status) -> None:
            begun.append(name)
            await trio.lowlevel.checkpoint()
            await forever(status)

        return life

    names = list("abcdefgh")
    async with running(make(*(Child(name, Service(life_of(name)), essential=name > "d") for name in names))):
        assert begun == names


async def test_started_waits_for_every_essential_child_and_for_no_other(autojump_clock: MockClock) -> None:
    supervisor = make(
        Child("presence", Service(never_starts), essential=False),
        Child("writer", Service(starts_after(3.0)), essential=True),
        Child("reader", Service(starts_after(1.0)), essential=True),
    )
    async with trio.open_nursery() as nursery:
        begin = trio.current_time()
        await nursery.start(supervisor.run)
        assert trio.current_time() - begin == pytest.approx(3.0)
        nursery.cancel_scope.cancel()


async def test_started_needs_no_essential_child(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        begin = trio.current_time()
        await nursery.start(make(Child("jobs", Service(never_starts), essential=False)).run)
        assert trio.current_time() == begin
        nursery.cancel_scope.cancel()


async def test_a_later_incarnation_may_be_the_first_to_start_and_only_the_first_start_is_forwarded(
    autojump_clock: MockClock,
) -> None:
    async def fails(_status: Status) -> None:
        raise LinkSourceError("no socket")

    # Trio raises RuntimeError if started() comes twice.
    service = Service(fails, runs_for(1.0), forever)
    async with trio.open_nursery() as nursery:
        begin = trio.current_time()
        await nursery.start(make(Child("reader", service, essential=True)).run)
        assert trio.current_time() - begin == pytest.approx(0.05)
        await trio.sleep(10)
        assert len(service.calls) == 3
        nursery.cancel_scope.cancel()


def test_two_children_of_one_name_are_refused() -> None:
    child = Child("reader", Service(forever), essential=True)
    with pytest.raises(ValueError, match="share a name"):
        make(child, child)


# Failing and being rebuilt


async def test_a_crash_rebuilds_the_child_and_leaves_the_others_alone(autojump_clock: MockClock) -> None:
    reader, writer = Service(runs_for(2.0, LinkSourceError("closed")), forever), Service(forever)
    async with running(make(Child("reader", reader, essential=True), Child("writer", writer, essential=True))):
        await trio.sleep(10)
        assert reader.calls[1] - reader.calls[0] == pytest.approx(2.05)
        assert len(reader.calls) == 2
        assert len(writer.calls) == 1
        assert not writer.ends


async def test_a_first_crash_is_rebuilt_within_a_second_whatever_the_jitter(autojump_clock: MockClock) -> None:
    service = Service(runs_for(0.0, ValueError()), forever)
    async with running(make(Child("reader", service, essential=True), policy=RestartPolicy(), jitter=0.999999)):
        await trio.sleep(1.0)
        assert len(service.calls) == 2


async def test_a_clean_return_is_a_failure(autojump_clock: MockClock) -> None:
    service = Service(runs_for(1.0), forever)
    async with running(supervisor := make(Child("reader", service, essential=True))):
        await trio.sleep(5)
        assert len(service.calls) == 2
        assert only(supervisor).last_failure == "returned although it should run for ever"


async def test_a_return_before_the_start_is_a_failure_too(autojump_clock: MockClock) -> None:
    async def returns(_status: Status) -> None: ...

    async with running(supervisor := make(Child("reader", Service(returns, forever), essential=True))):
        await trio.sleep(5)
        assert only(supervisor).state is ChildState.RUNNING
        assert only(supervisor).last_failure == "returned although it should run for ever"


async def test_delays_grow_and_a_healthy_run_begins_them_anew(autojump_clock: MockClock) -> None:
    service = Service(runs_for(0.0), runs_for(0.0), runs_for(30.0), forever)
    async with running(make(Child("reader", service, essential=True))):
        await trio.sleep(60)
        gaps = [call - end for call, end in zip(service.calls[1:], service.ends, strict=True)]
        assert gaps == pytest.approx([0.05, 0.1, 0.05])


async def test_time_spent_in_the_start_is_no_healthy_run(autojump_clock: MockClock) -> None:
    async def slow_then_fails(_status: Status) -> None:
        await trio.sleep(100)
        raise ValueError

    service = Service(runs_for(0.0), slow_then_fails, forever)
    async with running(make(Child("reader", service, essential=True, start_deadline=inf))):
        await trio.sleep(200)
        assert service.calls[2] - service.ends[1] == pytest.approx(0.1)


async def test_a_crash_while_another_child_restarts(autojump_clock: MockClock) -> None:
    reader = Service(runs_for(1.0), runs_for(0.0), runs_for(0.0), forever)
    writer = Service(runs_for(1.1), forever)
    supervisor = make(Child("reader", reader, essential=True), Child("writer", writer, essential=True))
    async with running(supervisor):
        begin = trio.current_time()
        await trio.sleep(1.12)
        assert [child.state for child in supervisor.statistics().children] == [ChildState.WAITING] * 2
        await trio.sleep(5)
        assert [call - begin for call in reader.calls] == pytest.approx([0.0, 1.05, 1.15, 1.35])
        assert [call - begin for call in writer.calls] == pytest.approx([0.0, 1.15])


# Beyond the budget


async def test_a_crash_storm_of_an_essential_child_ends_the_supervisor(autojump_clock: MockClock) -> None:
    reader, writer = Service(runs_for(0.1, LinkSourceError("closed"))), Service(forever)
    supervisor = make(Child("reader", reader, essential=True), Child("writer", writer, essential=True))
    message = "^reader failed 4 times within 300 s, the last time: closed$"
    with pytest.RaisesGroup(pytest.RaisesExc(BudgetExhaustedError, match=message)) as caught:
        await supervisor.run()
    assert len(reader.calls) == POLICY.budget + 1
    assert len(writer.ends) == 1
    (error,) = caught.value.exceptions
    assert isinstance(error.__cause__, ExceptionGroup)
    assert error.__cause__.subgroup(LinkSourceError)
    assert [child.state for child in supervisor.statistics().children] == [ChildState.STOPPED] * 2


async def test_giving_up_before_the_first_start_is_told_to_who_waits_for_it(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        with pytest.RaisesGroup(BudgetExhaustedError):
            await nursery.start(make(Child("reader", Service(never_starts), essential=True)).run)


@pytest.mark.parametrize(("essential", "exit_to_restart"), [(True, False), (False, True)])
async def test_elsewhere_a_crash_storm_goes_on_at_the_cap_and_is_called_unhealthy(
    autojump_clock: MockClock, log: list[Any], essential: bool, exit_to_restart: bool
) -> None:
    error = LinkSourceError("closed")
    service = Service(*[runs_for(1.0, error)] * 20, forever)
    supervisor = make(Child("reader", service, essential=essential), exit_to_restart=exit_to_restart)
    async with running(supervisor):
        await trio.sleep(4)
        assert not only(supervisor).unhealthy
        while len(service.calls) < 21:
            await trio.sleep(1)
            assert only(supervisor).unhealthy == (len(service.ends) > POLICY.budget)
        gaps = [call - end for call, end in zip(service.calls[1:], service.ends, strict=True)]
        assert gaps[:3] == pytest.approx([0.05, 0.1, 0.2])
        assert gaps[3:] == pytest.approx([POLICY.delay_cap] * 17)

        # Up is not yet healthy; said once, when it is.
        await trio.sleep_until(service.calls[20] + POLICY.healthy_after - 0.01)
        assert only(supervisor).unhealthy
        await trio.sleep(0.02)
        assert not only(supervisor).unhealthy
        await trio.sleep(1000)
    said = [(line["log_level"], line["event"]) for line in log if line["log_level"] != "debug"]
    assert said == [
        *[("warning", "service failed"), ("info", "service runs again")] * POLICY.budget,
        ("error", "service failed"),
        ("info", "service runs again"),
    ]
    (unhealthy,) = (line for line in log if line["log_level"] == "error")
    assert unhealthy["follows"] == "unhealthy: beyond its restart budget, tried every 5 s"
    assert log[-1]["restarts"] == 20


async def test_beyond_the_budget_another_failure_is_told(autojump_clock: MockClock, log: list[Any]) -> None:
    lives = [runs_for(0.0, LinkSourceError(text)) for text in ("a", "a", "a", "a", "a", "b", "b")]
    async with running(make(Child("reader", Service(*lives), essential=True), exit_to_restart=False)):
        await trio.sleep(100)
    assert [line["error"] for line in log if line["log_level"] == "error"] == ["a", "b"]


# Permanent failures


@pytest.mark.parametrize("exit_to_restart", [True, False])
@pytest.mark.parametrize(
    "error", [NoPermissionError("the kernel refused"), ConfigError(["a is wrong", "b is wrong"])], ids=type
)
async def test_an_error_that_only_the_operator_can_mend_goes_up_as_it_is(
    autojump_clock: MockClock, error: Exception, exit_to_restart: bool
) -> None:
    service = Service(runs_for(1.0, ExceptionGroup("its nursery", [LinkSourceError("closed"), error])))
    with pytest.RaisesGroup(pytest.RaisesExc(type(error), check=lambda raised: raised is error)):
        await make(Child("reader", service, essential=True), exit_to_restart=exit_to_restart).run()
    assert len(service.calls) == 1


async def test_another_childs_error_that_only_the_operator_can_mend_is_tried_again(autojump_clock: MockClock) -> None:
    service = Service(runs_for(1.0, ConfigError(["no such file", "no such key"])), forever)
    async with running(supervisor := make(Child("metrics", service, essential=False))):
        await trio.sleep(5)
        assert len(service.calls) == 2
        assert only(supervisor).last_failure == "no such file; no such key"


# Cancellation


async def test_cancellation_while_a_child_waits_for_its_restart(autojump_clock: MockClock, log: list[Any]) -> None:
    service = Service(runs_for(1.0))
    async with running(supervisor := make(Child("reader", service, essential=True))) as scope:
        await trio.sleep(1.02)
        assert only(supervisor).state is ChildState.WAITING
        scope.cancel()
    assert only(supervisor).next_start is None
    assert len(service.calls) == 1
    assert [line["event"] for line in log] == ["service failed"]


async def test_cancellation_while_a_child_starts_anew(autojump_clock: MockClock) -> None:
    service = Service(runs_for(1.0), never_starts)
    async with running(supervisor := make(Child("reader", service, essential=True))) as scope:
        await trio.sleep(2)
        assert only(supervisor).state is ChildState.STARTING
        scope.cancel()
    assert len(service.calls) == len(service.ends) == 2
    assert only(supervisor).restarts == 1


async def test_cancellation_of_everything_is_no_failure(autojump_clock: MockClock, log: list[Any]) -> None:
    services = [Service(forever), Service(never_starts), Service(forever)]
    supervisor = make(*(Child(str(number), service, essential=True) for number, service in enumerate(services)))
    async with running(supervisor) as scope:
        await trio.sleep(1)
        scope.cancel()
    assert [len(service.ends) for service in services] == [1, 1, 1]
    assert [child.last_failure for child in supervisor.statistics().children] == [None] * 3
    assert log == []


async def test_a_child_that_fails_while_it_is_stopped_is_told_and_not_rebuilt(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    service = Service(raises_when_cancelled(LinkSourceError("close failed")))
    async with running(make(Child("reader", service, essential=True))) as scope:
        scope.cancel()
    assert len(service.calls) == 1
    assert [(line["event"], line["error"]) for line in log] == [("service failed while it was stopped", "close failed")]


# Exception groups


async def test_a_group_of_ordinary_errors_is_one_failure(autojump_clock: MockClock) -> None:
    async def fails_twice(status: Status) -> None:
        status.started()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raises_when_cancelled(KeyError("port")), trio.TASK_STATUS_IGNORED)
            await trio.testing.wait_all_tasks_blocked()
            raise LinkSourceError("closed")

    async with running(supervisor := make(Child("reader", Service(fails_twice, forever), essential=True))):
        await trio.sleep(5)
        assert only(supervisor).restarts == 1
        assert only(supervisor).last_failure in ("closed; KeyError: 'port'", "KeyError: 'port'; closed")


@pytest.mark.parametrize("foreign", [KeyboardInterrupt(), SystemExit(3)], ids=repr)
async def test_what_is_not_ours_to_handle_goes_up_and_the_rest_is_told(
    autojump_clock: MockClock, log: list[Any], foreign: BaseException
) -> None:
    mixed = BaseExceptionGroup("mixed", [ValueError("bad"), BaseExceptionGroup("inner", [foreign, OSError("gone")])])
    service = Service(runs_for(1.0, mixed))
    other = Service(forever)
    supervisor = make(Child("reader", service, essential=True), Child("writer", other, essential=True))
    with pytest.RaisesGroup(type(foreign), flatten_subgroups=True):
        await supervisor.run()
    assert len(service.calls) == len(other.ends) == 1
    assert [(line["event"], line["error"]) for line in log] == [
        ("service failed while it was stopped", "ValueError: bad; OSError: gone")
    ]


async def test_a_bare_exit_goes_up(autojump_clock: MockClock, log: list[Any]) -> None:
    with pytest.RaisesGroup(SystemExit, flatten_subgroups=True):
        await make(Child("reader", Service(runs_for(1.0, SystemExit(3))), essential=False)).run()
    assert log == []


# Start-up


async def test_a_child_that_hangs_in_its_start_is_rebuilt_after_the_deadline(autojump_clock: MockClock) -> None:
    service = Service(never_starts, forever)
    async with running(supervisor := make(Child("reader", service, essential=True))):
        begin = trio.current_time()
        await trio.sleep(20)
        assert [call - begin for call in service.calls] == pytest.approx([0.0, 15.05])
        assert only(supervisor).last_failure == "did not start within 15 s"
        assert only(supervisor).state is ChildState.RUNNING


async def test_what_a_child_raises_when_its_start_is_cut_off_is_told_too(autojump_clock: MockClock) -> None:
    service = Service(raises_when_cancelled(OSError("busy"), started=False), forever)
    async with running(supervisor := make(Child("reader", service, essential=True))):
        await trio.sleep(20)
        assert only(supervisor).last_failure == "did not start within 15 s; OSError: busy"


async def test_a_child_may_have_a_deadline_of_its_own(autojump_clock: MockClock) -> None:
    supervisor = make(
        Child("writer", Service(starts_after(1000)), essential=True, start_deadline=inf),
        Child("reader", Service(never_starts), essential=False, start_deadline=2.0),
    )
    async with running(supervisor):
        await trio.sleep(2.01)
        writer, reader = supervisor.statistics().children
        assert (writer.state, reader.state) == (ChildState.STARTING, ChildState.WAITING)
        await trio.sleep(999)
        assert supervisor.statistics().children[0].state is ChildState.RUNNING
        assert supervisor.statistics().children[0].restarts == 0


async def test_the_deadline_ends_with_the_start(autojump_clock: MockClock) -> None:
    service = Service(runs_for(16.0, LinkSourceError("closed")), forever)
    async with running(supervisor := make(Child("reader", service, essential=True))):
        await trio.sleep(20)
        assert only(supervisor).last_failure == "closed"


# cancel_child


async def test_cancel_child_ends_the_incarnation_and_it_is_rebuilt(autojump_clock: MockClock) -> None:
    reader, writer = Service(forever), Service(forever)
    supervisor = make(Child("reader", reader, essential=True), Child("writer", writer, essential=True))
    async with running(supervisor):
        await trio.sleep(1)
        assert supervisor.cancel_child("reader", "stalled for 10 s")
        assert supervisor.cancel_child("reader", "chaos")
        await trio.sleep(1)
        assert reader.calls[1] - reader.ends[0] == pytest.approx(0.05)
        assert (len(reader.calls), len(writer.calls)) == (2, 1)
        assert supervisor.statistics().children[0].last_failure == "stalled for 10 s"
        # The next one has its own reason.
        assert supervisor.cancel_child("reader", "chaos")
        await trio.sleep(1)
        assert supervisor.statistics().children[0].last_failure == "chaos"


async def test_cancel_child_in_its_start(autojump_clock: MockClock) -> None:
    service = Service(never_starts, forever)
    async with running(supervisor := make(Child("reader", service, essential=True))):
        assert supervisor.cancel_child("reader", "chaos")
        await trio.sleep(1)
        assert len(service.calls) == 2
        assert only(supervisor).last_failure == "chaos"


async def test_cancel_child_has_nothing_to_end_while_it_waits(autojump_clock: MockClock) -> None:
    service = Service(runs_for(1.0), forever)
    supervisor = make(Child("reader", service, essential=True))
    assert not supervisor.cancel_child("reader", "too early")
    async with running(supervisor):
        await trio.sleep(1.02)
        assert not supervisor.cancel_child("reader", "chaos")
        await trio.sleep(1)
        assert len(service.calls) == 2
        assert only(supervisor).last_failure == "returned although it should run for ever"
    assert not supervisor.cancel_child("reader", "too late")


async def test_cancel_child_of_one_that_turns_it_into_something_else(autojump_clock: MockClock) -> None:
    service = Service(raises_when_cancelled(OSError("close failed")), forever)
    async with running(supervisor := make(Child("reader", service, essential=True))):
        supervisor.cancel_child("reader", "stalled")
        await trio.sleep(1)
        assert len(service.calls) == 2
        assert only(supervisor).last_failure == "stalled; OSError: close failed"


async def test_cancel_child_uses_the_budget(autojump_clock: MockClock) -> None:
    supervisor = make(Child("reader", Service(forever), essential=True))

    async def cancel_again_and_again() -> None:
        while True:
            supervisor.cancel_child("reader", "stalled")
            await trio.sleep(1)

    with pytest.RaisesGroup(BudgetExhaustedError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(supervisor.run)
            nursery.start_soon(cancel_again_and_again)


def test_cancel_child_of_an_unknown_name() -> None:
    with pytest.raises(KeyError):
        make().cancel_child("nobody", "chaos")


# What is told


async def test_statistics_through_a_life(autojump_clock: MockClock) -> None:
    service = Service(starts_after(1.0), forever)
    supervisor = make(Child("reader", service, essential=True))
    assert only(supervisor) == ChildStatistics(
        name="reader",
        essential=True,
        state=ChildState.STOPPED,
        since=0.0,
        restarts=0,
        last_failure=None,
        next_start=None,
        unhealthy=False,
    )
    async with running(supervisor):
        begin = service.calls[0]
        assert (only(supervisor).state, only(supervisor).since) == (ChildState.STARTING, begin)
        await trio.sleep(2)
        assert (only(supervisor).state, only(supervisor).since) == (ChildState.RUNNING, begin + 1.0)
        supervisor.cancel_child("reader", "stalled")
        await trio.testing.wait_all_tasks_blocked()
        waiting = only(supervisor)
        assert (waiting.state, waiting.since, waiting.restarts) == (ChildState.WAITING, begin + 2.0, 0)
        assert waiting.next_start == pytest.approx(begin + 2.05)
        await trio.sleep(1)
        again = only(supervisor)
        assert (again.state, again.restarts, again.last_failure) == (ChildState.RUNNING, 1, "stalled")
        assert again.next_start is None
    assert only(supervisor).state is ChildState.STOPPED
    assert only(supervisor).restarts == 1


async def test_a_failure_is_told_once_with_what_follows_and_so_is_the_recovery(
    autojump_clock: MockClock, log: list[Any]
) -> None:
    error = ValueError("bad frame")
    async with running(make(Child("reader", Service(runs_for(1.0, error), forever), essential=True))):
        await trio.sleep(1000)
    failed, recovered = log
    cause = failed.pop("exc_info")
    assert failed == {
        "log_level": "warning",
        "event": "service failed",
        "service": "reader",
        "error": "ValueError: bad frame",
        "follows": "starts again in 0.05 s",
    }
    assert cause.subgroup(lambda inner: inner is error)
    assert recovered == {"log_level": "info", "event": "service runs again", "service": "reader", "restarts": 1}


async def test_the_end_of_the_daemon_is_told(autojump_clock: MockClock, log: list[Any]) -> None:
    with pytest.RaisesGroup(NoPermissionError):
        await make(Child("reader", Service(runs_for(0.0, NoPermissionError("refused"))), essential=True)).run()
    assert [(line["log_level"], line["error"], line["follows"]) for line in log] == [
        ("error", "refused", "the daemon ends")
    ]


async def test_an_error_without_a_text_is_called_by_its_type(autojump_clock: MockClock) -> None:
    async with running(
        supervisor := make(Child("reader", Service(runs_for(0.0, ValueError()), forever), essential=True))
    ):
        await trio.sleep(1)
        assert only(supervisor).last_failure == "ValueError"
