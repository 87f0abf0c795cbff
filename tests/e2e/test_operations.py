"""What docs/operations.md and docs/deployment.md have an operator do, on a switch."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from portsyncd.testing.monitor import Monitor
from portsyncd.testing.switch import Switch
from portsyncd.wire import schema
from tests.e2e.conftest import SwitchMaker
from tests.ops.pages import DOCS, Page

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4", "Ethernet8"]
BLOCKS = Page(DOCS / "operations.md").code("sh")
Shell = Callable[[str], tuple[str, str]]


@pytest.fixture
def serving(make_switch: SwitchMaker) -> Switch:
    """A switch with its ports up and the metrics endpoint open, on which warm restart is enabled."""
    switch = make_switch(metrics=True)
    # So that there is something in the slow log.
    switch.redis.client(0).config_set("slowlog-log-slower-than", 0)
    switch.enable_warm_restart()
    all_up(switch)
    switch.daemon.wait_for("metrics endpoint is open")
    return switch


@pytest.fixture
def shell(serving: Switch, require_program: Callable[[str], str], tmp_path: Path) -> Shell:
    """A shell on the switch, with a client certificate in its folder: runs a text, returns what it printed on standard
    output and standard error."""
    tools = {
        "redis-cli": f'exec {require_program("redis-cli")} -s {serving.redis.socket_path} "$@"',
        # What goes on for as long as the page says is ended soon.
        "timeout": f'shift; {require_program("timeout")} 0.1 "$@"; echo ended',
    }
    folder = tmp_path / "operator"
    folder.mkdir()
    for name, script in tools.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    own = serving.endpoint.certificates
    for name, file in (("ca.crt", own.ca), ("prometheus.crt", own.client_cert), ("prometheus.key", own.client_key)):
        (folder / name).symlink_to(file)
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    for program in ("curl", "ip", "jq", "ss"):
        require_program(program)
    definitions = next(block for block in BLOCKS if "ask() {" in block)

    def run(text: str) -> tuple[str, str]:
        done = serving.namespace.run(["sh", "-c", definitions + text], check=False, cwd=folder, env=environment)
        return done.stdout, done.stderr

    return run


def all_up(switch: Switch) -> None:
    switch.bring_up(PORTS)
    for name in PORTS:
        switch.links.set(name, up=True)
        switch.links.carrier(name, up=True)
    switch.wait_equal()


def asks(line: str) -> bool:
    """Whether a line of a shell block only asks kernel, Redis or daemon, and prints what they say."""
    first, *others = line.split() or [""]
    changes = {"hset", "hdel", ">"} & set(others)
    return first in ("ask", "cat", "ip", "redis-cli", "ss", "timeout") and not changes


def test_every_question_is_answered(shell: Shell) -> None:
    lines = dict.fromkeys(line for block in BLOCKS for line in block.splitlines() if asks(line))
    assert len(lines) > 30
    for line in lines:
        out, err = shell(line)
        assert out.strip() or " monitor " in line, f"{line}: {err}"
        assert not re.search(r"^\(error\)|^ERR |jq: error|[Ss]yntax error|not found", out + err), line


def test_a_report_holds_what_it_ought_to(shell: Shell, tmp_path: Path) -> None:
    names = set()
    for block in BLOCKS:
        if "redis.txt" in block or "health.json" in block:
            names |= set(re.findall(r"> (\S+)$", block, re.MULTILINE))
            assert shell(block) == ("", "")
    assert len(names) > 5
    texts = {name: (tmp_path / "operator" / name).read_text() for name in names}
    assert all(texts.values())
    for key in ("0 PORT_TABLE:Ethernet0", "4 PORT|Ethernet0", "6 PORT_TABLE|Ethernet0"):
        assert f"== {key}\n" in texts["redis.txt"]


def test_a_cold_start_can_be_had_once(serving: Switch, shell: Shell) -> None:
    (line,) = {line for block in BLOCKS for line in block.splitlines() if " hdel " in line}
    starts = []
    for once in (False, True, False):
        serving.daemon.terminate()
        if once:
            shell(line)
        serving.daemon.start()
        serving.daemon.wait_in_sync()
        starts.append(serving.daemon.wait_for("initial sync complete by EOIU")["start"])
        serving.wait_equal()
    assert starts == ["warm", "cold", "warm"]
    assert all(serving.links.states()[name].oper_up for name in PORTS)


@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_what_the_cpp_daemon_has_left_is_taken_over(switch: Switch, tmp_path: Path, *, warm: bool) -> None:
    """It leaves the same rows, but no generation and no files; and it may have left what is not true any more."""
    all_up(switch)
    switch.daemon.terminate()
    shutil.rmtree(tmp_path / "state")
    assert switch.appl_db.delete(schema.GENERATION_KEY)
    switch.state_db.hset("PORT_TABLE|Ethernet4", "netdev_oper_status", "down")
    switch.state_db.hset("PORT_TABLE|Ethernet96", mapping={"state": "ok", "netdev_oper_status": "up"})
    if warm:
        switch.enable_warm_restart()
    with Monitor(switch.redis) as monitor:
        switch.daemon.start()
        switch.daemon.wait_in_sync()
        switch.wait_settled()
        writes = monitor.writes()
    announced = [write.key for write in writes if write.kind == "producer_set"]
    # What orchagent bears to hear again; the markers come last.
    expected = [] if warm else [*PORTS, "PortConfigDone", "PortInitDone"]
    assert (sorted(announced[:-2]), announced[-2:]) == (sorted(expected[:-2]), expected[-2:])
    ports = [(write.kind, write.key) for write in writes if write.key.startswith("PORT_TABLE|")]
    assert sorted(ports) == [("del", "PORT_TABLE|Ethernet96"), ("hset", "PORT_TABLE|Ethernet4")]
    # No link was set down.
    assert all(switch.links.states()[name].oper_up for name in PORTS)
    assert switch.appl_db.exists(schema.GENERATION_KEY)
