"""The rules of ``model.restart``, one by one, and what holds for every history of failures."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.restart import Decision, Failure, GiveUp, History, PassOn, Restart, RestartPolicy, decide

POLICY = RestartPolicy(first_delay=0.1, factor=2.0, delay_cap=5.0, budget=3, window=60.0, healthy_after=30.0)
CRASH = Failure("it broke")
MOST = 0.999999  # the largest jitter that a test needs


def after(
    failure: Failure = CRASH,
    history: History | None = None,
    *,
    now: float = 1000.0,
    jitter: float = MOST,
    policy: RestartPolicy = POLICY,
    essential: bool = True,
    exit_to_restart: bool = True,
) -> Decision:
    return decide(
        policy, history or History(), failure, now, jitter, essential=essential, exit_to_restart=exit_to_restart
    )


def restart_after(failure: Failure = CRASH, history: History | None = None, **situation: object) -> Restart:
    decision = after(failure, history, **situation)  # type: ignore[arg-type]
    assert isinstance(decision, Restart)
    return decision


def test_a_first_crash_is_rebuilt_within_a_second_by_the_default_policy() -> None:
    assert restart_after(policy=RestartPolicy(), jitter=MOST).after <= 0.1


def test_jitter_takes_the_whole_of_the_delay() -> None:
    assert restart_after(jitter=0.0).after == 0.0
    assert restart_after(jitter=0.5).after == pytest.approx(0.05)


def test_delays_double_up_to_the_cap() -> None:
    history, bounds = History(), []
    for number in range(9):
        # Far enough apart that the budget does not come into it.
        decision = restart_after(history=history, now=number * 60.0)
        history = decision.history
        bounds.append(history.bound)
    assert bounds == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0])


def test_a_healthy_run_begins_the_delays_anew() -> None:
    history = History(bound=5.0)
    assert restart_after(Failure("it broke", ran_for=29.9), history).history.bound == 5.0
    assert restart_after(Failure("it broke", ran_for=30.0), history).history.bound == 0.1


def test_a_failure_beyond_the_budget_gives_up_and_says_why() -> None:
    history = History(bound=0.4, restarts=(970.0, 980.0, 990.0))
    assert after(history=history) == GiveUp("failed 4 times within 60 s, the last time: it broke")


@pytest.mark.parametrize(("essential", "exit_to_restart"), [(True, False), (False, True), (False, False)])
def test_elsewhere_a_failure_beyond_the_budget_waits_for_the_whole_cap(essential: bool, exit_to_restart: bool) -> None:
    history = History(bound=0.4, restarts=(970.0, 980.0, 990.0))
    decision = restart_after(history=history, jitter=0.0, essential=essential, exit_to_restart=exit_to_restart)
    assert (decision.after, decision.spent) == (5.0, True)
    assert decision.history.restarts == (980.0, 990.0, 1000.0)


def test_the_last_restart_of_the_budget_is_still_granted() -> None:
    assert not restart_after(history=History(restarts=(980.0, 990.0))).spent


def test_the_budget_forgets_what_is_older_than_its_window() -> None:
    history = History(restarts=(940.0, 980.0, 990.0))
    assert after(history=history, now=999.9) == GiveUp("failed 4 times within 60 s, the last time: it broke")
    assert restart_after(history=history, now=1000.0).history.restarts == (980.0, 990.0, 1000.0)


def test_a_healthy_run_does_not_refill_the_budget() -> None:
    history = History(bound=0.4, restarts=(950.0, 955.0, 960.0))
    assert isinstance(after(Failure("it broke", ran_for=35.0), history), GiveUp)


@pytest.mark.parametrize("exit_to_restart", [True, False])
def test_an_essential_childs_permanent_failure_is_passed_on_at_once(exit_to_restart: bool) -> None:
    assert after(Failure("no permission", permanent=True), exit_to_restart=exit_to_restart) == PassOn()


def test_another_childs_permanent_failure_is_tried_again() -> None:
    assert isinstance(after(Failure("wrong certificate", permanent=True), essential=False), Restart)


def test_the_default_budget_is_used_up_by_a_service_that_hangs_in_every_start() -> None:
    policy, history, now = RestartPolicy(), History(), 0.0
    for _ in range(policy.budget):
        now += policy.start_deadline
        decision = restart_after(history=history, now=now, policy=policy)
        now, history = now + decision.after, decision.history
    assert isinstance(after(history=history, now=now + policy.start_deadline, policy=policy), GiveUp)


@pytest.mark.parametrize(
    "values",
    [
        {"first_delay": 0.0},
        {"first_delay": 6.0},
        {"delay_cap": float("inf")},
        {"factor": 0.5},
        {"budget": 0},
        {"window": 0.0},
        {"healthy_after": 0.0},
        {"start_deadline": 0.0},
    ],
)
def test_a_contradictory_policy_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="contradictory"):
        RestartPolicy(**values)  # type: ignore[arg-type]


def test_a_service_that_never_runs_overflows_nothing() -> None:
    history = History()
    for number in range(2000):  # 0.1 * 2.0**2000 is no float
        history = restart_after(history=history, now=float(number), exit_to_restart=False).history
    assert history == History(bound=5.0, restarts=(1997.0, 1998.0, 1999.0))


@st.composite
def policies(draw: st.DrawFn) -> RestartPolicy:
    first = draw(st.floats(0.001, 10))
    return RestartPolicy(
        first_delay=first,
        factor=draw(st.floats(1, 1e6)),
        delay_cap=first * draw(st.floats(1, 1000)),
        budget=draw(st.integers(1, 5)),
        window=draw(st.floats(0.1, 1000)),
        healthy_after=draw(st.floats(0.1, 100)),
    )


# Per failure: seconds since the last decision's restart, seconds up, jitter.
lives = st.lists(
    st.tuples(st.floats(0, 500), st.floats(0, 500), st.floats(0, 1, exclude_max=True)), min_size=1, max_size=40
)


@given(policies(), lives, st.booleans())
def test_of_every_life(policy: RestartPolicy, life: list[tuple[float, float, float]], essential: bool) -> None:
    now, history = 0.0, History()
    for starting, ran_for, jitter in life:
        now += starting + ran_for
        previous = history
        recent = [at for at in previous.restarts if now - at < policy.window]
        decision = after(
            Failure("it broke", ran_for=ran_for),
            previous,
            now=now,
            jitter=jitter,
            policy=policy,
            essential=essential,
        )
        spent = len(recent) == policy.budget
        if spent and essential:
            assert isinstance(decision, GiveUp)
            return
        assert isinstance(decision, Restart)
        history = decision.history
        assert decision.spent == spent
        assert 0 <= decision.after <= policy.delay_cap
        assert policy.first_delay <= history.bound <= policy.delay_cap
        if ran_for >= policy.healthy_after:
            assert history.bound == policy.first_delay
        else:
            assert history.bound >= previous.bound
        assert spent or decision.after <= history.bound
        assert history.restarts[-1] == now
        assert len(history.restarts) <= policy.budget
        assert all(earlier <= later for earlier, later in pairwise(history.restarts))
        now += decision.after
