"""The soak: ``python -m bench.soak``, the real daemon under mixed load and faults for as long as wanted.

samples.py    pure: what is measured, sums over a stretch of time, the verdict
load.py       links that change all the time, in a thread
faults.py     what goes wrong meanwhile, and how it is put right again
watcher.py    a thread that looks at the daemon's process and scrapes its metrics
run.py        one soak: all of that on a switch of its own
report.py     the table for a terminal and for docs/soak.md, the JSON file
plot.py       the same as a picture
__main__.py   the command line
"""
