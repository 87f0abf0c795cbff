"""A switch whose Redis and portsyncd are services of a guest, as they are on a real one."""

import json
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from portsyncd.testing.certificates import Certificates
from portsyncd.testing.daemon_process import Config, to_toml
from portsyncd.testing.endpoint import Endpoint
from portsyncd.testing.redis_server import RedisServer
from portsyncd.testing.switch import DEADLINE_SECONDS, Switch
from portsyncd.testing.wait import until
from portsyncd.wire import schema
from tests.e2e.systemd.guest import Guest
from tests.e2e.systemd.installation import install

T = TypeVar("T")

UNIT: Final = "portsyncd.service"
REDIS: Final = "redis.service"
STATE: Final = "/var/lib/sonic/portsyncd"
RUN: Final = "/run/portsyncd"
CONFIGURATION: Final = "/etc/sonic/portsyncd.conf"
CERTIFICATES: Final = "/etc/portsyncd/metrics"
SOCKET: Final = "/run/redis/redis.sock"

# As in SONiC: on a socket of the group redis, with its list of databases beside it.
REDIS_UNIT: Final = f"""\
[Service]
Type=notify
User=redis
Group=redis
RuntimeDirectory=redis
RuntimeDirectoryPreserve=yes
ExecStart=redis-server --supervised systemd --port 0 --unixsocket {SOCKET} --unixsocketperm 770 --dir /run/redis \
  --save "" --appendonly no --notify-keyspace-events AKE
"""


def database_config(socket: str) -> str:
    """SONiC's list of databases, all of them behind one socket."""
    databases = {
        name: {"id": number, "separator": schema.DEFAULT_SEPARATORS[name], "instance": "redis"}
        for name, number in schema.DEFAULT_NUMBERS.items()
    }
    instance = {"hostname": "127.0.0.1", "port": 6379, "unix_socket_path": socket}
    return json.dumps({"INSTANCES": {"redis": instance}, "DATABASES": databases, "VERSION": "1.0"})


class RedisService(RedisServer):
    """redis.service of the guest. Its socket has a second name in ``folder``, so that it is known before the boot."""

    guest: Guest

    @property
    def running(self) -> bool:
        return self.guest.show(REDIS, "ActiveState")["ActiveState"] == "active"

    def start(self, *, wait: bool = True) -> None:  # noqa: ARG002 - Type=notify waits in any case
        """Start it and wait until it answers."""
        self.guest.systemctl("start", REDIS)

    def _end(self, number: signal.Signals) -> None:  # noqa: ARG002 - how it ends is the same to who is connected
        if self.running:
            self.guest.systemctl("stop", REDIS)


