"""Pure: numbers go in, what they say comes out. No I/O, no clock: the time is always an argument."""
