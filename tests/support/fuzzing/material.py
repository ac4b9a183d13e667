"""What was truly signed: the answers that are mutated, and the ledger of every state that a reader may rightly end with."""

import base64
import contextlib
import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils

from kinto_signer.core import signature
from kinto_signer.core.chain import load_chain
from kinto_signer.core.changeset import Changeset
from kinto_signer.core.freshness import DAY_MS, Rules
from kinto_signer.core.public_key import PublicKey
from kinto_signer.core.trust import PinnedRoot, Trust
from tests.support.certificates import DAY, LEAF_END, START, Pki, issue, make_pki
from tests.support.statements import stated
from tests.support.states import NAME, make_records, signed_state, since, tombstone_of, trust_in

OTHER_NAME = "main/countries"
X5U = "https://chains.example/signer.chain"
MOZILLA = PinnedRoot(
    bytes.fromhex("C8A80E9AFAEF4E219B6FB5D7A71D0F101223BAC5001AC28F9B0D43DC59A106DB"),
    "remote-settings.content-signature.mozilla.org",
)
DETERMINISTIC = ec.ECDSA(utils.Prehashed(hashes.SHA384()), deterministic_signing=True)
NOW_S = START + 40 * DAY


@dataclass(frozen=True)
class Published:
    """One state that a signer published: what a reader of `name` may end with, from `begins` to `ends` (epoch seconds)."""

    name: str
    state: Changeset
    keys: frozenset[str]
    begins: float = 0
    ends: float = float("inf")


@dataclass(frozen=True)
class Original:
    """An answer to mutate, and the reader that gets it.

    body: the JSON of a changeset. held: the state that the reader has. now_s: its clock. hopeless: not even the answer itself is
    to be accepted (its time is over, say).
    """

    label: str
    name: str
    body: bytes
    trust: Trust
    now_s: int
    rules: Rules = field(default_factory=Rules)
    held: Changeset | None = None
    since: int = 0
    hopeless: bool = False
    weight: int = 6


@dataclass(frozen=True)
class Material:
    """originals: to mutate. ledger: all that was signed by keys that are trusted somewhere. enemy: what the attacker has."""

    originals: tuple[Original, ...]
    ledger: tuple[Published, ...]
    enemy: "Enemy"
    bodies: tuple[Any, ...] = field(repr=False, default=())
    """The originals' JSON values, to take pieces from."""


@dataclass(frozen=True)
class Enemy:
    """A key and a chain of the attacker's own, which nobody trusts."""

    key: ec.EllipticCurvePrivateKey
    pki: Pki


def key_of(number: int) -> ec.EllipticCurvePrivateKey:
    """A key that is the same in every run."""
    secret = int.from_bytes(hashlib.sha384(b"kinto-signer fuzz %d" % number).digest(), "big") >> 1
    return ec.derive_private_key(secret % (signature.P384_ORDER - 1) + 1, ec.SECP384R1())


@contextlib.contextmanager
def same_signatures() -> Iterator[None]:
    """Within it, signing the same bytes gives the same signature."""
    with patch.object(signature, "PREHASHED", DETERMINISTIC):
        yield


def make_material(shared: Path | None) -> Material:
    """shared: the folder with Mozilla's published states; without it those are missing."""
    with same_signatures():
        enemy = Enemy(key_of(9), steady_pki(900))
        own, ledger = _own_originals()
        theirs, their_ledger = _mozilla(shared) if shared else ([], [])
    originals = (*own, *theirs)
    return Material(originals, (*ledger, *their_ledger), enemy, tuple(json.loads(one.body) for one in originals))


def body_of(state: Changeset) -> bytes:
    """As a server answers."""
    said = {"metadata": state.metadata, "timestamp": state.timestamp, "changes": list(state.changes)}
    return json.dumps(said, ensure_ascii=False).encode("utf-8")


def steady_pki(number: int, **leaf: Any) -> Pki:
    keys = [key_of(number + step) for step in range(3)]
    root = issue("Example Root", key=keys[0], serial=number + 1)
    middle = {"key": keys[1], "serial": number + 2}
    return make_pki(root_issued=root, intermediate=middle, leaf={"key": keys[2], "serial": number + 3, **leaf})


