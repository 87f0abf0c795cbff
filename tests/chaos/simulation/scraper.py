"""The metrics endpoint of the simulation: its operator, a Prometheus, and the rules that hold between them and the daemon."""

import json
import math
import re
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import trio
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families as text_families

from portsyncd.daemon import Daemon
from portsyncd.errors import ConfigError
from portsyncd.model.health import EXPIRY_SECONDS
from portsyncd.rules import Listen
from portsyncd.services.supervisor import ChildState, ChildStatistics
from portsyncd.testing.fake_client import Answer, FakeClient, UnansweredError, client_context
from portsyncd.testing.fake_host import FakeHost
from portsyncd.tls.authority import Authority
from portsyncd.tls.files import Material
from portsyncd.web.host import Listener
from portsyncd.web.limits import Limits

if TYPE_CHECKING:
    from tests.chaos.simulation.simulation import Simulation

# OpenSSL goes by this machine's clock where it looks at a client's certificate; the switch's own clock is another one.
_BEGIN, _END = (datetime(year, 1, 1, tzinfo=UTC).timestamp() for year in (2020, 2099))
DAY: Final = 86400.0
# A short one: the clock on the wall steps over its begin or its end now and then.
BEFORE, AFTER = 2 * DAY, 20 * DAY
# No virtual time passes where something is computed, so whoever is let in is answered at once. Only who came while nobody was
# accepted waits, for half a second.
DEADLINE_SECONDS: Final = 1.0
# A part of the scrapes is read by prometheus-client's own parsers, which take long.
_PARSED: Final = 0.05
_SAMPLE = re.compile(r'[a-z_]+(\{[a-z_]+="[^"\n]*"(,[a-z_]+="[^"\n]*")*\})? [^ \n]+')
_REFUSED = re.compile(r"TLS handshake refused reason=(\S+) client=(\S+)")
TOLD_AGAIN_SECONDS: Final = 60.0
_LIMITS = Limits()
# A handshake, a farewell, and a moment.
_ADMITTED_SECONDS = _LIMITS.handshake_seconds + _LIMITS.close_seconds + 0.5
_HEARD_SECONDS = max(_LIMITS.idle_seconds, _LIMITS.request_seconds + _LIMITS.send_seconds) + _LIMITS.close_seconds + 0.5
# Of one connection: its own, what Hypercorn and the app have for it, and a request's.
_TASKS_A_CONNECTION = 4
# What the endpoint has besides, with the scraper's.
_TASKS = 8


@dataclass(frozen=True)
class Kit:
    """Two CAs; for each, the TLS context of a client that it signed."""

    authorities: tuple[Authority, ...]
    clients: tuple[ssl.SSLContext, ...]
    # Whom no CA vouches for: without a certificate, and with one that it signed itself.
    strangers: tuple[ssl.SSLContext, ...]


@cache
def kit() -> Kit:
    """Made once in a process: nothing of it enters a trace."""
    begin, end = _moment(_BEGIN), _moment(_END)
    made = [Authority.make(common_name=f"CA {number}", not_before=begin, not_after=end) for number in (1, 2)]
    trusted = b"".join(authority.cert_pem for authority in made)
    own = [authority.issue_client("prometheus", not_before=begin, not_after=end) for authority in made]
    forged = made[0].issue_client("prometheus", not_before=begin, not_after=end, self_signed=True)
    return Kit(
        tuple(made),
        tuple(client_context(trusted, each) for each in own),
        (client_context(trusted), client_context(trusted, forged)),
    )


def _moment(unix: float) -> datetime:
    return datetime.fromtimestamp(unix, UTC)


