"""Pages of docs/ as the tests read them: code blocks, commands, links; and the lines that the code logs."""

import ast
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.ops.rules import ROOT

DOCS: Final = ROOT / "docs"
SOURCES: Final = ROOT / "src" / "portsyncd"

_BLOCK: Final = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
_SEPARATORS: Final = frozenset({"|", "||", "&&", ";", ";;", "&", "do", "done", "(", ")"})


@dataclass(frozen=True)
class Page:
    """path: of the file. blocks: its code blocks, as (language, content), in their order. prose: the text without them."""

    path: Path
    text: str = field(init=False)
    prose: str = field(init=False)
    blocks: list[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        text = self.path.read_text("utf-8")
        blocks = [
            (language, re.sub(rf"^{indent}", "", content, flags=re.MULTILINE))
            for indent, language, content in _BLOCK.findall(text)
        ]
        for name, value in (("text", text), ("blocks", blocks), ("prose", _BLOCK.sub("", text))):
            object.__setattr__(self, name, value)

    def code(self, *languages: str) -> list[str]:
        """The blocks of these languages."""
        return [content for language, content in self.blocks if language in languages]

    def section(self, heading: str) -> str:
        """The prose below a heading, down to the next one of its level or above."""
        level = heading.split(" ", 1)[0]
        _, found, after = self.prose.partition(f"\n{heading}\n")
        assert found, heading
        return re.split(rf"^#{{1,{len(level)}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]

    def anchors(self) -> set[str]:
        """What a link to this page can name after its ``#``, as GitHub makes it of headings."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def links(self) -> Iterator[tuple[Path, str]]:
        """The file (this page's own, where none is named) and the anchor of each link; without those to elsewhere."""
        for target in re.findall(r"\]\(([^)\s]+)\)", self.prose):
            if "://" not in target:
                file, _, anchor = target.partition("#")
                yield (self.path.parent / file if file else self.path).resolve(), anchor

    def commands(self) -> Iterator[list[str]]:
        """Each simple command of the shell blocks, and those of ours within the text, as words."""
        inline = re.findall(r"`(portsyncd [^`]+)`", self.prose)
        for text in (*self.code("sh"), *inline):
            lexer = shlex.shlex(text.replace("\\\n", " ").replace("\n", " ; "), posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            lexer.commenters = ""
            words: list[str] = []
            for word in (*_without_comments(text, lexer), ";"):
                if word not in _SEPARATORS:
                    words.append(word)
                elif words:
                    yield words
                    words = []


def _without_comments(text: str, lexer: shlex.shlex) -> Iterator[str]:
    comment = False
    for word in lexer:
        comment = (comment or word.startswith("#")) and word != ";"
        if not comment:
            yield word


def as_rules(queries: list[str]) -> str:
    """A file of rules that records these queries: promtool parses expressions only there."""
    entries = [
        f"  - record: query{number}\n    expr: |\n" + "".join(f"      {line}\n" for line in query.splitlines())
        for number, query in enumerate(queries)
    ]
    return "groups:\n- name: queries\n  rules:\n" + "".join(entries)


@dataclass(frozen=True)
class Message:
    """A line that the code logs. text: with ``*`` for what is put in. urgent: it may be a warning or an error."""

    text: str
    urgent: bool

    def matches(self, line: str) -> bool:
        """Whether ``line`` can be this message."""
        return re.fullmatch(".+".join(map(re.escape, self.text.split("*"))), line) is not None


def messages() -> list[Message]:
    """Every message that the daemon logs: the first argument of each call of a logger, and the remark on a start."""
    found = []
    for path in sorted(SOURCES.rglob("*.py")):
        if not {"testing", "demo"} & set(path.parts):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                found += list(_messages(node))
    return found


def _messages(node: ast.AST) -> Iterator[Message]:
    match node:
        case ast.Call(func=function, args=[first, *_]):
            called = ast.unparse(function)
            # The level may be chosen: (log.info if ... else log.warning)(...), or a variable.
            if called in ("log", "say") or re.search(r"log(ger\(\))?\.(debug|info|notice|warning|error)\b", called):
                urgent = called in ("log", "say") or "warning" in called or "error" in called
                yield from (Message(text, urgent) for text in _texts(first))
        case ast.keyword(arg="remark", value=value) | ast.Assign(targets=[ast.Name("remark")], value=value):
            yield from (Message(text, urgent=True) for text in _texts(value) if text)


def _texts(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(str(text)):
            yield text
        case ast.IfExp(_, one, other):
            yield from _texts(one)
            yield from _texts(other)
        case ast.JoinedStr(parts):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts)
