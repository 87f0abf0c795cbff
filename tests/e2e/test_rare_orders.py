"""Orders of events that are rare on a switch, each of which once left a port's state wrong for good."""

import pytest

from portsyncd.testing import burst
from portsyncd.testing.switch import Switch
from portsyncd.testing.wait import hold
from portsyncd.wire import schema
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4"]


def test_a_link_renamed_away_and_deleted_before_the_filter_let_it_through(switch: Switch) -> None:
    # Its rename and its removal are kept out: they come before the filter knows its ifindex.
    switch.bring_up(["Ethernet0"])
    switch.appl_db.hset("PORT_TABLE:Ethernet4", "lanes", "4")
    switch.daemon.pause()
    index = switch.links.add_port("Ethernet4")
    switch.kernel.send([burst.rename(index, "foo4"), burst.delete(index)])
    switch.daemon.resume()
    switch.barrier()
    switch.wait_equal()
    assert "Ethernet4" not in switch.states()


def test_after_a_flush_port_init_done_waits_for_orchagent_to_take_the_ports(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.orchagent.stop()
    switch.appl_db.flushdb()
    switch.wait(lambda: switch.has_marker(schema.PORT_CONFIG_DONE), "the ports are announced again")
    switch.barrier()
    # STATE_DB still says "ok" of every port; that is of the generation before.
    assert not switch.has_marker(schema.PORT_INIT_DONE)
    switch.orchagent.start()
    switch.wait_settled()


def test_state_db_that_is_cleaned_after_the_flush_is_written_again(switch: Switch) -> None:
    # swss.sh flushes APPL_DB first and deletes STATE_DB's PORT_TABLE a moment later.
    switch.bring_up(PORTS)
    switch.orchagent.stop()
    switch.appl_db.flushdb()
    switch.wait(lambda: switch.has_marker(schema.PORT_CONFIG_DONE), "the ports are announced again")
    switch.state_db.delete(*(f"{schema.STATE_PORT_TABLE}|{name}" for name in PORTS))
    switch.orchagent.start()
    switch.wait_settled()
    assert sorted(switch.states()) == PORTS


def test_config_db_loaded_anew_while_port_init_done_waits(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.start()
    switch.add_ports(PORTS[:1])
    switch.wait(lambda: switch.state("Ethernet0"), "Ethernet0 is published")
    switch.config_db.flushdb()
    for name in PORTS:
        switch.config_db.hset(f"{schema.CONFIG_PORT_TABLE}|{name}", "lanes", "1")
        switch.barrier()
    switch.config_db.set(schema.CONFIG_DB_INITIALIZED, "1")
    switch.barrier()
    assert not switch.has_marker(schema.PORT_INIT_DONE)
    switch.add_ports(PORTS[1:])
    switch.wait_settled()


def test_a_redis_user_who_may_not_subscribe_means_polling(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"database": {"username": "portsyncd", "password_file": "password"}})
    password = switch.daemon.folder / "password"
    password.write_text("secret\n")
    password.chmod(0o600)
    switch.daemon.configure({"database": {"password_file": str(password)}})
    switch.appl_db.acl_setuser(
        "portsyncd",
        enabled=True,
        passwords=["+secret"],
        keys=["*"],
        categories=["+@all"],
        channels=["PORT_TABLE_CHANNEL*"],
    )
    switch.load_config(PORTS)
    switch.start()
    switch.add_ports(PORTS)
    switch.wait_settled()
    switch.appl_db.hset("PORT_TABLE:Ethernet8", "lanes", "8")
    switch.add_ports(["Ethernet8"])
    switch.wait_equal()
    hold(2.0)
    assert len(switch.daemon.events("connected to Redis")) == 1
    assert not switch.daemon.events("Redis cannot be used: port states wait, and will be written when it can")
