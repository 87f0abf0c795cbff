"""What the figures of docs/performance.md are made with: ``python -m bench``; see README.md beside this file.

It drives the kernel (raw rtnetlink in a network namespace of its own) and Redis, and looks at nothing of the daemon
under test but its process, so that any implementation can be measured with the same program.

    figures.py      what is measured: label, unit, target, the C++ daemon's figure
    report.py       samples -> medians, verdicts, tables
    machine.py      which cores are there, who is pinned where, what machine this is
    rtnetlink.py    making, changing and reading links, fast
    databases.py    Redis as SONiC has it: ports of CONFIG_DB, a stand-in for orchagent, STATE_DB, notifications
    process.py      the daemon's process: CPU time, memory, context switches, stop and continue
    stand.py        one run: namespace + Redis + daemon + links, synchronised
    events.py       scenarios with link events: drain, storm, paced, noise, latency
    footprint.py    scenarios without: startup, memory, idle
    socketpair.py   what looks inside: 100,000 ports without a kernel
    scale.py        a scenario with those: how long everything takes
    soak/           the daemon under load and faults for half an hour and more: ``python -m bench.soak``
"""
