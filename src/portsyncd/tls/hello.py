"""ClientHellos made by hand, and the server's answer to one (RFC 8446, 4.1).

OpenSSL cannot be asked to offer what this process's own profile forbids; bytes can.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from portsyncd.errors import DecodeError

TLS_1_2: Final = 0x0303
TLS_1_3: Final = 0x0304


class Suite(IntEnum):
    """Cipher suites. The last one is of TLS 1.2."""

    AES_128_GCM = 0x1301
    AES_256_GCM = 0x1302
    CHACHA20 = 0x1303
    AES_128_CCM = 0x1304
    AES_128_CCM_8 = 0x1305
    ECDHE_ECDSA_AES_256_GCM = 0xC02C


class Group(IntEnum):
    """Groups of the key agreement."""

    SECP256R1 = 0x0017
    SECP384R1 = 0x0018
    X25519 = 0x001D


# A key share that every implementation takes for a valid one: the base point of the group (SEC 2; RFC 7748). Whose
# secret is 1 has none; no hello made here is followed by anything that would need one.
_BASE_POINTS: Final = MappingProxyType(
    {
        Group.SECP256R1: bytes.fromhex(
            "04 6B17D1F2 E12C4247 F8BCE6E5 63A440F2 77037D81 2DEB33A0 F4A13945 D898C296"
            "   4FE342E2 FE1A7F9B 8EE7EB4A 7C0F9E16 2BCE3357 6B315ECE CBB64068 37BF51F5"
        ),
        Group.SECP384R1: bytes.fromhex(
            "04 AA87CA22 BE8B0537 8EB1C71E F320AD74 6E1D3B62 8BA79B98 59F741E0 82542A38 5502F25D BF55296C 3A545E38 72760AB7"
            "   3617DE4A 96262C6F 5D9E98BF 9292DC29 F8F41DBD 289A147C E9DA3113 B5F0B8C0 0A60B1CE 1D7E819D 7A431D7C 90EA0E5F"
        ),
        Group.X25519: bytes([9]) + bytes(31),
    }
)
# ecdsa_secp384r1_sha384, ecdsa_secp521r1_sha512, rsa_pss_rsae_sha384, ecdsa_secp256r1_sha256
_SIGNATURES: Final = (0x0503, 0x0603, 0x0805, 0x0403)
_SUPPORTED_GROUPS, _EC_POINT_FORMATS, _SIGNATURE_ALGORITHMS, _SUPPORTED_VERSIONS, _KEY_SHARE = 10, 11, 13, 43, 51
_HANDSHAKE, _CLIENT_HELLO, _SERVER_HELLO = 22, 1, 2
# RFC 8446, 4.1.3: what stands in the place of the random bytes where the server wants another hello.
_RETRY: Final = hashlib.sha256(b"HelloRetryRequest").digest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a ServerHello settles on. group: 0 with TLS 1.2; retry: it asks for another key share first."""

    version: int
    suite: int
    group: int
    retry: bool


def client_hello(suites: Sequence[Suite], group: Group = Group.SECP384R1, version: int = TLS_1_3) -> bytes:
    """The TLS record of a ClientHello that offers these suites, this one group and this one version."""
    extensions = _extension(_SUPPORTED_GROUPS, _sized(2, _shorts([group])))
    extensions += _extension(_EC_POINT_FORMATS, _sized(1, b"\0"))
    extensions += _extension(_SIGNATURE_ALGORITHMS, _sized(2, _shorts(_SIGNATURES)))
    if version == TLS_1_3:
        extensions += _extension(_SUPPORTED_VERSIONS, _sized(1, _shorts([version])))
        share = _shorts([group]) + _sized(2, _BASE_POINTS[group])
        extensions += _extension(_KEY_SHARE, _sized(2, share))
    # Version as in TLS 1.2, 32 bytes at random, no session, no compression.
    body = _shorts([TLS_1_2]) + bytes(range(32)) + _sized(1, b"")
    body += _sized(2, _shorts(suites)) + _sized(1, b"\0") + _sized(2, extensions)
    return bytes([_HANDSHAKE]) + _shorts([TLS_1_2]) + _sized(2, bytes([_CLIENT_HELLO]) + _sized(3, body))


def server_answer(data: bytes) -> Answer:
    """Read the ServerHello that stands at the beginning of what a server sent. Raises ``DecodeError`` without one."""
    try:
        # Record header, handshake header, version, random, session id.
        if data[0] != _HANDSHAKE or data[5] != _SERVER_HELLO:
            raise DecodeError("the server did not answer with a ServerHello")
        random, at = data[11:43], 44 + data[43]
        suite, _, length = struct.unpack_from("!HBH", data, at)
        extensions = _extensions(data[at + 5 : at + 5 + length])
        version = _short(extensions.get(_SUPPORTED_VERSIONS, data[9:11]))
        group = _short(extensions.get(_KEY_SHARE, b"\0\0"))
    except (IndexError, struct.error) as error:
        raise DecodeError("the server's answer is cut off") from error
    return Answer(version, suite, group, retry=random == _RETRY)


def _extensions(data: bytes) -> dict[int, bytes]:
    found = {}
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("!HH", data, at)
        found[kind] = data[at + 4 : at + 4 + length]
        at += 4 + length
    return found


def _extension(kind: int, content: bytes) -> bytes:
    return _shorts([kind]) + _sized(2, content)


def _sized(width: int, content: bytes) -> bytes:
    return len(content).to_bytes(width, "big") + content


def _shorts(values: Sequence[int]) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


def _short(data: bytes) -> int:
    return int(struct.unpack_from("!H", data)[0])