class Endpoint:
    """See the module's docstring. What faults use is public.

    ca: which of the two CAs the operator put into its file. damaged: the files are no good set.
    """

    def __init__(self, sim: "Simulation") -> None:
        self._sim = sim
        self.enabled = sim.setting.config.metrics.enabled
        self.host: FakeHost = sim.world.host
        self.ca = 0
        self.damaged = False
        # Of the server's certificate in its file: what it is, and from when to when it is good, in Unix seconds.
        self._certificate = b""
        self._begin = self._end = 0.0
        # Lives of the service that ended before they began, since the dates are wrong.
        self._kept_closed = 0
        # The counters of the last scrape of this process.
        self._counters: dict[str, float] = {}
        # When which failure of which client was told last by this process.
        self._told_at: dict[tuple[str, ...], float] = {}
        # Prometheus' connection, and the CA that signed the certificate which it was made with.
        self._kept: tuple[int, FakeClient] | None = None

    # ---- the operator

    def install(self, begin: float = _BEGIN, end: float = _END, *, ca: int | None = None) -> None:
        """A good set of this time, in Unix seconds."""
        self.ca = self.ca if ca is None else ca
        self._begin, self._end = begin, end
        authority = kit().authorities[self.ca]
        issued = authority.issue_server(not_before=_moment(begin), not_after=_moment(end))
        self._certificate, self.damaged = issued.cert_pem, False
        self.host.put(dict(zip(self.paths, (issued.cert_pem, issued.key_pem, authority.cert_pem), strict=True)))

    def install_some(self, *, ca: int | None = None) -> None:
        """One that is good now, and perhaps not for ever."""
        now = self._sim.world.unix()
        begin, end = (now - BEFORE, now + AFTER) if self._sim.chance.random() < 0.5 else (_BEGIN, _END)
        self.install(begin, end, ca=ca)

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        """Of the server's certificate, its key, and the CA."""
        metrics = self._sim.setting.config.metrics
        return Path(metrics.cert), Path(metrics.key), Path(metrics.ca)

    def begin_process(self) -> None:
        """What a process reads before anything else. Where it would end at once, the operator looks into it first."""
        if not self.enabled:
            return
        world = self._sim.world
        if not self._certificate:
            self.install_some()
        try:
            world.read_credentials()
        except ConfigError as error:
            self._sim.trace.say(f"daemon: would not start: {len(error.problems)} problems with certificates")
            self.install_some()
            world.read_credentials()
        self.host.refused = self.host.breaks = self._kept_closed = 0
        self._counters.clear()
        self._told_at.clear()

    def watch(self, daemon: Daemon) -> None:
        """Look over the dates: the endpoint opens if and only if they are right, by the switch's own clock."""
        if daemon.services.web is None:
            return
        credentials = daemon.services.web.credentials
        date_problems, real = credentials.date_problems, type(self.host).listen

        def watched_dates() -> list[str]:
            problems = date_problems()
            self._kept_closed += bool(problems)
            self._require(bool(problems) == self._is_out_of_date(credentials.material), f"dates: {problems}")
            return problems

        def watched_listen(listen: Listen) -> tuple[Listener, str]:
            self._require(not self._is_out_of_date(credentials.material), "it opened with certificates out of date")
            return real(self.host, listen)

        credentials.date_problems = watched_dates  # type: ignore[method-assign]
        self.host.listen = watched_listen  # type: ignore[method-assign]

    def _is_out_of_date(self, material: Material) -> bool:
        """Of the server's certificate alone: the CAs hold for ever."""
        now = self._sim.world.unix()
        return any(not each.not_before.timestamp() <= now < each.not_after.timestamp() for each in material.server)

    def mend(self) -> None:
        """The faults are over."""
        self.host.taken, self.host.accept_error = False, 0
        good = self._begin <= self._sim.world.unix() < self._end - EXPIRY_SECONDS
        if self.enabled and (self.damaged or not good):
            self.install_some()

    # ---- Prometheus

    async def run(self) -> None:
        """For ever."""
        setting, chance = self._sim.setting, self._sim.chance
        while self.enabled:
            await trio.sleep(setting.scrape_seconds)
            await self.scrape("/metrics" if chance.random() < 0.9 else "/health", keep=setting.keeps_connection)

    async def scrape(self, path: str, *, keep: bool, at_rest: bool = False) -> None:
        """One, which is answered if the service runs from its begin to its end. keep: over the kept connection. at_rest: it
        must run."""
        daemon = self._sim.daemon
        if daemon is None or daemon.services.web is None:
            return
        state, said = self._undisturbed(daemon), _SAID[path]
        before = said(daemon)
        client, problem, answer = self._client(daemon, keep=keep), "", None
        openmetrics, packed = self._sim.chance.random() < 0.3, self._sim.chance.random() < 0.3
        with trio.move_on_after(DEADLINE_SECONDS) as scope:
            try:
                answer = await client.get(
                    path,
                    accept="application/openmetrics-text" if openmetrics else "text/plain",
                    accept_encoding="gzip" if packed else "identity",
                )
            except UnansweredError as error:
                problem = str(error)
        if scope.cancelled_caught:
            problem = f"no answer within {DEADLINE_SECONDS:g} s"
        if not keep or problem:
            await client.aclose()
        if answer is None:
            self._sim.trace.say(f"scraper: {path}: {problem}")
            undisturbed = state is not None and state == self._undisturbed(daemon)
            self._require(not (undisturbed or at_rest), f"{path} was not answered: {problem}")
        else:
            self._sim.trace.say(f"scraper: {path}: {answer.status}, {len(answer.body)} bytes")
            if path == "/health":
                self._judge_health(answer, before, said(daemon), at_rest=at_rest)
            else:
                self._judge_metrics(answer, before, said(daemon), openmetrics=openmetrics)

    def _client(self, daemon: Daemon, *, keep: bool) -> FakeClient:
        """The operator sees to it that Prometheus has a certificate of the CA that is in force."""
        assert daemon.services.web is not None
        trusted = daemon.services.web.credentials.material.ca[0].der
        ca = next(
            number
            for number, each in enumerate(kit().authorities)
            if ssl.PEM_cert_to_DER_cert(each.cert_pem.decode()) == trusted
        )
        if not keep:
            return FakeClient(self.host, kit().clients[ca])
        if self._kept is None or self._kept[0] != ca:
            self._kept = (ca, FakeClient(self.host, kit().clients[ca]))
        return self._kept[1]

    def _undisturbed(self, daemon: Daemon) -> object:
        """The same before and after for a scrape that nothing disturbs; None where it cannot be answered."""
        sim = self._sim
        child = _child(daemon)
        if (
            sim.daemon is not daemon
            or sim.told_to_end
            or daemon._reason is not None
            or child.state is not ChildState.RUNNING
            or self.host.accept_error
            or self.host.is_broken
        ):
            return None
        thrown = {} if sim.crasher is None else sim.crasher.thrown
        assert daemon.services.web is not None
        return child.restarts, thrown.get("metrics", 0), self.host.starved, daemon.services.web.credentials.material.ca

    # ---- rules

    def _require(self, holds: bool, rule: str) -> None:
        if not holds:
            self._sim.book.violate(f"metrics endpoint: {rule}")

    def _judge_health(
        self, answer: Answer, before: Mapping[str, Any], after: Mapping[str, Any], *, at_rest: bool
    ) -> None:
        """It says what the observer says, of which a link may make something else for a moment, and back."""
        document = json.loads(answer.body)
        self._require(answer.status == (503 if document["status"] == "unhealthy" else 200), f"/health: {answer.status}")
        if at_rest and before == after:
            self._require(document == after, f"/health says {document}, the observer {after}")

    def _judge_metrics(
        self, answer: Answer, before: Mapping[str, float], after: Mapping[str, float], *, openmetrics: bool
    ) -> None:
        """It can be read, no counter falls, and they say what the services say."""
        text = answer.body.decode()
        self._require(answer.status == 200, f"/metrics: {answer.status}")
        self._require(answer.headers["content-type"].startswith(_TYPES[openmetrics]), str(answer.headers))
        self._require(text.endswith("\n# EOF\n" if openmetrics else "\n"), "a scrape is cut off")
        found: dict[str, float] = {}
        for line in text.splitlines():
            if not line.startswith("#"):
                self._require(_SAMPLE.fullmatch(line) is not None, f"no sample: {line}")
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        if self._sim.chance.random() < _PARSED:
            for _ in (openmetrics_families if openmetrics else text_families)(text):
                pass
        for name, least in before.items():
            most = after[name]
            self._require(
                least <= found.get(name, math.nan) <= most,
                f"{name} is {found.get(name)}, and was {least:g} to {most:g}",
            )
        counters = {name: value for name, value in found.items() if "_total" in name and 'port="' not in name}
        fallen = [name for name, value in self._counters.items() if counters.get(name, -1.0) < value]
        self._require(not fallen, f"these fell: {', '.join(fallen)}")
        self._counters = counters

    def heed(self, line: str) -> None:
        """A client's failures of one kind are told once a minute, however many there are."""
        if refused := _REFUSED.search(line):
            what, now = refused.groups(), trio.current_time()
            told_at, self._told_at[what] = self._told_at.get(what, -math.inf), now
            self._require(now - told_at >= TOLD_AGAIN_SECONDS, f"{' of '.join(what)} is told again")

    def unbounded(self, daemon: Daemon) -> list[str]:
        """Connections that should have ended; the tasks are ``rules.unbounded``'s affair."""
        if daemon.services.web is None:
            return []
        now, connections = trio.current_time(), daemon.services.web.statistics().connections
        admitted = sum(now - each.opened_at > _ADMITTED_SECONDS for each in self.host.accepted)
        silent = sum(now - each.heard_at > _HEARD_SECONDS for each in self.host.accepted)
        problems = []
        if admitted > connections:
            problems.append(f"metrics endpoint: {admitted} connections are old, {connections} were let in")
        if silent:
            problems.append(f"metrics endpoint: {silent} connections have long been silent")
        return problems

    def tasks(self, daemon: Daemon) -> int:
        """So many it may have."""
        if daemon.services.web is None:
            return 0
        facts = daemon.services.web.statistics()
        # One that is given up, or refused, ends in the same moment.
        return _TASKS + max(facts.handshakes, len(self.host.accepted)) + _TASKS_A_CONNECTION * facts.connections

    def restarts(self) -> tuple[int, int]:
        """How often the service ended at least, and at most, but for what was thrown: each time that the address could not be
        had, or the dates were wrong; and a listener that broke ends it, too, if nothing else did so at once."""
        least = self.host.refused + self._kept_closed
        return least, least + self.host.breaks

    def is_about_to_expire(self, daemon: Daemon) -> bool:
        """Whether health is degraded for its certificates."""
        expiries = {} if daemon.services.web is None else daemon.services.web.statistics().certificate_expiries
        return any(expiry - self._sim.world.unix() < EXPIRY_SECONDS for expiry in expiries.values())

    def closed(self, daemon: Daemon) -> list[str]:
        """Whether it is not open yet."""
        return (
            ["the metrics endpoint is closed"] if daemon.services.web is not None and self.host.listener is None else []
        )

    async def check_at_rest(self) -> None:
        """Nothing is wrong any more: it is open, with the certificates of the files, and answers."""
        daemon = self._sim.daemon
        if daemon is None or daemon.services.web is None:
            return
        in_force = daemon.services.web.credentials.material.server[0].der
        of_file = ssl.PEM_cert_to_DER_cert(self._certificate.decode())
        self._require(in_force == of_file, "the certificate in force is not the file's")
        for path in ("/metrics", "/health"):
            await self.scrape(path, keep=True, at_rest=True)

    def left(self) -> list[str]:
        """What a process that has ended still holds."""
        problems = ["somebody listens"] if self.host.listener is not None else []
        if self.host.accepted:
            problems.append(f"{len(self.host.accepted)} connections are open")
        return [f"metrics endpoint: {problem} although the daemon has ended" for problem in problems]


