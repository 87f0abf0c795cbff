"""portsyncd keeps a SONiC switch's Redis databases true to its kernel's links.

The core decides and does nothing else: bytes, messages and the time go in, commands come out. Around it lies a thin
shell that waits, asks the core, and carries out the answer. Lowest layer first; a room imports from layers below::

    errors.py    what can go wrong, who caused it, the exit codes
    wire/        pure: netlink datagrams, the socket filter, SONiC's schema, producer scripts, lists of databases
    model/       pure: the SONiC rules, the links' view, the mailbox, generations, PortSync, restarts and retries, health
    analytics/   pure: what is kept of the past, and what follows from it: rates, trends, anomalies, flapping ports
    text.py      text of others, made fit for a log and a terminal
    reading.py   how files are read that somebody else names
    toml.py      TOML with line numbers
    rules.py     what the value of a configuration key may be
    options.py   every key of the configuration: default, rule, meaning, why one would change it
    config.py    flags, environment, file -> Config; where the databases are
    logs.py      the log's form, and its level, which can change at any time
    metrics/     the catalogue: every metric's name, type, labels, unit and help; how a scrape is rendered
    tls/         the TLS profile: certificates read, judged and made; contexts, self-test, why a handshake failed
    backends/    the edge to kernel, Redis and files; foreign errors become ours here. base.py: what services ask of it
    services/    Trio tasks: the reader hears the kernel, the writer tells Redis, the supervisor rebuilds what fails,
                 the observer looks at them all, the guardian heals what it can
    web/         the metrics endpoint: listener, connections, Hypercorn, the Quart-Trio app. host.py: what it asks of
                 the machine
    inputs.py    what the files hold that the configuration names: databases, access, certificates
    world.py     what lies outside the process: the machine, as far as the daemon has to do with it
    assembly.py  puts the services together on a world: their tree, what each is given of the others
    daemon.py    the life of a daemon: signals, reload, drain, exit codes
    cli/         the commands, what they print; what is made of them and the keys: reference, manual page, example
    __main__.py  python -m portsyncd
    testing/     shipped fakes, builders and stands: links, Redis, orchagent, a whole world, the daemon as a process

An event's way: the kernel sends a datagram; ``backends.netlink`` reads as many as there are; ``wire.netlink`` decodes
them; the reader applies them to ``model.links`` and puts what they mean into the mailbox, which keeps one entry a
port; the writer takes them all, asks ``model.sync``, and has ``backends.redis`` write. When the kernel says that
something was lost, or Redis was away, nothing is assumed: the links are read anew and compared with what Redis holds.
"""

__version__ = "0.1.0"
