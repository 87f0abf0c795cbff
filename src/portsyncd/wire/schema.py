"""SONiC's Redis schema as this daemon uses it: database numbers, tables, separators, field names.

The names and numbers are those of sonic-swss-common (``schema.h``) and of its ``database_config.json``.
"""

from typing import Final

# Logical databases and their default numbers on a SONiC switch.
APPL_DB: Final = "APPL_DB"
CONFIG_DB: Final = "CONFIG_DB"
STATE_DB: Final = "STATE_DB"
DEFAULT_NUMBERS: Final = {APPL_DB: 0, CONFIG_DB: 4, STATE_DB: 6}
DEFAULT_SEPARATORS: Final = {APPL_DB: ":", CONFIG_DB: "|", STATE_DB: "|"}

# APPL_DB: the port table, and what ProducerStateTable keeps beside it.
PORT_TABLE: Final = "PORT_TABLE"
PORT_KEY_SET: Final = "PORT_TABLE_KEY_SET"
PORT_DEL_SET: Final = "PORT_TABLE_DEL_SET"
PORT_CHANNEL_PREFIX: Final = "PORT_TABLE_CHANNEL@"
STAGED_PORT_TABLE: Final = "_PORT_TABLE"
PORT_CONFIG_DONE: Final = "PortConfigDone"
PORT_INIT_DONE: Final = "PortInitDone"
MARKERS: Final = (PORT_CONFIG_DONE, PORT_INIT_DONE)
# Ours: which life of APPL_DB's contents this is. A table of its own: orchagent counts the keys of PORT_TABLE.
GENERATION_KEY: Final = "PORTSYNCD_GENERATION_TABLE:localhost"
GENERATION_FIELD: Final = "id"

# CONFIG_DB
CONFIG_PORT_TABLE: Final = "PORT"
CONFIG_DB_INITIALIZED: Final = "CONFIG_DB_INITIALIZED"
DEVICE_METADATA_KEY: Final = "DEVICE_METADATA|localhost"
LOGGER_KEY: Final = "LOGGER|portsyncd"
WARM_TIMER_KEY: Final = "WARM_RESTART|swss"

# STATE_DB
STATE_PORT_TABLE: Final = "PORT_TABLE"
WARM_KEY: Final = "WARM_RESTART_TABLE|portsyncd"
WARM_ENABLE_KEYS: Final = ("WARM_RESTART_ENABLE_TABLE|system", "WARM_RESTART_ENABLE_TABLE|swss")

# The four fields of STATE_DB PORT_TABLE|<port> that are this daemon's, in the order in which they are written.
STATE_FIELDS: Final = ("state", "netdev_oper_status", "admin_status", "mtu")
STATE_OK: Final = "ok"
UP: Final = "up"
DOWN: Final = "down"
