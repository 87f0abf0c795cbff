"""The edge to the kernel, Redis and the file system; foreign exceptions become portsyncd.errors here."""
