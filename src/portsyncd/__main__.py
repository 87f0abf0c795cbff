"""The ``portsyncd`` command, and ``python -m portsyncd``."""

import faulthandler
import sys

from portsyncd.tls import openssl


def main() -> None:
    """Run the command line, with OpenSSL's settings in place before anything starts OpenSSL."""
    openssl.settle()
    if sys.stderr is not None:
        # systemd's watchdog kills with SIGABRT: where each thread was then, stands in the journal.
        faulthandler.enable()
    from portsyncd.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
