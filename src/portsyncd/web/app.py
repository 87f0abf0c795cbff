"""The Quart-Trio app: ``/metrics`` and ``/health``.

Link events share the event loop with every request. So an answer is made and sent in slices, and others run between them.
"""

import json
import zlib
from collections.abc import AsyncIterator, Iterator
from itertools import chain
from typing import Final

import trio
from quart import Response, request
from quart_trio import QuartTrio
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import HTTPException

from portsyncd.logs import get_logger
from portsyncd.web.http1 import PEER
from portsyncd.web.view import View

log = get_logger()

TEXT: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_OPENMETRICS_TYPE = "application/openmetrics-text"
# What is sent, and compressed, in one go.
_PIECE_CHARACTERS = 16384
# Most of what compression can save here, for a third of the time that the usual level takes.
_GZIP_LEVEL = 1
_GZIP_WINDOW = 31


def make_app(view: View) -> QuartTrio:
    """The app, for one life of the metrics server."""
    app = QuartTrio(__name__, static_folder=None)
    # An answer ends with its connection's deadline; a body is refused before it gets here.
    app.config.update(RESPONSE_TIMEOUT=None, BODY_TIMEOUT=None, PROVIDE_AUTOMATIC_OPTIONS=False)

    @app.get("/metrics")
    async def metrics() -> Response:
        openmetrics = prefers_openmetrics(request.accept_mimetypes)
        slices = view.scrape(openmetrics=openmetrics)
        # What fails, fails before there is an answer.
        first = next(slices)
        pieces = _pieces(chain((first,), slices))
        headers = {"Content-Type": OPENMETRICS if openmetrics else TEXT, "Vary": "Accept, Accept-Encoding"}
        if request.accept_encodings["gzip"] > 0:
            headers["Content-Encoding"] = "gzip"
            pieces = _compressed(pieces)
        return Response(pieces, headers=headers)

    @app.get("/health")
    async def health() -> Response:
        serving, document = view.health()
        # A port's name may be no UTF-8.
        body = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode("utf-8", "backslashreplace")
        return Response(
            body, 200 if serving else 503, mimetype="application/json", headers={"Cache-Control": "no-store"}
        )

    @app.errorhandler(HTTPException)
    async def refuse(error: HTTPException) -> Response:
        response = Response(f"{error.code} {error.name}\n", error.code, mimetype="text/plain")
        for name, value in error.get_headers():
            if name == "Allow":
                response.headers[name] = value
        return response

    @app.errorhandler(Exception)
    async def fail(error: Exception) -> Response:
        log.error("a request to the metrics endpoint failed", path=request.path, exc_info=error)
        return Response("500 Internal Server Error\n", 500, mimetype="text/plain")

    @app.after_request
    async def note(response: Response) -> Response:
        log.debug(
            "served",
            method=request.method,
            path=request.path,
            status=response.status_code,
            **request.scope["extensions"].get(PEER, {}),
        )
        return response

    return app


def prefers_openmetrics(accept: MIMEAccept) -> bool:
    """Whether an Accept header names OpenMetrics and wants it no less than plain text."""
    qualities = {"openmetrics": 0.0, "text": 0.0}
    for value, quality in accept:
        kind = value.partition(";")[0].strip().lower()
        if kind == _OPENMETRICS_TYPE:
            qualities["openmetrics"] = max(qualities["openmetrics"], quality)
        elif kind in ("text/plain", "text/*", "*/*"):
            qualities["text"] = max(qualities["text"], quality)
    return 0 < qualities["openmetrics"] >= qualities["text"]


async def _pieces(slices: Iterator[str]) -> AsyncIterator[bytes]:
    """Slices put together to what is worth sending, with a chance for other tasks after each."""
    waiting: list[str] = []
    size = 0
    for text in slices:
        waiting.append(text)
        size += len(text)
        if size >= _PIECE_CHARACTERS:
            yield "".join(waiting).encode()
            waiting, size = [], 0
        await trio.lowlevel.checkpoint()
    yield "".join(waiting).encode()


async def _compressed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    compressor = zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW)
    async for piece in pieces:
        if packed := compressor.compress(piece):
            yield packed
        await trio.lowlevel.checkpoint()
    yield compressor.flush()
