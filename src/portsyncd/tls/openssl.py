"""Settles which settings OpenSSL starts with; nothing here, and nothing that it imports, makes OpenSSL start.

OpenSSL reads the file that ``OPENSSL_CONF`` names once in a process: when the first of ``hashlib``, ``hmac``, ``ssl``,
``trio`` or others that load it is imported. So this comes before all other imports of the program.
"""

import os
import sys

VARIABLE = "OPENSSL_CONF"
SETTINGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "openssl.cnf")  # noqa: PTH100, PTH118, PTH120 - pathlib's import costs more than this
# The standard library's extension modules that start OpenSSL.
_STARTERS = ("_hashlib", "_ssl")


def settle() -> None:
    """Have OpenSSL use ``SETTINGS``, unless the environment names another file.

    Where OpenSSL runs already (a ``.pth`` file or ``sitecustomize`` imported ``hashlib``), the process executes itself
    anew, once: same process id, same arguments, with the variable set. Programs that this one starts inherit it.
    """
    if os.environ.get(VARIABLE):
        # Another file is the operator's choice. The self-test judges what comes of it.
        return
    os.environ[VARIABLE] = SETTINGS
    # An embedded interpreter may not know its own program; the self-test finds out, then.
    if sys.executable and any(name in sys.modules for name in _STARTERS):
        # Also in one that is isolated (-I) or was told other options: orig_argv holds them all.
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ)  # noqa: S606 - itself
