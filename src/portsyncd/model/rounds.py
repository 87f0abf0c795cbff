"""When it is time again for what comes round."""


def next_round(now: float, interval: float) -> float:
    """The next moment that is a whole multiple of ``interval``; later than ``now``, by that at most. All of them seconds of one
    clock.

    Who does something at intervals does it then: one wake-up of the process serves all whose time has come, and it is the
    wake-ups that an idle process spends its time on.
    """
    moment = (now // interval + 1.0) * interval
    # The multiple itself is rounded, and may be the one that has just been.
    return moment if moment > now else moment + interval
