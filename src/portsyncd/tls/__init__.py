"""The TLS profile of the metrics endpoint: which certificates and handshakes are good enough, and how that is proved."""
