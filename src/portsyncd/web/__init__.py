"""The metrics endpoint: a Quart-Trio app on Hypercorn, behind mutual TLS, that no client can bring down."""
