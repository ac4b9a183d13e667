"""Mutations of JSON values: of the whole answer, of its records, of a collection's attributes."""

import copy
import random
import unicodedata
from collections.abc import Callable
from typing import Any

Place = tuple[Any, Any]
"""A container, and a key or an index in it."""

ODD: list[Any] = [None, True, False, 0, 1, -1, 1.0, -0.0, 0.1, 1e300, float("nan"), 2**53, 2**63, 2**64, -(2**63) - 1, 10**400]
ODD += ["", "0", "1", "x", "\x00", "\x7f", "\ud800", "é", "e\u0301", "\u2028", [], {}, [[]], {"": {}}, [None], "a" * 3000]
TIMES = (0, 1, -1, 1000, -1000, 86_400_000, -86_400_000, 10**12, 2**53)


def places(value: Any) -> list[Place]:
    """Every place below `value`, in document order."""
    found: list[Place] = []
    stack = [value]
    while stack:
        item = stack.pop()
        keys = list(item) if isinstance(item, dict) else range(len(item)) if isinstance(item, list) else ()
        for key in keys:
            found.append((item, key))
            stack.append(item[key])
    return found


def mutate_value(rng: random.Random, value: Any, pieces: Any) -> str:
    """One edit of one place below `value`; pieces: another value to take from."""
    every = places(value)
    if not every:
        return "nothing"
    container, key = rng.choice(every)
    edit = rng.choice(EDITS)
    edit(rng, container, key, pieces)
    return edit.__name__.strip("_")


def _odd(rng: random.Random, container: Any, key: Any, _pieces: Any) -> None:
    container[key] = copy.deepcopy(rng.choice(ODD))


def _tweak(rng: random.Random, container: Any, key: Any, _pieces: Any) -> None:
    container[key] = tweak(rng, container[key])


def tweak(rng: random.Random, said: Any) -> Any:
    """Something of the same kind, and only a little different."""
    if isinstance(said, bool):
        return rng.choice((not said, int(said), str(said).lower()))
    if isinstance(said, int):
        return rng.choice((said + rng.choice(TIMES), float(said) if abs(said) < 2**53 else -said, str(said), -said, said * 10))
    if isinstance(said, float):
        return rng.choice((said + 1, -said, said * (1 + 2**-52), int(said) if abs(said) < 1e30 else 0, str(said)))
    if isinstance(said, str):
        return _other_text(rng, said)
    if isinstance(said, list) and said:
        return rng.choice(
            (said[::-1], said[1:], [*said, said[0]], [said], [*said, None], {str(n): v for n, v in enumerate(said)})
        )
    if isinstance(said, dict) and said:
        return rng.choice((dict(list(said.items())[1:]), {**said, "": 1}, [said], list(said.items()), {"deleted": True, **said}))
    return rng.choice(ODD)


def mild(rng: random.Random, said: Any) -> Any:
    """Something else that may stand there: of the same kind, and with a canonical form."""
    if isinstance(said, bool) or said is None:
        return rng.choice((True, False, None, 0, 1, ""))
    if isinstance(said, int):
        return rng.choice((said + 1, said - 1 if said > 1 else 2, said + 1000, said ^ 1 << rng.randrange(20)))
    if isinstance(said, float):
        return rng.choice((said + 1, -said, said * (1 + 2**-52)))
    if isinstance(said, str):
        at = rng.randrange(len(said) + 1)
        inserted = said[:at] + rng.choice("aZ0 -_.\x7f\u00e9\u200b\u2028😀") + said[at:]
        return rng.choice(
            (
                inserted,
                inserted,
                said[:at] + said[at + 1 :] or "x",
                said + " ",
                said[::-1] or "y",
                unicodedata.normalize("NFD", said),
            )
        )
    if isinstance(said, list):
        return rng.choice((said[::-1], said[1:], [*said, 0], [*said, *said]))
    return {**said, "more": 1} if rng.random() < 0.5 else {key: said[key] for key in list(said)[1:]}


def _other_text(rng: random.Random, text: str) -> str:
    at = rng.randrange(len(text) + 1)
    kind = rng.choice(("NFC", "NFD", "NFKC"))
    return rng.choice(
        (
            text[:at] + rng.choice("aZ0 -_.\x00\x7f\u00e9\u200b\u2028😀\ud800") + text[at:],
            text[:at] + text[at + 1 :],
            text[:at] + chr(ord(text[at - 1]) ^ 1) + text[at + 1 :] if text else "x",
            unicodedata.normalize(kind, text),
            text.swapcase(),
            text.strip(),
            text + " ",
            text[::-1],
        )
    )


def _remove(_rng: random.Random, container: Any, key: Any, _pieces: Any) -> None:
    del container[key]


def _double(rng: random.Random, container: Any, key: Any, _pieces: Any) -> None:
    said = copy.deepcopy(container[key])
    if isinstance(container, list):
        container.insert(rng.randrange(len(container) + 1), said)
    else:
        container[f"{key}{rng.choice(('2', ' ', 's', chr(0)))}"] = said


def _rename(rng: random.Random, container: Any, key: Any, _pieces: Any) -> None:
    if isinstance(container, dict):
        container[_other_text(rng, key)] = container.pop(key)
    else:
        container.append(container.pop(key))


