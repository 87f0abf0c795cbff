"""A life of the Debian package on a machine with systemd: installed, started, upgraded, removed, purged."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

import portsyncd
from portsyncd.testing.netns import NetworkNamespace
from portsyncd.testing.orchagent import Orchagent
from portsyncd.testing.wait import until
from portsyncd.wire import schema
from tests.e2e.systemd.guest import Guest, missing
from tests.e2e.systemd.switch import REDIS_UNIT, SOCKET, UNIT, database_config
from tests.packaging.debian import PREFIX, package

pytestmark = pytest.mark.root

PACKAGE = "/root/portsyncd.deb"
CERTIFICATES = "/etc/portsyncd/metrics"


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    """A machine with Redis, and with a package file that is not installed yet."""
    if lacking := missing():
        pytest.fail(f"this test boots a systemd and needs {', '.join(lacking)}", pytrace=False)
    with NetworkNamespace() as namespace:
        guest = Guest(tmp_path / "guest", namespace)
        for path, content, mode in (
            ("etc/systemd/system/redis.service", REDIS_UNIT, 0o644),
            ("usr/lib/sysusers.d/redis.conf", "u redis -\n", 0o644),
            # This machine may forbid its packages to start services; a switch does not.
            ("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n", 0o755),
        ):
            file = guest.files / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            file.chmod(mode)
        with guest:
            guest.write(PACKAGE, package().read_bytes())
            guest.systemctl("start", "redis")
            guest.write("/run/redis/sonic-db/database_config.json", database_config(SOCKET))
            yield guest


@pytest.fixture
def orchagent(guest: Guest) -> Iterator[Orchagent]:
    """Who takes what the daemon writes for it. CONFIG_DB has no port."""
    path = str(guest.root / SOCKET.lstrip("/"))
    with redis.Redis(unix_socket_path=path, db=schema.DEFAULT_NUMBERS[schema.CONFIG_DB]) as config_db:
        config_db.set(schema.CONFIG_DB_INITIALIZED, "1")
    with redis.Redis(unix_socket_path=path, db=0, decode_responses=True) as client:
        orchagent = Orchagent(client)
        orchagent.start()
        yield orchagent
        orchagent.stop()


def dpkg(guest: Guest, *arguments: str) -> None:
    guest.run("dpkg", "--force-unsafe-io", *arguments)


def ours(guest: Guest) -> set[str]:
    """What the machine has that is named after the daemon, the package's file and its database entry apart."""
    found = guest.run(
        *("find", "/etc", "/opt", "/run", "/usr", "/var", "-xdev"),
        *("-path", "/var/lib/dpkg", "-prune", "-o", "-name", "*portsyncd*", "-print"),
    ).stdout
    return set(found.splitlines())


def test_a_life(guest: Guest, orchagent: Orchagent) -> None:
    before = ours(guest)

    dpkg(guest, "--install", PACKAGE)
    assert guest.run("stat", "--format=%U:%G %a", CERTIFICATES).stdout == "root:portsyncd 750\n"
    assert "redis" in guest.run("id", "--name", "--groups", "portsyncd").stdout.split()
    # It has no certificates, and the C++ daemon may be running.
    assert guest.show(UNIT, "ActiveState", "UnitFileState") == {"ActiveState": "inactive", "UnitFileState": "disabled"}

    guest.run("portsyncd", "certs", "make", "/root/certs")
    for name, mode in (("ca.crt", "0644"), ("server.crt", "0644"), ("server.key", "0640")):
        guest.run("install", "--group=portsyncd", f"--mode={mode}", f"/root/certs/{name}", CERTIFICATES)
    guest.systemctl("enable", "--now", UNIT)
    first = guest.show(UNIT, "ActiveState", "MainPID")
    assert first["ActiveState"] == "active"
    assert guest.run("cat", f"/proc/{first['MainPID']}/cmdline").stdout.startswith(f"{PREFIX}/bin/python3\0")

    dpkg(guest, "--install", PACKAGE)

    def restarted() -> bool:
        shown = guest.show(UNIT, "ActiveState", "MainPID")
        return shown["ActiveState"] == "active" and shown["MainPID"] not in ("0", first["MainPID"])

    until(restarted, what="it was restarted")
    second = guest.show(UNIT, "MainPID", "UnitFileState")
    assert second["UnitFileState"] == "enabled"
    # Warm: with the file of the one before, and with its socket.
    said = [str(record["MESSAGE"]).partition(" source=")[0] for record in guest.journal(UNIT)]
    assert said.count("portsyncd starts version=" + portsyncd.__version__) == 2
    assert said.count("restored the state of the ports") == 1
    assert said.count("read what happened while no process listened events=0 lost=False") == 1
    orchagent.check()

    # Nobody waits for a start that waits for Redis.
    orchagent.stop()
    guest.systemctl("stop", "redis")
    dpkg(guest, "--install", PACKAGE)
    until(lambda: guest.show(UNIT, "ActiveState")["ActiveState"] == "activating", what="it waits for Redis")
    third = guest.show(UNIT, "MainPID")["MainPID"]
    assert third not in ("0", second["MainPID"])

    dpkg(guest, "--remove", "portsyncd")
    assert guest.show(UNIT, "ActiveState", "LoadState") == {"ActiveState": "inactive", "LoadState": "not-found"}
    assert not (guest.root / f"proc/{third}").exists()
    assert (guest.root / "var/lib/sonic/portsyncd").exists()

    dpkg(guest, "--purge", "portsyncd")
    # Certificates are the operator's; and no one else shall get the user's number.
    assert ours(guest) - before == {"/etc/portsyncd"}
    guest.run("id", "portsyncd")
    assert (guest.root / CERTIFICATES.lstrip("/") / "server.key").exists()
    assert not (guest.root / PREFIX.lstrip("/")).exists()
