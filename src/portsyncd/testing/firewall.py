"""Packets that are dropped without a word to who sends them: what a peer looks like that has lost its power or its path."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Final

from portsyncd.testing.netns import NetworkNamespace

_numbers: Final = count(1)


@contextmanager
def dropping(namespace: NetworkNamespace, *ports: int) -> Iterator[None]:
    """In this namespace nothing comes in from or for these TCP ports until the block ends. On loopback that is both ways.

    Needs ``nft`` (package nftables) and CAP_NET_ADMIN. Raises ``CalledProcessError``.
    """
    table = f"portsyncd_{next(_numbers)}"
    some = ", ".join(map(str, ports))
    rules = f"""
        add table inet {table}
        add chain inet {table} input {{ type filter hook input priority 0; }}
        add rule inet {table} input tcp sport {{ {some} }} drop
        add rule inet {table} input tcp dport {{ {some} }} drop
    """
    namespace.run(["nft", "--file", "-"], input=rules)
    try:
        yield
    finally:
        namespace.run(["nft", "delete", "table", "inet", table])
