"""``portsyncd demo``: the real daemon between a real kernel and a real Redis, in a network namespace of its own.

``stage`` sets the scene and takes it down, ``actors`` do what operators, cables and accidents do, ``view`` shows it.
"""