_TYPES = {False: "text/plain", True: "application/openmetrics-text"}


def _child(daemon: Daemon) -> ChildStatistics:
    return next(child for child in daemon.services.supervisor.statistics().children if child.name == "metrics")


def _counted(daemon: Daemon) -> dict[str, float]:
    """What the services have counted, by the names of their samples."""
    reader, writer, inbox = (
        daemon.services.reader.statistics(),
        daemon.services.writer.statistics(),
        daemon.services.inbox.statistics(),
    )
    assert daemon.services.web is not None
    counters: dict[str, float] = {
        "portsyncd_events_processed_total": writer.events_processed,
        "portsyncd_events_failed_total": reader.failed + writer.events_failed,
        "portsyncd_events_conflated_total": reader.folded + inbox.conflated,
        "portsyncd_netlink_overruns_total": reader.overruns,
    }
    for name, label, values in (
        (
            "service_restarts",
            "service",
            {each.name: each.restarts for each in daemon.services.supervisor.statistics().children},
        ),
        ("resyncs", "reason", reader.resyncs),
        ("tls_handshake_failures", "reason", daemon.services.web.statistics().handshake_failures),
    ):
        counters |= {f'portsyncd_{name}_total{{{label}="{key}"}}': value for key, value in values.items()}
    return counters


def _observed(daemon: Daemon) -> dict[str, Any]:
    """What the observer says of health, as JSON has it."""
    document: dict[str, Any] = json.loads(
        json.dumps(daemon.services.observer.document(daemon.services.observer.health()))
    )
    return document


_SAID: dict[str, Callable[[Daemon], dict[str, Any]]] = {"/metrics": _counted, "/health": _observed}
