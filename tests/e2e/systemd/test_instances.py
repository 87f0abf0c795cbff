"""portsyncd@.service: one instance for each ASIC, in the ASIC's network namespace."""

import json
from collections.abc import Iterator

import pytest

from tests.e2e.systemd.switch import SOCKET, UNIT, ServiceSwitch, database_config

pytestmark = pytest.mark.root

ASIC, PORT = "asic0", "Ethernet0"
INSTANCE, FOLDER = f"portsyncd@{ASIC}.service", f"portsyncd-{ASIC}"


def in_namespace(switch: ServiceSwitch, command: str) -> str:
    """What ``ip`` prints of the ASIC's namespace."""
    return switch.guest.run("ip", "-netns", ASIC, *command.split()).stdout


@pytest.fixture
def asic(switch: ServiceSwitch) -> Iterator[ServiceSwitch]:
    """A switch with one ASIC, as SONiC has it: a namespace with a link, and its databases in the list of namespaces."""
    includes = [
        {"include": "database_config.json"},
        {"namespace": ASIC, "include": f"../../redis-{ASIC}/sonic-db/database_config.json"},
    ]
    switch.guest.write("/run/redis/sonic-db/database_global.json", json.dumps({"INCLUDES": includes}))
    switch.guest.write(f"/run/redis-{ASIC}/sonic-db/database_config.json", database_config(SOCKET))
    switch.guest.run("ip", "netns", "add", ASIC)
    try:
        for command in ("link set lo up", f"link add {PORT} type ifb", f"link set {PORT} up"):
            in_namespace(switch, command)
        yield switch
    finally:
        switch.guest.systemctl("stop", INSTANCE)
        switch.guest.run("ip", "netns", "delete", ASIC)
        switch.guest.run("rm", "-rf", f"/var/lib/sonic/{FOLDER}", f"/run/{FOLDER}", f"/etc/sonic/{FOLDER}.conf")


def test_an_instance_has_links_folders_and_endpoint_of_its_own(asic: ServiceSwitch) -> None:
    guest = asic.guest
    guest.write(f"/etc/sonic/{FOLDER}.conf", '[netlink]\nexisting_links = "reset"\n')
    asic.load_config([PORT])
    asic.orchagent.start()
    guest.systemctl("start", INSTANCE)
    assert "DOWN" in in_namespace(asic, f"-brief link show {PORT}"), "it was there before"
    for command in (f"link delete {PORT}", f"link add {PORT} type ifb", f"link set {PORT} up"):
        in_namespace(asic, command)
    asic.wait(lambda: asic.state(PORT).get("admin_status") == "up", "the namespace's link is told of")
    for path in (f"var/lib/sonic/{FOLDER}/metrics/counters.json", f"run/{FOLDER}/old_links.json"):
        asic.wait((guest.root / path).exists, f"{path} is there")
    asic.wait(
        lambda: any("metrics endpoint is open" in str(line["MESSAGE"]) for line in guest.journal(INSTANCE)),
        "it listens",
    )
    # In its namespace, and nowhere else.
    listeners = ("ss", "--no-header", "--listening", "--tcp", "--numeric")
    assert ":9090" in guest.run("ip", "netns", "exec", ASIC, *listeners).stdout
    assert ":9090" not in guest.run(*listeners).stdout
    assert guest.systemctl("is-active", UNIT, check=False).strip() == "inactive"


def test_without_its_file_it_says_which(asic: ServiceSwitch) -> None:
    asic.guest.systemctl("start", INSTANCE, check=False)
    shown = asic.guest.show(INSTANCE, "ActiveState", "ExecMainStatus")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "78"}
    said = [str(line["MESSAGE"]) for line in asic.guest.journal(INSTANCE)]
    assert any(f"/etc/sonic/{FOLDER}.conf: there is no such file" in message for message in said)


def test_systemd_finds_no_fault_with_the_installed_units(switch: ServiceSwitch) -> None:
    done = switch.guest.run("systemd-analyze", "verify", "--man=no", UNIT, INSTANCE)
    assert (done.stdout, done.stderr) == ("", "")
