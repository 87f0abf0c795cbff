"""What the gate tells the operator of those whom it does not let in."""

import ssl

from structlog.testing import capture_logs
from trio.testing import MockClock

from portsyncd.tls.failures import Reason, failure
from portsyncd.web.gate import Gate
from portsyncd.web.limits import Limits


def gate() -> Gate:
    return Gate(lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), (), Limits())


async def test_a_client_is_told_of_once_a_minute_for_each_reason(autojump_clock: MockClock) -> None:
    subject = gate()
    with capture_logs() as said:
        for client in ("::1", "::2", "::1"):
            subject._refuse(client, failure(Reason.NO_CERTIFICATE))
            subject._refuse(client, failure(Reason.EXPIRED))
    assert [line["client"] for line in said if line["log_level"] == "warning"] == ["::1", "::1", "::2", "::2"]
    assert subject.failed["no_certificate"] == 3


async def test_who_was_told_of_is_remembered_within_bounds(autojump_clock: MockClock) -> None:
    subject = gate()
    for number in range(1000):
        subject._refuse(f"2001:db8::{number:x}", failure(Reason.NOT_TLS))
    assert len(subject._told_at) == 64
    assert subject.failed["not_tls"] == 1000
