"""The ``portsyncd`` command, and ``python -m portsyncd``."""

from portsyncd.tls import openssl


def main() -> None:
    """Run the command line, with OpenSSL's settings in place before anything starts OpenSSL."""
    openssl.settle()
    from portsyncd.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    main()
