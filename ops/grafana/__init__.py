"""The Grafana dashboards: what is on each, and what makes their JSON of it.

``python -m ops.grafana`` in the tree's root (``make dashboards``) writes ``dashboards/*.json``::

    query.py     a question to Prometheus, and which switches it is about
    panels.py    the kinds of panels, with what all of a kind have in common
    page.py      a dashboard of rows of panels: variables, annotations, links, places on the grid
    fleet.py, switch.py, restarts.py, endpoint.py    one dashboard each
"""
