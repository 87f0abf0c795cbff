"""Samples of a soak, as short as a test needs them."""

from bench.soak.run import Outcome, Plan
from bench.soak.samples import MB, Check, Sample

LATENCY = 'portsyncd_event_latency_seconds_bucket{le="%s"}'
PLAN = Plan(seconds=100, rate=1000, ports=8, seed=1, row=20, warm_up=20, fault_every=10, max_growth=2 * MB)


def sample(at: float, *, resident: float = 50.0, descriptors: int = 18, **metrics: float) -> Sample:
    """One at 1,000 changes and 100 ms of CPU a second; resident in MB; metrics by the end of their names."""
    named = {f"portsyncd_{name}": value for name, value in metrics.items()}
    return Sample(
        at,
        int(resident * MB),
        int(resident * MB),
        descriptors,
        4,
        at / 10,
        int(1000 * at),
        int(720 * at),
        at / 10,
        named,
    )


def outcome(samples: list[Sample] | None = None, checks: list[Check] | None = None) -> Outcome:
    """A soak that went well unless it is given something else."""
    made = Outcome(PLAN, {"kernel": "of a test"})
    made.samples = [sample(at) for at in range(1, 101)] if samples is None else samples
    made.checks = [Check(30.0, "SIGHUP", 0.1, 0), Check(60.0, "SIGHUP", 0.3, 0)] if checks is None else checks
    made.ended = 100.0
    return made
