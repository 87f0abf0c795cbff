"""A throw-away certificate set for the metrics endpoint: for demo, tests and bench."""

from pathlib import Path
from typing import Any, Final

from portsyncd.testing.daemon_process import Config
from portsyncd.tls.authority import Authority, Issued

URL: Final = "https://[::1]:9090"


class Certificates:
    """CA, server and one client in a folder of their own, keys readable by the owner alone.

    More clients, good and odd, come from ``client``; ``authority`` signs whatever else is wanted.
    """

    def __init__(self, folder: Path, authority: Authority | None = None) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.authority = authority or Authority.make()
        self.ca = self._put("ca.crt", self.authority.cert_pem)
        self.server_cert, self.server_key = self.put("server", self.authority.issue_server())
        self.client_cert, self.client_key = self.client("client")

    def client(self, name: str, **options: Any) -> tuple[Path, Path]:
        """Certificate and key of a further client, whose common name is its files' name; see ``Authority.issue_client``."""
        return self.put(name, self.authority.issue_client(name, **options))

    def put(self, name: str, issued: Issued) -> tuple[Path, Path]:
        """Write a certificate and its key; those of an earlier set are replaced, each in one step."""
        return self._put(f"{name}.crt", issued.cert_pem), self._put(f"{name}.key", issued.key_pem)

    def config(self, listen: str = "[::1]:9090") -> Config:
        """The daemon's section [metrics] for this set."""
        files = {"cert": str(self.server_cert), "key": str(self.server_key), "ca": str(self.ca)}
        return {"metrics": {"enabled": True, "listen": listen, **files}}

    def curl(self, path: str = "/metrics", url: str = URL) -> list[str]:
        """The command that an operator would type."""
        trust = ["--cacert", str(self.ca), "--cert", str(self.client_cert), "--key", str(self.client_key)]
        return ["curl", "--silent", "--show-error", "--tlsv1.3", *trust, f"{url}{path}"]

    def _put(self, name: str, content: bytes) -> Path:
        path, fresh = self.folder / name, self.folder / f"{name}.new"
        fresh.touch(mode=0o600)
        fresh.write_bytes(content)
        fresh.replace(path)
        return path
