"""The ladder of memory: which step follows, and that none comes too early, too often, or without a reason."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from portsyncd.model.memory import (
    CALM,
    GRACE_SECONDS,
    LEAVE_SECONDS,
    NOISE_BYTES,
    TRIM_SECONDS,
    Ladder,
    Level,
    Limits,
    Reading,
    step,
)

MB = 1 << 20
LIMITS = Limits(512 * MB, 16.0 * MB)
FINE, TRIMMED, HIGH, LEAVE = Level


@dataclass
class Climb:
    """Looks every 2 s. levels: (moment, level) of each change; trims: when memory had to be given back."""

    may_trim: bool = True
    may_leave: bool = True
    ladder: Ladder = field(default_factory=Ladder)
    now: float = 1000.0
    levels: list[tuple[float, Level]] = field(default_factory=list)
    trims: list[float] = field(default_factory=list)

    def see(self, reading: Reading, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            before = self.ladder.level
            self.ladder, trims = step(
                self.ladder, reading, LIMITS, self.now, may_trim=self.may_trim, may_leave=self.may_leave
            )
            if trims:
                self.trims.append(self.now - 1000)
            if self.ladder.level is not before:
                self.levels.append((self.now - 1000, self.ladder.level))
            self.now += 2


def resident(megabytes: float) -> Reading:
    return Reading(round(megabytes * MB))


def growing(growth: float, rise: float) -> Reading:
    return Reading(round((100 + rise) * MB), growth * MB, 100.0 * MB)


def test_what_is_within_the_limits_is_fine() -> None:
    climb = Climb()
    climb.see(resident(512), 100_000)
    climb.see(Reading(512 * MB, None), 1000)
    climb.see(growing(16, 200), 1000)
    assert (climb.levels, climb.trims, climb.ladder.reason) == ([], [], "")


def test_beyond_the_limit_each_step_has_its_time() -> None:
    climb = Climb()
    climb.see(resident(513), 1000)
    assert climb.levels == [(0, TRIMMED), (GRACE_SECONDS, HIGH), (GRACE_SECONDS + LEAVE_SECONDS, LEAVE)]
    assert climb.trims == [0, TRIM_SECONDS]
    assert climb.ladder.reason == "513.0 MB are resident, self_healing.memory_limit_mb is 512"


def test_who_leaves_leaves() -> None:
    climb = Climb()
    climb.see(resident(513), 400)
    climb.see(resident(10), 400)
    assert climb.ladder.level is LEAVE
    assert climb.levels[-1] == (360, LEAVE)


def test_without_leave_to_leave_it_stays_high_and_is_trimmed_again_and_again() -> None:
    climb = Climb(may_leave=False)
    climb.see(resident(600), 3600)
    assert climb.levels == [(0, TRIMMED), (60, HIGH)]
    assert climb.trims == [n * TRIM_SECONDS for n in range(12)]


def test_where_nothing_may_be_done_it_is_reported() -> None:
    climb = Climb(may_trim=False)
    climb.see(resident(600), 3600)
    climb.see(resident(400), 10)
    assert climb.levels == [(0, HIGH), (3600, FINE)]
    assert climb.trims == []


def test_a_trim_that_helps_ends_it() -> None:
    climb = Climb()
    climb.see(resident(600), 2)
    climb.see(resident(300), 3600)
    assert climb.levels == [(0, TRIMMED), (2, FINE)]
    assert climb.trims == [0]


def test_what_comes_back_soon_is_not_trimmed_again_at_once() -> None:
    climb = Climb()
    climb.see(resident(600), 2)
    climb.see(resident(300), 100)
    climb.see(resident(600), 258)
    assert climb.levels == [(0, TRIMMED), (2, FINE), (102, TRIMMED), (162, HIGH)]
    assert climb.trims == [0, 300]


def test_around_the_limit_it_does_not_come_and_go() -> None:
    climb = Climb()
    climb.see(resident(513), 2)
    for _ in range(500):
        climb.see(resident(513), 2)
        climb.see(resident(512 * CALM + 1), 2)
    assert [level for _, level in climb.levels] == [TRIMMED, HIGH]
    climb.see(resident(512 * CALM - 1), 2)
    assert climb.ladder.level is FINE


def test_just_below_the_limit_nobody_leaves() -> None:
    climb = Climb()
    climb.see(resident(513), 200)
    climb.see(resident(500), 36_000)
    assert climb.ladder.level is HIGH
    # The time above it begins anew.
    climb.see(resident(513), LEAVE_SECONDS)
    assert climb.ladder.level is HIGH
    climb.see(resident(513), 2)
    assert climb.ladder.level is LEAVE


def test_growth_counts_where_it_is_seen_in_memory_and_never_ends_the_process() -> None:
    climb = Climb()
    climb.see(growing(100, 3.9), 1000)
    assert climb.levels == []
    climb.see(growing(100, 4.1), 36_000)
    assert [level for _, level in climb.levels] == [TRIMMED, HIGH]
    assert climb.ladder.reason == (
        "104.1 MB are resident, 100.0 MB more every hour, self_healing.memory_growth_mb_per_hour is 16"
    )
    assert len(climb.trims) == 120
    # As much as it was at the window's begin: given back.
    climb.see(growing(100, 0), 2)
    assert climb.ladder.level is FINE


def test_growth_has_its_calm_too() -> None:
    climb = Climb()
    climb.see(growing(16.1, 10), 2)
    climb.see(growing(15, 10), 1000)
    assert climb.ladder.level is HIGH
    climb.see(growing(16 * CALM - 0.1, 10), 2)
    assert climb.ladder.level is FINE
    climb.see(growing(100, 4.1), 2)
    climb.see(growing(100, 3.8), 2)
    assert climb.ladder.level is TRIMMED
    climb.see(growing(100, 4 * CALM - 0.1), 2)
    assert climb.ladder.level is FINE


_readings = st.builds(
    Reading,
    st.sampled_from([0.0, 0.5, 0.95, 1.0, 1.01, 3.0]).map(lambda share: round(share * LIMITS.resident)),
    st.none() | st.sampled_from([-50.0, 0.0, 15.0, 17.0, 400.0]).map(lambda each: each * MB),
    st.sampled_from([0.0, 0.5, 1.0]).map(lambda share: share * LIMITS.resident),
)


@given(
    st.lists(st.tuples(_readings, st.sampled_from([0.0, 2.0, 59.0, 60.0, 299.0, 300.0, 4000.0])), max_size=40),
    st.booleans(),
    st.booleans(),
)
def test_whatever_is_seen_every_step_has_a_reason_and_its_time(
    looks: list[tuple[Reading, float]], may_trim: bool, may_leave: bool
) -> None:
    ladder, now, trimmed_at = Ladder(), 0.0, None
    entered = {FINE: 0.0}
    over = 0.0
    for reading, pause in looks:
        now += pause
        before = ladder
        ladder, trims = step(before, reading, LIMITS, now, may_trim=may_trim, may_leave=may_leave)
        if reading.resident <= LIMITS.resident:
            over = now
        if ladder.level is not before.level:
            assert before.level is not LEAVE
            allowed = {
                FINE: {TRIMMED} if may_trim else {HIGH},
                TRIMMED: {FINE, HIGH},
                HIGH: {FINE, LEAVE},
            }
            assert ladder.level in allowed[before.level]
            entered[ladder.level] = now
        assert ladder.since == entered.get(ladder.level) or ladder == Ladder()
        assert bool(ladder.reason) is (ladder.level is not FINE)
        if ladder.level is FINE:
            assert reading.resident <= LIMITS.resident
            assert (reading.growth or 0.0) <= LIMITS.growth or reading.resident <= reading.base + NOISE_BYTES
        if trims:
            assert may_trim
            assert trimmed_at is None or now - trimmed_at >= TRIM_SECONDS
            assert ladder.level in (TRIMMED, HIGH)
            trimmed_at = now
        if ladder.level is LEAVE and before.level is HIGH:
            assert may_trim
            assert may_leave
            assert now - over >= LEAVE_SECONDS
            assert now - entered[HIGH] >= LEAVE_SECONDS