class ServiceSwitch(Switch):
    """See ``Switch``. Made once for many tests, since a boot takes a second: ``reset`` comes before each of them.

    ``daemon`` is not used; the service is ``guest``'s unit ``UNIT``.
    """

    def __init__(self, folder: Path) -> None:
        self._redis = RedisService(folder)
        super().__init__(folder, server=self._redis)
        self.guest = self._redis.guest = Guest(folder / "guest", self.namespace)
        self.certificates = Certificates(folder / "certificates")
        self._endpoint = Endpoint(self.certificates, namespace=self.namespace)
        self._cursor = ""
        install(self.guest.files)
        (self.guest.files / CONFIGURATION.lstrip("/")).parent.mkdir(exist_ok=True)
        for path, content in (
            (f"/etc/systemd/system/{REDIS}", REDIS_UNIT),
            # The package redis-server has made them, where redis-server comes from it.
            ("/usr/lib/sysusers.d/redis.conf", "u redis -\n"),
        ):
            file = self.guest.files / path.lstrip("/")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)

    def boot(self) -> None:
        """Boot the guest; nothing of the switch runs yet."""
        self.guest.boot()
        Path(self.redis.socket_path).symlink_to(self.guest.root / SOCKET.lstrip("/"))
        self.guest.write("/run/redis/sonic-db/database_config.json", database_config(SOCKET))
        self.put_certificates()

    def put_certificates(self) -> None:
        """Have the present server certificate, its key and the CA where the unit says."""
        group = next(
            int(line.split(":")[2])
            for line in (self.guest.root / "etc/group").read_text().splitlines()
            if line.startswith("portsyncd:")
        )
        for name, mode in (("server.crt", 0o644), ("server.key", 0o640), ("ca.crt", 0o644)):
            file = self.guest.write(f"{CERTIFICATES}/{name}.new", (self.certificates.folder / name).read_bytes())
            file.chmod(mode)
            os.chown(file, 0, group)
            file.rename(file.with_suffix(""))

    def reset(self) -> None:
        """No daemon has run yet, Redis is empty, there are no links, and the units are those of the tree."""
        self.orchagent.stop()
        self.guest.remove_drop_ins()
        self.guest.systemctl("stop", UNIT, REDIS)
        self.guest.systemctl("reset-failed")
        self.guest.run("rm", "-rf", "--", STATE, RUN, CONFIGURATION, "/run/redis/dump.rdb")
        for name in self.links.states():
            self.links.delete(name)
        self._sentinel_mtu = 0
        for client in (self.appl_db, self.config_db, self.state_db):
            client.connection_pool.disconnect()
        self._cursor = self.guest.cursor()
        self.put_certificates()
        self.redis.start()

    def configure(self, config: Config) -> None:
        """Write the configuration file."""
        self.guest.write(CONFIGURATION, to_toml(config))

    # ---- the service

    def start(self) -> None:
        """Start the service and orchagent, and wait for the daemon's first sync."""
        self.orchagent.start()
        self.guest.systemctl("start", UNIT, check=False)
        self.wait_shown(ActiveState="active", deadline_seconds=0)

    def show(self, *properties: str) -> dict[str, str]:
        """Properties of the service."""
        return self.guest.show(UNIT, *properties)

    @property
    def main_pid(self) -> int:
        """The daemon's process id in the guest; 0 where it does not run."""
        return int(self.show("MainPID")["MainPID"])

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to the daemon."""
        self.guest.systemctl("kill", "--kill-whom=main", f"--signal={number.name}", UNIT)

    def saved_ports(self) -> Mapping[str, Any]:
        """What the daemon has saved of the ports, by name."""
        path = self.guest.root / STATE.lstrip("/") / "port_state.json"
        ports: Mapping[str, Any] = json.loads(path.read_text())["content"]["ports"] if path.exists() else {}
        return ports

    def said(self) -> list[Mapping[str, Any]]:
        """The service's journal since ``reset``."""
        return self.guest.journal(UNIT, self._cursor)

    def messages(self) -> list[str]:
        """The text of it."""
        return [str(record.get("MESSAGE", "")) for record in self.said()]

    def wait(
        self, condition: Callable[[], T], what: str | Callable[[], str], deadline_seconds: float = DEADLINE_SECONDS
    ) -> T:
        """``until``, with the service's journal in the message."""

        def situation() -> str:
            return f"{what if isinstance(what, str) else what()}; the journal:\n" + "\n".join(self.messages())

        return until(condition, deadline_seconds, situation)

    def wait_shown(self, deadline_seconds: float = DEADLINE_SECONDS, **wanted: str) -> None:
        """Wait until these are the properties of the service."""
        self.wait(
            lambda: self.show(*wanted) == wanted,
            lambda: f"the service has {wanted}; it has {self.show(*wanted)}",
            deadline_seconds,
        )

    def wait_message(self, part: str, deadline_seconds: float = DEADLINE_SECONDS) -> str:
        """Wait until the journal has a message with this in it, and return the first one."""
        return self.wait(
            lambda: [message for message in self.messages() if part in message],
            f"the journal says {part!r}",
            deadline_seconds,
        )[0]

    def close(self) -> None:
        """End everything. Safe to call twice."""
        self.orchagent.stop()
        self.guest.close()
        self._stack.close()

    def __enter__(self) -> Self:
        try:
            self.boot()
        except BaseException:
            # Also on an interrupt: the guest lives for as long as this process does.
            self.close()
            raise
        return self
