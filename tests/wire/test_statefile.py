"""The form of a kept document: what comes back, and that whatever else stands there is one of our errors."""

import json
import math
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portsyncd.errors import DecodeError
from portsyncd.wire.statefile import Envelope, Flaw, FlawedError, age_flaw, decode, encode

KIND = "port state"
VERSION = 3
BOOT = "b7f1d3a6-0c65-4a0c-9a3e-0f6d8f9f2c11"
# What a name can hold: also bytes that are no UTF-8, as the kernel's names have them (U+DC80 to U+DCFF).
NAMES = st.text(st.characters(exclude_categories=["Cs"]) | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | NAMES,
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=20,
)
ENVELOPES = st.builds(
    Envelope,
    saved_at=st.floats(0, 4e9),
    boot_id=NAMES,
    network_namespace=st.integers(0, 2**64 - 1),
    content=st.dictionaries(NAMES, VALUES),
)
SAVED = Envelope(1_763_000_000.25, BOOT, 4026531840, {"ports": {"Ethernet\udcff0": {"published": ["ok", "up"]}}})
RAW = encode(KIND, VERSION, SAVED)


def flaw_of(raw: bytes, kind: str = KIND, version: int = VERSION) -> Flaw:
    with pytest.raises(FlawedError) as caught:
        decode(raw, kind, version)
    assert isinstance(caught.value, DecodeError)
    assert str(caught.value.flaw) in str(caught.value)
    return caught.value.flaw


def signed(rest: str) -> bytes:
    """A document with a right digest, whatever the rest of it is."""
    raw = rest.encode() + b"}\n"
    return b'{"sha256":"' + sha256(raw).hexdigest().encode() + b'",' + raw


def document(**changes: object) -> bytes:
    """What ``encode`` makes of ``SAVED``, but with these members; None: without."""
    members = json.loads(RAW) | changes
    del members["sha256"]
    return signed(json.dumps({key: value for key, value in members.items() if value is not None})[1:-1])


# ---- what comes back


@pytest.mark.unmeasured
@given(ENVELOPES)
def test_what_is_encoded_is_decoded(envelope: Envelope) -> None:
    assert decode(encode(KIND, VERSION, envelope), KIND, VERSION) == envelope


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 512, 513, 1000])
def test_a_large_object_is_put_together_from_slices(size: int) -> None:
    content: dict[str, Any] = {
        "before": 1,
        "ports": {f"Ethernet{number}": [number] for number in range(size)},
        "after": {"small": None},
    }
    raw = encode(KIND, VERSION, Envelope(1.0, BOOT, 1, content))
    assert list(decode(raw, KIND, VERSION).content["ports"]) == list(content["ports"])
    assert decode(raw, KIND, VERSION).content == content
    # The order of members is what json would have written in one go.
    assert json.dumps(content, separators=(",", ":")).encode() in raw


def test_a_document_is_one_line_of_ascii_json_that_any_tool_can_read() -> None:
    assert RAW.isascii()
    assert RAW.count(b"\n") == 1
    assert RAW.endswith(b"}\n")
    digest = json.loads(RAW).pop("sha256")
    assert sha256(RAW[len('{"sha256":"",') + 64 :]).hexdigest() == digest
    assert {key: value for key, value in json.loads(RAW).items() if key != "sha256"} == {
        "kind": KIND,
        "version": VERSION,
        "saved_at": SAVED.saved_at,
        "boot_id": BOOT,
        "network_namespace": 4026531840,
        "content": SAVED.content,
    }


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [lambda x: {"a": x}, lambda x: {"a": {str(n): x for n in range(300)}}])
def test_what_is_no_number_is_refused(place: Callable[[float], dict[str, Any]], number: float) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(KIND, VERSION, Envelope(1.0, BOOT, 1, place(number)))
    with pytest.raises(ValueError, match="not JSON compliant"):
        encode(KIND, VERSION, Envelope(number, BOOT, 1, {}))


def test_what_json_has_no_form_for_is_refused() -> None:
    with pytest.raises(TypeError):
        encode(KIND, VERSION, Envelope(1.0, BOOT, 1, {"a": {1, 2}}))


def test_the_work_is_done_in_slices_with_a_pause_after_each() -> None:
    pauses: list[None] = []
    envelope = Envelope(1.0, BOOT, 1, {"ports": {str(number): number for number in range(1000)}, "awaited": {}})
    raw = encode(KIND, VERSION, envelope, lambda: pauses.append(None))
    assert raw == encode(KIND, VERSION, envelope)
    assert len(pauses) > 4


# ---- what does not


@pytest.mark.unmeasured
@given(ENVELOPES, st.data())
def test_a_document_that_ends_early_is_one_of_our_errors(envelope: Envelope, data: st.DataObject) -> None:
    raw = encode(KIND, VERSION, envelope)
    end = data.draw(st.integers(0, len(raw) - 1))
    assert flaw_of(raw[:end]) is (Flaw.TRUNCATED if end else Flaw.EMPTY)


