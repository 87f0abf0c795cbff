"""A memory of how link messages are laid out, so that one of a known shape need not be walked.

A message has some forty attributes, of which six are wanted. Messages of one link, and of links alike, differ in values
only: where every attribute header is what it was in an earlier message of the same length, every value lies where it lay
then. Two calls of ``struct`` read all headers and all wanted values in a third of the time that a walk takes. What is
recalled is always what a walk would find; the memory changes nothing but the time.
"""

from collections.abc import Collection, Mapping
from struct import Struct
from typing import Any, Final, NamedTuple

_HEADER = Struct("=HH")
_TYPE_MASK = 0x3FFF
_MOST_SHAPES: Final = 256


class Shape(NamedTuple):
    """headers: unpacks every attribute header as one number; expected: these numbers; values: unpacks what ``tags``
    names, in that order."""

    headers: Struct
    expected: tuple[int, ...]
    values: Struct
    tags: tuple[int, ...]


class ShapeMemory:
    """numbers, texts: tags of the attributes that are wanted, as 32-bit numbers and as bytes; nested: by the tag of an
    attribute the tag within it that is wanted, as bytes, and is to be the first there."""

    def __init__(self, *, numbers: Collection[int], texts: Collection[int], nested: Mapping[int, int]) -> None:
        self._numbers = frozenset(numbers)
        self._texts = frozenset(texts)
        self._nested = nested
        # By length of all attributes and the first header; a name of another length makes another shape.
        self._shapes: dict[tuple[int, bytes], Shape] = {}

    def __len__(self) -> int:
        return len(self._shapes)

    def recall(self, data: bytes, start: int, end: int) -> dict[int, Any] | None:
        """The wanted values of the attributes between ``start`` and ``end``, by tag; None for an unknown shape."""
        shape = self._shapes.get((end - start, data[start : start + 4]))
        if shape is None or shape.headers.unpack_from(data, start) != shape.expected:
            return None
        return dict(zip(shape.tags, shape.values.unpack_from(data, start), strict=True))

    def remember(self, data: bytes, start: int, end: int) -> None:
        """Remember the shape of attributes that have been walked without error. One whose wanted attributes occur twice,
        or that is odd otherwise, is not remembered: it will be walked each time."""
        headers = values = "="
        tags: list[int] = []
        at = start
        while end - at >= _HEADER.size:
            length, tag = _HEADER.unpack_from(data, at)
            tag &= _TYPE_MASK
            step = min((length + 3) & ~3, end - at)
            checked, wanted = 4, True
            if tag in self._numbers:
                values += f"4xI{step - 8}x"
            elif tag in self._texts:
                values += f"4x{length - 4}s{step - length}x"
            elif tag in self._nested and length >= 8:
                inner, inner_tag = _HEADER.unpack_from(data, at + 4)
                if inner_tag & _TYPE_MASK != self._nested[tag]:
                    return
                checked = 8
                values += f"8x{inner - 4}s{step - inner - 4}x"
            else:
                values += f"{step}x"
                wanted = False
            if wanted:
                tags.append(tag)
            headers += f"{'I' * (checked // 4)}{step - checked}x"
            at += step
        if len(set(tags)) < len(tags):
            return
        if len(self._shapes) >= _MOST_SHAPES:
            self._shapes.clear()
        packed = Struct(headers)
        self._shapes[end - start, data[start : start + 4]] = Shape(
            packed, packed.unpack_from(data, start), Struct(values), tuple(tags)
        )
