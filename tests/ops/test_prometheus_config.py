"""ops/prometheus/prometheus.yml is a configuration that promtool accepts once the certificates are there."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from portsyncd.tls.authority import Authority
from tests.ops.rules import PROMETHEUS, RULES, promtool

CONFIG = PROMETHEUS / "prometheus.yml"
TEXT = CONFIG.read_text("utf-8")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Like /etc/prometheus with all that the configuration names."""
    shutil.copy(CONFIG, tmp_path)
    shutil.copy(RULES, tmp_path)
    authority = Authority.make()
    client = authority.issue_client("prometheus")
    (tmp_path / "portsyncd").mkdir()
    for name, content in {
        "ca.crt": authority.cert_pem,
        "prometheus.crt": client.cert_pem,
        "prometheus.key": client.key_pem,
    }.items():
        (tmp_path / "portsyncd" / name).write_bytes(content)
    return tmp_path


def test_it_is_accepted(folder: Path, require_program: Callable[[str], str]) -> None:
    said = promtool(require_program("promtool"), "check", "config", folder / "prometheus.yml")
    assert "1 rule files found" in said


# promtool does not look for the CA.
@pytest.mark.parametrize("name", ["prometheus.crt", "prometheus.key"])
def test_a_certificate_that_is_missing_is_noticed(
    folder: Path, require_program: Callable[[str], str], name: str
) -> None:
    (folder / "portsyncd" / name).unlink()
    with pytest.raises(AssertionError, match=name):
        promtool(require_program("promtool"), "check", "config", folder / "prometheus.yml")


@pytest.mark.parametrize(
    "line",
    [
        "job_name: portsyncd",
        "scrape_interval: 15s",
        "scheme: https",
        "server_name: localhost",
        "min_version: TLS13",
        '- targets: ["[::1]:9090"]',
    ],
)
def test_it_says(line: str) -> None:
    assert re.search(rf"^ +(- )?{re.escape(line)}$", TEXT, re.MULTILINE)


def test_nothing_weakens_it() -> None:
    settings = re.sub(r"#.*", "", TEXT)
    assert "insecure" not in settings
    assert "http:" not in settings