@pytest.mark.unmeasured
@given(ENVELOPES, st.data())
def test_a_flipped_bit_is_damage(envelope: Envelope, data: st.DataObject) -> None:
    raw = bytearray(encode(KIND, VERSION, envelope))
    at = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[at // 8] ^= 1 << at % 8
    assert flaw_of(bytes(raw)).damage


def test_every_single_flipped_bit_and_every_prefix_of_one_document_is_damage() -> None:
    for at in range(len(RAW) * 8):
        raw = bytearray(RAW)
        raw[at // 8] ^= 1 << at % 8
        assert flaw_of(bytes(raw)).damage
    for end in range(len(RAW)):
        assert flaw_of(RAW[:end]).damage


@given(st.data())
def test_a_tail_of_zeros_is_a_document_that_ends_early(data: st.DataObject) -> None:
    end = data.draw(st.integers(1, len(RAW) - 1))
    assert flaw_of(RAW[:end] + bytes(len(RAW) - end)) is Flaw.TRUNCATED


@given(st.binary() | st.binary().map(lambda raw: raw + b"}\n") | st.text().map(signed))
def test_any_bytes_at_all_are_one_of_our_errors(raw: bytes) -> None:
    flaw_of(raw)


@pytest.mark.unmeasured
@given(st.dictionaries(st.sampled_from(list(json.loads(RAW))), VALUES))
def test_any_members_with_a_right_digest_are_a_document_or_one_of_our_errors(changes: dict[str, Any]) -> None:
    with suppress(FlawedError):
        assert isinstance(decode(document(**changes), KIND, VERSION), Envelope)


@pytest.mark.parametrize("raw", [b"", b"\0", bytes(4096)])
def test_nothing_or_a_hole_left_by_a_power_cut_is_empty(raw: bytes) -> None:
    assert flaw_of(raw) is Flaw.EMPTY


@pytest.mark.parametrize(
    "raw",
    [
        b"}\n",
        b"{}\n",
        b"[]}\n",
        b'{"port_state": {}, "version": 1}\n',
        RAW.replace(b'"sha256"', b'"SHA256"'),
        RAW.replace(b'{"sha256"', b'{ "sha256"'),
        RAW.replace(KIND.encode(), b"Port state"),
        RAW + b" }\n",
        b" " + RAW,
    ],
)
def test_what_was_changed_by_hand_is_corrupt(raw: bytes) -> None:
    assert flaw_of(raw) is Flaw.CORRUPT


@pytest.mark.parametrize(
    "raw",
    [
        signed(""),
        signed('"kind":'),
        signed('"content":' + "[" * 100_000 + "]" * 100_000),
        signed('"content":' + "[" * 100_000),
        signed(f'"network_namespace":{"9" * 5000}'),
        signed('"boot_id":"a\tb"'),
    ],
    ids=lambda raw: str(len(raw)),
)
def test_what_is_no_json_is_corrupt_whatever_its_digest(raw: bytes) -> None:
    assert flaw_of(raw) is Flaw.CORRUPT


@pytest.mark.parametrize(
    "changes",
    [
        {"saved_at": "yesterday"},
        {"saved_at": -1},
        {"saved_at": 10**400},
        {"saved_at": 1e300},
        {"saved_at": []},
        {"saved_at": None},
        {"saved_at": math.nan},
        {"boot_id": 7},
        {"boot_id": None},
        {"network_namespace": "net:[4026531840]"},
        {"network_namespace": 1.5},
        {"content": []},
        {"content": "text"},
        {"content": None},
        {"content": {"a": math.nan}},
        {"content": {"a": -math.inf}},
    ],
    ids=str,
)
def test_wrong_members_are_corrupt_whatever_their_digest(changes: dict[str, object]) -> None:
    assert decode(document(), KIND, VERSION) == SAVED
    assert flaw_of(document(**changes)) is Flaw.CORRUPT


def test_another_kind_or_version_is_foreign_and_only_when_it_is_sound() -> None:
    assert flaw_of(RAW, kind="counters") is Flaw.FOREIGN
    assert flaw_of(RAW, version=VERSION + 1) is Flaw.FOREIGN
    assert flaw_of(RAW.replace(b"Ethernet", b"ethernet"), version=VERSION + 1) is Flaw.CORRUPT
    assert flaw_of(document(version=VERSION + 1, content=None)) is Flaw.FOREIGN
    assert flaw_of(document(kind=None)) is Flaw.FOREIGN


# ---- age


@pytest.mark.parametrize(
    ("age", "flaw"),
    [
        (0.0, None),
        (100.0, None),
        (100.5, Flaw.TOO_OLD),
        (-60.0, None),
        (-60.5, Flaw.FUTURE),
    ],
)
def test_what_is_too_old_or_of_the_future_is_flawed(age: float, flaw: Flaw | None) -> None:
    assert age_flaw(SAVED, SAVED.saved_at + age, 100.0) is flaw


@pytest.mark.parametrize("age", [1e9, -1e9])
def test_without_a_limit_the_date_does_not_matter(age: float) -> None:
    assert age_flaw(SAVED, SAVED.saved_at + age, math.inf) is None


def test_age_is_no_damage() -> None:
    assert {flaw for flaw in Flaw if flaw.damage} == {Flaw.EMPTY, Flaw.TRUNCATED, Flaw.CORRUPT}
