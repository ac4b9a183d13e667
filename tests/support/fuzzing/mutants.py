"""A mutant from a seed and a number: which answer, which edits, how it is written down, through which door it comes."""

import copy
import json
import random
from dataclasses import dataclass
from typing import Any

from tests.support.fuzzing.certificates import chains_of, mutate_chain
from tests.support.fuzzing.material import Material, Original, same_signatures
from tests.support.fuzzing.signatures import mutate_signature, mutate_statement, publication_of, repair_hash, sign_by_enemy
from tests.support.fuzzing.texts import Writer, mutate_bytes
from tests.support.fuzzing.values import mix, mutate_attributes, mutate_records, mutate_value

CHANGESET, PLAIN, FILE = "changeset", "plain Kinto", "saved file"

UNFIT = (ValueError, TypeError, LookupError, AttributeError, OverflowError)
"""What an edit raises that finds the ruins of the edits before it."""


@dataclass(frozen=True)
class Mutant:
    """door: how the answer reaches the reader. bodies: the bytes, by what is asked for; etag: of the records of a plain Kinto."""

    number: int
    original: Original
    edits: tuple[str, ...]
    door: str
    bodies: dict[str, bytes]
    etag: str = ""


def make_mutant(material: Material, seed: int | str, number: int) -> Mutant:
    """The mutant of that number; always the same one."""
    rng = random.Random(f"{seed}:{number}")
    original = rng.choices(material.originals, [one.weight for one in material.originals])[0]
    others = rng.choice(material.bodies)
    if rng.random() < 0.1:
        return _by_bytes(rng, material, number, original)
    answer = json.loads(original.body)
    edits = [_edit(rng, answer, others, material) for _ in range(rng.choice((1, 1, 1, 1, 2, 3)))]
    if rng.random() < 0.9:
        repair_hash(answer)
    if rng.random() < 0.04:
        with same_signatures():
            edits.append(sign_by_enemy(rng, answer, material.enemy))
    return _written(rng, number, original, tuple(edits), answer)


def _edit(rng: random.Random, answer: Any, others: Any, material: Material) -> str:
    if not isinstance(answer, dict):
        return "nothing"
    edits = {
        "records": (50, lambda: mutate_records(rng, answer, others)),
        "signature": (16, lambda: mutate_signature(rng, answer, others)),
        "statement": (26 if publication_of(answer) else 0, lambda: mutate_statement(rng, answer, others)),
        "chain": (10 if chains_of(answer) else 0, lambda: mutate_chain(rng, answer, others, material.enemy)),
        "attributes": (5, lambda: mutate_attributes(rng, answer, others)),
        "mix": (3, lambda: mix(rng, answer, others)),
        "anything": (3, lambda: "anything: " + mutate_value(rng, answer, others)),
    }
    chosen = rng.choices(list(edits.values()), [weight for weight, _ in edits.values()])[0]
    try:
        return chosen[1]()
    except UNFIT:
        return "nothing"


def _by_bytes(rng: random.Random, material: Material, number: int, original: Original) -> Mutant:
    body, edits = original.body, []
    other = rng.choice(material.originals).body
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        what, body = mutate_bytes(rng, body, other)
        edits.append(f"bytes: {what}")
    door = FILE if original.held is None and rng.random() < 0.1 else CHANGESET
    return Mutant(number, original, tuple(edits), door, {door: body})


def _written(rng: random.Random, number: int, original: Original, edits: tuple[str, ...], answer: Any) -> Mutant:
    writer = Writer(rng, double=rng.random() < 0.02)
    pick = rng.random()
    parts = isinstance(answer, dict) and not original.since
    if pick < 0.1 and parts:
        bodies = {
            "collection": writer.write({"data": answer.get("metadata")}),
            "records": writer.write({"data": answer.get("changes")}),
        }
        return Mutant(number, original, edits, PLAIN, bodies, f'"{answer.get("timestamp")}"'[:30])
    door = FILE if pick < 0.2 and original.held is None else CHANGESET
    if door == FILE and rng.random() < 0.5:
        answer = _as_saved(answer)
    body = writer.write(answer)
    if rng.random() < 0.02:
        what, body = mutate_bytes(rng, body, original.body)
        edits = (*edits, f"bytes: {what}")
    return Mutant(number, original, edits, door, {door: body})


def _as_saved(answer: Any) -> Any:
    """The shape of a published vector: what the metadata say stands at the top."""
    metadata = answer.get("metadata") if isinstance(answer, dict) else None
    if not isinstance(metadata, dict):
        return answer
    top = {name: metadata[name] for name in ("signature", "signatures", "hash", "bucket", "chains") if name in metadata}
    rest = {name: value for name, value in metadata.items() if name not in top}
    return copy.deepcopy({**top, "metadata": rest, "data": answer.get("changes"), "timestamp": answer.get("timestamp")})
