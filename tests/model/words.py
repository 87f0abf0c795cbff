"""Commands in words: what transcripts compare and what the order of steps that broke a rule shows."""

from portsyncd.model.commands import (
    Command,
    ListPorts,
    PortWrite,
    Produce,
    ReadLinks,
    ReadPorts,
    Remember,
    SetHash,
    SetLinksDown,
    WaitForPorts,
    WritePorts,
)
from portsyncd.wire.producer import Row


def in_words(command: Command) -> list[str]:
    """One line each; one per write, for port writes."""
    match command:
        case WritePorts(writes):
            return [write_in_words(write) for write in writes]
        case Produce(rows):
            return [f"stage {', '.join(_row_in_words(row) for row in rows)}"]
        case SetHash(db, key, fields):
            return [f"{db} {key}: {' '.join(f'{name}={value}' for name, value in fields.items())}"]
        case WaitForPorts(names):
            return [f"wait for {_listed(names)}"]
        case SetLinksDown(ifindexes):
            return [f"set down links {_listed(ifindexes)}"]
        case Remember(old):
            return [f"remember old links of {old.generation}: {_listed(old.ifindexes)}"]
        case ListPorts():
            return ["list the ports"]
        case ReadPorts(names):
            return [f"read {', '.join(names)}"]
        case ReadLinks(names):
            return [f"read the links, ask for {_listed(names)}"]


def write_in_words(write: PortWrite) -> str:
    if write.fields is None:
        return f"{write.op.value} {write.name}"
    _, oper, admin, mtu = write.fields
    return f"{write.op.value} {write.name} {oper}/{admin} {mtu}"


def _row_in_words(row: Row) -> str:
    return row.key if row.fields[0][0] in ("lanes", "NULL") else f"{row.key} {'='.join(row.fields[0])}"


def _listed(things: frozenset[str] | frozenset[int]) -> str:
    return ", ".join(map(str, sorted(things))) or "none"
