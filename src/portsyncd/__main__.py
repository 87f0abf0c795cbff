"""The ``portsyncd`` command, and ``python -m portsyncd``."""

import faulthandler
import signal
import sys
from collections.abc import Sequence

from portsyncd.tls import openssl

# What a running daemon heeds, and what would end one that has just been started.
_HEEDED_LATER = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def main() -> None:
    """Run the command line, with OpenSSL's settings in place before anything starts OpenSSL."""
    if _is_daemon(sys.argv[1:]):
        # Until it hears them, and again while it ends.
        for number in _HEEDED_LATER:
            signal.signal(number, signal.SIG_IGN)
    openssl.settle()
    if sys.stderr is not None:
        # systemd's watchdog kills with SIGABRT: where it was then stands in the journal. Only of the thread that is told, the
        # event loop's: to walk through the frames of others while these run can crash.
        faulthandler.enable(all_threads=False)
    from portsyncd.cli.main import main as command_line

    command_line()


def _is_daemon(arguments: Sequence[str]) -> bool:
    """Whether that means ``run``; the other commands end with their terminal."""
    return not arguments or arguments[0] == "run" or arguments[0].startswith("-")


if __name__ == "__main__":
    main()
