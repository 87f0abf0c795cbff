"""A well-behaved client beside the attackers: it scrapes several times a second and notes what goes wrong."""

import http.client
import threading
import time
from typing import Final, Self

from portsyncd.testing.endpoint import Endpoint

INTERVAL_SECONDS: Final = 0.1


class Scraper:
    """Scrapes in a thread for as long as the block lasts, in turn over a kept connection and over one of its own.

    failures: what was not answered with 200, and why. scrapes: how many were. slowest_seconds: of these. At least one of
    each kind is made. The client has a certificate of its own, ``name``, so that attackers do not share its allowance.
    """

    def __init__(self, endpoint: Endpoint, name: str = "scraper") -> None:
        self.failures: list[str] = []
        self.scrapes = 0
        self.slowest_seconds = 0.0
        self._endpoint = endpoint
        self._context = endpoint.context(*endpoint.certificates.client(name))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name)

    def _run(self) -> None:
        with self._endpoint.client(self._context) as kept:
            number = 0
            while number < 2 or not self._ended.wait(INTERVAL_SECONDS):
                begin = time.perf_counter()
                try:
                    if number % 2:
                        with self._endpoint.client(self._context) as fresh:
                            status = fresh.get("/metrics")[0].status
                    else:
                        status = kept.get("/metrics")[0].status
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(f"scrape {number}: {error!r}")
                    kept.close()
                else:
                    if status == http.client.OK:
                        self.scrapes += 1
                    else:
                        self.failures.append(f"scrape {number}: status {status}")
                self.slowest_seconds = max(self.slowest_seconds, time.perf_counter() - begin)
                number += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
