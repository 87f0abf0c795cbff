"""Trio tasks: each awaits, calls a decision of ``model``, and carries out what it returns."""