def _own_originals() -> tuple[list[Original], list[Published]]:
    key, pki = key_of(1), steady_pki(100)
    start = NOW_S * 1000 - DAY_MS
    stamps = {"schema": {"type": "object", "title": "Žižkov"}, "displayFields": ["text"], "sort": "-id", "flags": ["startup"]}
    first = make_records(3, start=start)
    second = [tombstone_of(first[0]["id"], start + 10), {**first[1], "text": "altered", "last_modified": start + 11}]
    second += [first[2], *make_records(1, first=7, start=start + 20)]
    floats = [{"id": "f", "last_modified": start + 30, "price": 0.1, "big": 1e21, "small": -1.5e-7, "int": 10, "yes": True}]

    def state(signing: Any, changes: Any, *, with_statement: bool, number: int, **attributes: Any) -> Changeset:
        made = signed_state(signing, changes, **attributes)
        return stated(signing, made, now=start + 60_000 + number, expires=start + 20 * DAY_MS) if with_statement else made

    old, new = (state(key, changes, with_statement=True, number=n, **stamps) for n, changes in enumerate((first, second)))
    plain_old, plain_new = (state(key, changes, with_statement=False, number=0) for changes in (first, second))
    float_state = state(key, floats, with_statement=False, number=0)
    theirs = signed_state(key, make_records(2, first=40, start=start))
    other = stated(key, theirs, now=start + 60_000, collection="countries")
    chained = _chained(pki, second, start, stamps)
    twice = _by_two(key, key_of(2), second)
    window = {"begins": start / 1000 + 60 - 86_400, "ends": start / 1000 + 20 * 86_400}
    known = frozenset({PublicKey(key.public_key()).fingerprint})
    leaf = frozenset({PublicKey(pki.leaf.key.public_key()).fingerprint})
    both = known | {PublicKey(key_of(2).public_key()).fingerprint}
    ledger = [Published(NAME, one, known, **window) for one in (old, new)]
    ledger += [Published(NAME, one, known) for one in (plain_old, plain_new, float_state)]
    ledger += [Published(OTHER_NAME, other, known, **window), Published(NAME, twice, both)]
    ledger += [Published(NAME, one, leaf, **(window | {"begins": START})) for one in (chained,)]
    ledger += [Published(NAME, _without_statement(chained), leaf, START, LEAF_END)]
    trust, required = trust_in(key), Rules(required=True)
    rooted, digest = Trust(roots=(pki.pinned,)), Trust(key_digests=(PublicKey(key.public_key()).sha256,))
    late = int(start / 1000 + 21 * 86_400)
    originals = [
        Original("statement", NAME, body_of(new), trust, NOW_S, required, weight=16),
        Original("statement, older one held", NAME, body_of(new), trust, NOW_S, held=old),
        Original(
            "difference with a statement", NAME, body_of(since(new, old.timestamp)), trust, NOW_S, required, old, old.timestamp
        ),
        Original(
            "difference",
            NAME,
            body_of(since(plain_new, plain_old.timestamp)),
            trust,
            NOW_S,
            Rules(),
            plain_old,
            plain_old.timestamp,
        ),
        Original("classic signature", NAME, body_of(plain_new), trust, NOW_S, weight=12),
        Original("an older state than held", NAME, body_of(old), trust, NOW_S, held=new, hopeless=True, weight=1),
        Original(
            "an older state than held, classic", NAME, body_of(plain_old), trust, NOW_S, held=plain_new, hopeless=True, weight=1
        ),
        Original("floats", NAME, body_of(float_state), trust, NOW_S, weight=5),
        Original(
            "another collection's state under this name", NAME, body_of(other), trust, NOW_S, required, hopeless=True, weight=2
        ),
        Original("chain with a statement", NAME, body_of(chained), rooted, NOW_S, required, weight=16),
        Original("chain", NAME, body_of(_without_statement(chained)), rooted, NOW_S, weight=12),
        Original("chain that ended", NAME, body_of(_without_statement(chained)), rooted, LEAF_END + 1, hopeless=True, weight=1),
        Original("chain to begin", NAME, body_of(_without_statement(chained)), rooted, START - 1, hopeless=True, weight=1),
        Original("statement that ended", NAME, body_of(new), trust, late, required, hopeless=True, weight=2),
        Original("two signatures", NAME, body_of(twice), trust_in(key_of(2)), NOW_S),
        Original("key by its digest", NAME, body_of(plain_new), digest, NOW_S),
    ]
    return originals, ledger


def _chained(pki: Pki, changes: list[dict[str, Any]], start: int, attributes: dict[str, Any]) -> Changeset:
    """A state with a statement, both signed below a root, and the chain carried along."""
    made = stated(
        pki.leaf.key, signed_state(pki.leaf.key, changes, **attributes), now=start + 60_000, expires=start + 20 * DAY_MS
    )
    entry = {**made.metadata["signature"], "x5u": X5U}
    publication = made.metadata["publication"]
    sealed = {**publication, "signatures": [{**publication["signatures"][0], "x5u": X5U}]}
    shown = {"signature": entry, "signatures": [entry], "publication": sealed, "chains": {X5U: pki.pem.decode()}}
    return dataclasses.replace(made, metadata={**made.metadata, **shown})


def _by_two(key: Any, second: Any, changes: list[dict[str, Any]]) -> Changeset:
    one, two = signed_state(key, changes), signed_state(second, changes)
    both = [one.metadata["signature"], two.metadata["signature"]]
    return dataclasses.replace(one, metadata={**one.metadata, "signatures": both, "hash": one.digests().hash})


def _without_statement(state: Changeset) -> Changeset:
    return dataclasses.replace(state, metadata={k: v for k, v in state.metadata.items() if k not in ("publication", "hash")})


def _mozilla(shared: Path) -> tuple[list[Original], list[Published]]:
    """Published states with their chains, 40 days after these began."""
    originals, ledger = [], []
    for file in sorted((shared / "vectors" / "signatures").glob("*.json")):
        said = json.loads(file.read_text(encoding="utf-8"))
        name = f"{said['bucket']}/{said['collection']}"
        for entry in said["signatures"][:1]:
            pem = (shared / "vectors" / "chains" / entry["chain_file"].rpartition("/")[2]).read_bytes()
            leaf = load_chain(pem)[0]
            begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
            known = frozenset({PublicKey(leaf.public_key()).fingerprint})  # type: ignore[arg-type]
            metadata = {"bucket": said["bucket"], "id": said["collection"], "signatures": [entry], "signature": entry}
            state = Changeset(said["timestamp"], said["data"], {**metadata, "chains": {entry["x5u"]: pem.decode()}})
            ledger.append(Published(name, state, known, begins, ends))
            weight = 2 if len(state.changes) > 10 else 8
            now_s = int(begins) + 40 * DAY
            originals.append(Original(f"Mozilla's {name}", name, body_of(state), Trust(roots=(MOZILLA,)), now_s, weight=weight))
    return originals, ledger


def public_text(key: ec.EllipticCurvePrivateKey) -> str:
    return base64.b64encode(PublicKey(key.public_key()).der).decode("ascii")
