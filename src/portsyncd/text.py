"""Text of others, made fit for a log and a terminal."""


def escape(text: str, *, quote: bool = False) -> str:
    """Make text fit for one line: names come from the kernel, from Redis and from files, and may hold anything. What cannot be
    seen (newlines, escape sequences, marks that turn text round) is written as Python writes it.

    quote: for a place between double quotes.
    """
    if quote:
        text = text.replace("\\", "\\\\").replace('"', '\\"')
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