def _swap(rng: random.Random, container: Any, key: Any, _pieces: Any) -> None:
    other = rng.choice(list(container) if isinstance(container, dict) else range(len(container)))
    container[key], container[other] = container[other], container[key]


def _from_elsewhere(rng: random.Random, container: Any, key: Any, pieces: Any) -> None:
    there = places(pieces)
    alike = [place for place in there if place[1] == key] or there
    holder, at = rng.choice(alike)
    container[key] = copy.deepcopy(holder[at])


def _deepen(rng: random.Random, container: Any, key: Any, _pieces: Any) -> None:
    said = container[key]
    for _ in range(rng.choice((1, 3, 60, 62, 64, 66, 70, 120))):
        said = [said] if rng.random() < 0.5 else {"d": said}
    container[key] = said


def _retype(rng: random.Random, container: Any, key: Any, _pieces: Any) -> None:
    said = container[key]
    container[key] = rng.choice(([said], {"value": said}, str(said), None, [said, said]))


EDITS: tuple[Callable[[random.Random, Any, Any, Any], None], ...]
EDITS = (_odd, _tweak, _tweak, _tweak, _remove, _double, _rename, _swap, _from_elsewhere, _from_elsewhere, _deepen, _retype)


# --- records ---------------------------------------------------------------------------------------------------------------


def mutate_records(rng: random.Random, answer: dict[str, Any], pieces: Any) -> str:
    """An edit of the records such that they mostly keep their shape, and what is signed decides."""
    changes = answer.get("changes")
    if not isinstance(changes, list) or not changes or not all(isinstance(change, dict) for change in changes):
        return "no records"
    live = [change for change in changes if change.get("deleted") is not True]
    record = rng.choice(live if live and rng.random() < 0.9 else changes)
    other = mild if rng.random() < 0.8 else tweak
    what = rng.choice((*("field",) * 6, "add", "drop", "id", "time", "tombstone", "alive", "timestamp", "elsewhere", "order"))
    if what == "field":
        inner = [
            place for place in places(record) if place[0] is not record or place[1] not in ("id", "last_modified", "deleted")
        ]
        container, key = rng.choice(inner) if inner else (record, "more")
        container[key] = other(rng, container.get(key) if isinstance(container, dict) else container[key])
    elif what == "add":
        changes.append({**copy.deepcopy(record), "id": f"new-{rng.randrange(99)}"})
    elif what == "drop":
        changes.remove(record)
    elif what == "id":
        record["id"] = other(rng, record.get("id"))
    elif what == "time":
        record["last_modified"] = other(rng, record.get("last_modified"))
    elif what == "tombstone":
        record["deleted"] = rng.choice((True, True, True, True, False, 1, "true"))
    elif what == "alive":
        record.pop("deleted", None)
        record["more"] = rng.choice((None, True, 0, 1, "x", {}, [], rng.choice(ODD)))
    elif what == "timestamp":
        answer["timestamp"] = other(rng, answer.get("timestamp"))
    elif what == "elsewhere":
        theirs = pieces.get("changes") if isinstance(pieces, dict) else None
        changes[changes.index(record)] = copy.deepcopy(rng.choice(theirs)) if theirs else {}
    else:
        rng.shuffle(changes)
    return f"record: {what}"


def mutate_attributes(rng: random.Random, answer: dict[str, Any], pieces: Any) -> str:
    """An edit of one of the collection's attributes, at whatever depth."""
    metadata = answer.get("metadata")
    if not isinstance(metadata, dict) or not metadata:
        return "no attributes"
    pick = rng.random()
    if pick < 0.2:
        metadata[rng.choice(("uiSchema", "more", "ID", "expires", "schema2"))] = copy.deepcopy(rng.choice(ODD))
        return "attribute: new"
    shown = sorted({"schema", "displayFields", "sort", "flags"} & set(metadata))
    if pick < 0.6 and shown:
        name = rng.choice(shown)
        metadata[name] = mild(rng, metadata[name])
        return "attribute: covered"
    return "attribute: " + mutate_value(rng, metadata, pieces)


def mix(rng: random.Random, answer: dict[str, Any], pieces: Any) -> str:
    """One state's parts with another's: what every mix-and-match attack is."""
    if (
        not isinstance(pieces, dict)
        or not isinstance(answer.get("metadata"), dict)
        or not isinstance(pieces.get("metadata"), dict)
    ):
        return "nothing to mix"
    what = rng.choice(("changes", "metadata", "timestamp", "publication", "signature", "chains", "named"))
    if what in ("changes", "metadata", "timestamp"):
        answer[what] = copy.deepcopy(pieces.get(what))
    elif what == "named":  # everything of the other one, under the name that was asked for
        named = {name: answer["metadata"][name] for name in ("bucket", "id") if name in answer["metadata"]}
        answer.clear()
        answer.update(copy.deepcopy(pieces))
        for name in ("bucket", "id"):
            answer["metadata"].pop(name, None)
        answer["metadata"].update(named)
    else:
        for name in ("signature", "signatures") if what == "signature" else (what,):
            if name in pieces["metadata"]:
                answer["metadata"][name] = copy.deepcopy(pieces["metadata"][name])
            else:
                answer["metadata"].pop(name, None)
    return f"mixed: {what}"
