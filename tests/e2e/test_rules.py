"""SONiC's rules (contract 1 to 4) against the real thing, as far as the traces do not show them."""

import pytest

from portsyncd.testing.monitor import Monitor
from portsyncd.testing.switch import Switch
from tests.e2e.conftest import SwitchMaker

pytestmark = pytest.mark.root

PORTS = ["Ethernet0", "Ethernet4"]


def test_nothing_is_published_before_config_db_is_loaded(switch: Switch) -> None:
    switch.load_config(PORTS[:1])
    switch.config_db.set("CONFIG_DB_INITIALIZED", "0")
    with Monitor(switch.redis) as monitor:
        switch.daemon.start()
        switch.daemon.wait_for("waiting for CONFIG_DB to be loaded")
        switch.add_ports(PORTS)

        def times_asked() -> int:
            return sum(command.words == ("GET", "CONFIG_DB_INITIALIZED") for command in monitor.commands)

        switch.wait(lambda: times_asked() >= 3, "the daemon asks again")
        assert monitor.writes() == []
        assert switch.daemon.running
    # The rest of the configuration comes, then the sign that it is complete.
    switch.load_config(PORTS)
    switch.orchagent.start()
    switch.daemon.wait_in_sync()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    assert switch.orchagent.count == 2


def test_an_absent_sign_is_no_reason_to_wait(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.config_db.delete("CONFIG_DB_INITIALIZED")
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")


def test_rows_are_copied_verbatim(switch: Switch) -> None:
    switch.config_db.hset(
        "PORT|Ethernet0", mapping={"lanes@": "0,1", "description": "to the roof, 2nd floor", "tpid": ""}
    )
    switch.config_db.hset("PORT|Ethernet4", "NULL", "NULL")
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    assert switch.orchagent.ports == {
        "Ethernet0": {"lanes": "0,1", "description": "to the roof, 2nd floor", "tpid": ""},
        "Ethernet4": {"NULL": "NULL"},
    }


def test_fields_of_other_writers_survive(switch: Switch) -> None:
    switch.bring_up(PORTS)
    foreign = {"host_tx_ready": "true", "speed": "100000", "fec": "rs"}
    for field, value in foreign.items():
        switch.state_db.hset("PORT_TABLE|Ethernet0", field, value)
    switch.links.set("Ethernet0", up=True, mtu=9000)
    switch.wait_equal()
    switch.daemon.kill()
    switch.daemon.start()
    switch.daemon.wait_in_sync()
    switch.links.set("Ethernet0", mtu=1500)
    switch.wait_equal()
    assert switch.state("Ethernet0").items() >= foreign.items()
    # A removal takes them along, since xcvrd acts on the DEL.
    switch.links.delete("Ethernet0")
    switch.wait_equal()
    assert not switch.state("Ethernet0")


def test_appl_db_port_table_gets_nothing_but_ports_and_markers(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.links.set("Ethernet0", up=True)
    switch.wait_equal()
    keys = sorted(map(str, switch.appl_db.keys("*PORT_TABLE:*")))
    assert keys == sorted(f"PORT_TABLE:{name}" for name in [*PORTS, "PortConfigDone", "PortInitDone"])


def test_ports_added_at_run_time_never_delay_port_init_done(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.load_config([*PORTS, "Ethernet8"])
    switch.add_ports(PORTS)
    switch.wait_settled()


def test_a_port_deleted_from_the_configuration_is_waited_for_no_longer(switch: Switch) -> None:
    switch.load_config(PORTS)
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.add_ports(PORTS[:1])
    switch.barrier()
    assert not switch.has_marker("PortInitDone")
    switch.config_db.delete("PORT|Ethernet4")
    switch.wait_settled()


def test_a_port_that_goes_and_comes_after_port_init_done_brings_no_second_one(switch: Switch) -> None:
    switch.bring_up(PORTS)
    with Monitor(switch.redis) as monitor:
        switch.links.delete("Ethernet0")
        switch.barrier()
        switch.add_ports(["Ethernet0"])
        switch.barrier()
        assert not [write for write in monitor.writes() if write.kind == "producer_set"]
    switch.wait_equal()


def test_altnames_are_no_ports(switch: Switch) -> None:
    switch.bring_up(PORTS)
    switch.appl_db.hset("PORT_TABLE:Ethernet8", "lanes", "8")
    switch.links.altname("Ethernet0", "Ethernet8")
    switch.barrier()
    assert switch.states().keys() & {*PORTS, "Ethernet8"} == set(PORTS)
    switch.daemon.terminate()
    switch.daemon.start()
    switch.daemon.wait_in_sync()
    switch.barrier()
    assert switch.states().keys() & {*PORTS, "Ethernet8"} == set(PORTS)


def test_port_prefixes_are_configuration(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"netlink": {"port_prefixes": ["swp", "PortChannel"]}})
    switch.load_config(["swp1", "Ethernet0"])
    switch.start()
    switch.wait(lambda: switch.orchagent.configured, "orchagent knows every port")
    switch.add_ports(["Ethernet0", "swp1"])
    switch.wait(lambda: switch.orchagent.init_done, "only swp1 is waited for")
    switch.barrier()
    assert switch.states().keys() & {"swp1", "Ethernet0"} == {"swp1"}


# ---- LOGGER


def test_the_logger_row_is_written_as_the_predecessor_does(switch: Switch) -> None:
    switch.start()
    assert switch.config_db.hgetall("LOGGER|portsyncd") == {"LOGLEVEL": "NOTICE", "LOGOUTPUT": "SYSLOG"}


def test_a_logger_row_that_is_there_is_kept_and_honoured(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"daemon": {"log_level": "info"}})
    switch.config_db.hset("LOGGER|portsyncd", "LOGLEVEL", "DEBUG")
    switch.load_config(PORTS)
    switch.start()
    assert switch.config_db.hgetall("LOGGER|portsyncd") == {"LOGLEVEL": "DEBUG"}
    switch.wait(lambda: levels(switch) >= {"debug"}, "there are lines for debugging")


def test_the_log_level_follows_the_logger_row_at_run_time(make_switch: SwitchMaker) -> None:
    switch = make_switch(config={"daemon": {"log_level": "info"}})
    switch.bring_up(PORTS)
    assert "debug" not in levels(switch)
    switch.config_db.hset("LOGGER|portsyncd", "LOGLEVEL", "DEBUG")
    switch.wait(lambda: switch.daemon.events("log level set by CONFIG_DB"), "the change is heeded")
    switch.appl_db.flushdb()
    switch.wait(lambda: "debug" in levels(switch), "there are lines for debugging")
    switch.config_db.hset("LOGGER|portsyncd", "LOGLEVEL", "ERROR")
    switch.wait(lambda: len(switch.daemon.events("log level set by CONFIG_DB")) == 2, "the change is heeded")
    before = len(switch.daemon.events())
    switch.appl_db.flushdb()
    switch.wait(lambda: switch.orchagent.init_done and switch.has_marker("PortInitDone"), "all is announced again")
    assert len(switch.daemon.events()) == before


def levels(switch: Switch) -> set[str]:
    return {str(record["level"]) for record in switch.daemon.events()}
