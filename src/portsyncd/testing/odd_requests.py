"""Requests that no Prometheus sends, and what HTTP has a server answer to them. Each is sent over its own connection."""

import struct
from typing import Final, NamedTuple

SCRAPE: Final = b"GET /metrics HTTP/1.1\r\nHost: switch\r\n\r\n"
PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


class Odd(NamedTuple):
    """statuses: one of these answers each of the requests."""

    statuses: tuple[int, ...]
    requests: tuple[bytes, ...]


_MEGABYTE: Final = 1 << 20
_HOST: Final = b"Host: switch\r\n"


def _headers(*lines: bytes, target: bytes = b"/metrics", method: bytes = b"GET") -> bytes:
    return method + b" " + target + b" HTTP/1.1\r\n" + _HOST + b"".join(line + b"\r\n" for line in lines) + b"\r\n"


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """RFC 9113, 4.1."""
    return struct.pack("!I", len(payload))[1:] + struct.pack("!BBI", kind, flags, stream) + payload


# SETTINGS, then HEADERS (a GET of / by indexed fields of HPACK's static table) and RST_STREAM for one stream after the other.
_RAPID_RESET: Final = (
    PREFACE
    + _frame(4, 0, 0)
    + b"".join(
        _frame(1, 5, stream, b"\x82\x84\x87\x41\x01x") + _frame(3, 0, stream, struct.pack("!I", 8))
        for stream in range(1, 2001, 2)
    )
)
_BAD_TARGETS: Final = (b"metrics", b"*", b"http:/x", b"ftp://switch/metrics", b"switch:443", b"?", b"https:metrics")
_ODD_TARGETS: Final = (
    b"//",
    b"//switch/metrics",
    b"/%",
    b"/%00",
    b"/%ff%fe/../../etc/passwd",
    b"/metrics%0d%0aX:y",
    b"/" + b"a" * 8000,
    b"/?" + b"&" * 4000,
    b"/metrics/..;/",
    b"https://",
    b"https:///",
    b"/[",
    b"http://[/",
)
_BAD_BYTES: Final = (
    b"GET /metrics\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /m\xc3\xa9triques HTTP/1.1\r\nHost: x\r\n\r\n",
    b"G\xc3T / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA\x00: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n\xff: b\r\n\r\n",
    b"\x00" * 100 + b"\r\n\r\n",
    b"\xff" * 100 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/9\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n: z\r\n\r\n",
)
# These are fine by HTTP's grammar, and no reason for the app to stumble.
_ODD_HEADERS: Final = (
    b"Accept: \xff\xfe;q=\xe9",
    b"Accept: text/plain;q=nan, */*;q=1e999",
    b"Accept: " + b"a/b;q=0.1," * 900,
    b"Accept-Encoding: gzip;q=x, \xff",
    b"Accept-Encoding: ,,,;;;==",
    b"Cookie: \xff=\xff; ==; a",
    b"Range: bytes=0-0,-1,99999999999999999999-",
    b"If-None-Match: \xff",
    b"X-Forwarded-For: \xff",
    b"Connection: close, upgrade, \xff",
    b"Content-Length: 0",
    b"Authorization: Basic \xff",
    b"Authorization: Digest a=\xff,",
)


_ODD_HOSTS: Final = (
    b"GET /metrics HTTP/1.0\r\n\r\n",
    *(
        b"GET /metrics HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        for host in (b"", b"\xff", b"[::1", b"a/b?c#d@e:f", b"x" * 9000)
    ),
)

ODD_REQUESTS: Final[dict[str, Odd]] = {
    "a megabyte of headers": Odd(
        (431,), (_headers(b"X: " + b"x" * _MEGABYTE), _headers(*[b"X: y"] * (_MEGABYTE // 6)), b"G" * _MEGABYTE)
    ),
    "a body": Odd(
        (413,),
        (
            _headers(b"Content-Length: 5") + b"hello",
            _headers(b"Content-Length: 1000000000", b"Expect: 100-continue"),
            _headers(b"Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
            _headers(b"Content-Length: 1048576", method=b"POST") + bytes(_MEGABYTE),
        ),
    ),
    "CONNECT": Odd((405,), (_headers(target=b"switch:22", method=b"CONNECT") + b"SSH-2.0-x\r\n",)),
    "upgrade to h2c": Odd(
        (501,),
        (
            _headers(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: %%%"),
            _headers(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABk") + PREFACE,
        ),
    ),
    "upgrade to a websocket": Odd(
        (501,),
        (
            _headers(
                b"Connection: Upgrade",
                b"Upgrade: websocket",
                b"Sec-WebSocket-Version: 13",
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            )
            + b"x",
        ),
    ),
    "HTTP/2": Odd((505,), (PREFACE, PREFACE + bytes(1000), _RAPID_RESET)),
    "malformed targets": Odd((400,), tuple(_headers(target=target) for target in _BAD_TARGETS)),
    "odd targets": Odd((404,), tuple(_headers(target=target) for target in _ODD_TARGETS)),
    "the absolute form": Odd((200,), (_headers(target=b"https://[::1]:9090/metrics"),)),
    "bad bytes": Odd((400,), _BAD_BYTES),
    "odd headers": Odd((200,), tuple(_headers(header) for header in _ODD_HEADERS)),
    "a promise of a body": Odd((100,), (_headers(b"Expect: 100-continue"),)),
    "odd hosts": Odd((200,), _ODD_HOSTS),
}
