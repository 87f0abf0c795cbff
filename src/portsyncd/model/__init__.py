"""Decisions. Pure: what came in, and the time, are arguments; what is to be done is returned."""
