"""The metrics endpoint: certificates, who is turned away, how scrapes go, what runs where."""

from typing import Final

from ops.grafana import panels
from ops.grafana.page import page
from ops.grafana.panels import Column
from ops.grafana.query import Scope, ask, now

_DAY: Final = 86400

CERTIFICATES: Final = [
    panels.bars(
        "Certificates expire in",
        "server: the first of the endpoint's own chain. ca: the last of the CAs of its clients. Afterwards no scrape works and "
        "nobody sees that switch; the port sync itself goes on. New files are taken over without a restart.",
        now("portsyncd_tls_certificate_expiry_timestamp_seconds{<target>} - time()", "{{role}} of {{instance}}"),
        unit="s",
        width=12,
        steps=((None, "red"), (3 * _DAY, "orange"), (14 * _DAY, "green")),
        alerts=["PortsyncdCertificateExpiresIn14Days", "PortsyncdCertificateExpiresIn3Days"],
    ),
    panels.lines(
        "Reloads of certificates",
        "applied: new files are in use. refused: they are unusable, and the old ones stay in use until they expire; the log "
        "names every problem.",
        ask("sum by (result) (increase(portsyncd_tls_reloads_total{<target>}[$__rate_interval]))", "{{result}}"),
        bars=True,
        width=6,
    ),
    panels.lines(
        "Handshakes that failed",
        "Connections that were turned away, by reason. Expected from scanners; from your own Prometheus it means a wrong or "
        "expired certificate. The log has the client's subject.",
        ask(
            "sum by (reason) (increase(portsyncd_tls_handshake_failures_total{<target>}[$__rate_interval]))",
            "{{reason}}",
        ),
        bars=True,
        width=6,
    ),
]

SCRAPES: Final = [
    panels.lines(
        "Answers",
        "1 while scrapes work. Prometheus' page of targets shows why one does not.",
        ask("up{<target>}", "{{instance}}"),
        maximum=1,
        alerts=["PortsyncdTargetDown"],
    ),
    panels.lines(
        "Duration of a scrape",
        "As Prometheus saw it, with the network and TLS. It has to stay well below scrape_timeout.",
        ask("scrape_duration_seconds{<target>}", "{{instance}}"),
        unit="s",
    ),
    panels.lines(
        "Samples of a scrape",
        "Grows with the number of ports.",
        ask("scrape_samples_scraped{<target>}", "{{instance}}"),
    ),
    panels.lines(
        "Open files",
        "Share of the limit that is in use. It stays where it is after the start; if it grows, connections are not given back.",
        ask("process_open_fds{<target>} / process_max_fds{<target>}", "{{instance}}"),
        unit="percentunit",
        steps=((None, "green"), (0.8, "red")),
    ),
]

VERSIONS: Final = panels.rows(
    "Versions",
    "How many switches run which version, on which Python, and with which TLS profile in force (docs/tls.md).",
    Column("Switches", "count by (version, python, tls_profile) (portsyncd_build_info{<target>})"),
    height=7,
)

PAGE: Final = page(
    "portsyncd-endpoint",
    "portsyncd: TLS and scrapes",
    "The metrics endpoint: certificates, who is turned away, how scrapes go, what runs where.",
    Scope.MANY,
    [("Certificates and handshakes", CERTIFICATES), ("Scrapes", SCRAPES), ("Versions", [VERSIONS])],
)
