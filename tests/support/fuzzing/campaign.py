"""Runs mutants one after the other, and counts what became of them."""

import base64
import contextlib
import json
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any
from unittest.mock import patch

from kinto_signer.cli.output import error_object
from kinto_signer.core import chain, signature
from kinto_signer.core.public_key import PublicKey
from kinto_signer.errors import ConfigurationError, KintoSignerError
from tests.support.fuzzing.doors import Reader
from tests.support.fuzzing.judging import Judge, stage
from tests.support.fuzzing.material import Material, Original
from tests.support.fuzzing.mutants import CHANGESET, Mutant, make_mutant

CASE_S = 10.0
"""Seconds of work that one mutant may take; an honest answer takes a few milliseconds. Who waits is found by `__main__`."""
KEPT_EVERY = 50
"""Of those that were accepted, every so manieth also goes through the cache on disk."""


class HangError(BaseException):
    """A mutant that took longer than CASE_S. No Exception, so that nothing on the way catches it."""


@dataclass
class Tally:
    """counts: of mutants by what became of them. refused: by stage and reason. edits: (edit, what became of it)."""

    counts: Counter[str] = field(default_factory=Counter)
    refused: Counter[tuple[str, str]] = field(default_factory=Counter)
    edits: Counter[tuple[str, str]] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        self.counts.update(other.counts)
        self.refused.update(other.refused)
        self.edits.update(other.edits)
        self.failures.extend(other.failures)

    def as_json(self) -> dict[str, Any]:
        pairs = {"refused": self.refused, "edits": self.edits}
        listed = {name: [[*key, count] for key, count in sorted(counter.items())] for name, counter in pairs.items()}
        return {"counts": dict(self.counts), **listed, "failures": self.failures}

    @classmethod
    def from_json(cls, said: dict[str, Any]) -> "Tally":
        counters = [Counter({(one, two): count for one, two, count in said[name]}) for name in ("refused", "edits")]
        return cls(Counter(said["counts"]), *counters, said["failures"])


class Checks:
    """Sees every check of a signature, and knows those that an honest answer leads to."""

    def __init__(self) -> None:
        self.honest: set[tuple[bytes, bytes, str]] = set()
        self.content: set[tuple[bytes, bytes, str]] = set()
        self.certificates: set[tuple[bytes, bytes, str]] = set()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        verifies, check_link = signature.verifies, chain._check_link

        def seen(key: Any, digest: bytes, text: Any) -> bool:
            self.content.add((PublicKey(key).der, digest, str(text)))
            return verifies(key, digest, text)

        def linked(issuer: Any, issued: Any) -> None:
            self.certificates.add((issuer.tbs_certificate_bytes, issued.tbs_certificate_bytes, issued.signature.hex()))
            check_link(issuer, issued)

        with patch.object(signature, "verifies", seen), patch.object(chain, "_check_link", linked):
            yield

    def learn(self) -> None:
        """What was checked since the last time is honest."""
        self.honest |= self.content | self.certificates
        self.content, self.certificates = set(), set()

    def take(self) -> dict[str, bool]:
        """Which checks there were since the last time: of anything, and of what no honest answer leads to."""
        found = {
            "a signature was checked": bool(self.content),
            "an altered content, statement or signature of theirs was checked": bool(self.content - self.honest),
            "an altered certificate's signature was checked": bool(self.certificates - self.honest),
        }
        self.content, self.certificates = set(), set()
        return found | {"reached": any(list(found.values())[1:])}


class Campaign:
    """Mutants of one seed. folder: for what a reader needs on disk. failures: where they are written, with their input."""

    def __init__(self, material: Material, seed: int | str, folder: Path, failures: Path | None = None) -> None:
        self.material, self.seed, self.failures = material, seed, failures or folder
        self.judge, self.checks = Judge(material), Checks()
        self.reader = Reader(folder)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Signature checks are counted, and a mutant that takes too long is ended."""
        with self.checks.watching(), _watchdog():
            yield

    def run(
        self, numbers: Iterable[int], *, progress: Callable[[int], None] = lambda _number: None, until_failure: bool = False
    ) -> Tally:
        tally = Tally()
        with self.watching():
            for original in self.material.originals:
                self._honest(original, tally)
            for number in numbers:
                if until_failure and tally.failures:
                    break
                progress(number)
                self.one(make_mutant(self.material, self.seed, number), tally)
        return tally

    def _honest(self, original: Original, tally: Tally) -> None:
        """The answers themselves are taken, or refused, as they should be: else the mutants would prove nothing."""
        mutant = Mutant(-1, original, ("none",), CHANGESET, {CHANGESET: original.body})
        try:
            self.reader.take(mutant)
            if original.hopeless:
                self._fail(mutant, tally, "an answer was accepted that never may be")
        except KintoSignerError:
            if not original.hopeless:
                self._fail(mutant, tally, "the answer itself was refused")
        except Exception:  # noqa: BLE001
            self._fail(mutant, tally, traceback.format_exc())
        self.checks.learn()

    def one(self, mutant: Mutant, tally: Tally) -> str:
        """What became of one mutant."""
        signal.setitimer(signal.ITIMER_PROF, CASE_S)
        try:
            became = self._became(mutant, tally)
        except HangError:
            became = self._fail(mutant, tally, f"it took longer than {CASE_S} s of work")
        except Exception:  # noqa: BLE001 - an error that is none of ours is what is looked for
            became = self._fail(mutant, tally, traceback.format_exc())
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        tally.counts[became] += 1
        tally.counts["mutants"] += 1
        tally.counts.update(what for what, there in self.checks.take().items() if there)
        tally.edits.update((edit, became) for edit in set(mutant.edits))
        return became

    def _became(self, mutant: Mutant, tally: Tally) -> str:
        try:
            taken = self.reader.take(mutant)
        except ConfigurationError:
            return self._fail(mutant, tally, "blamed on the configuration:\n" + traceback.format_exc())
        except KintoSignerError as error:
            json.dumps(error_object(error)).encode()
            error.message.encode("utf-8")
            fault = getattr(error, "fault", "")
            tally.refused[stage(error), f"{error.reason} ({fault})" if fault else error.reason] += 1
            return "refused"
        objection = self.judge.objection(mutant, taken)
        if mutant.original.hopeless and not objection and self._is_the_original(mutant, taken):
            objection = "an answer was accepted that never may be"
        if objection:
            return self._fail(mutant, tally, objection)
        if mutant.number % KEPT_EVERY == 0 and mutant.original.held is None and mutant.bodies.get(CHANGESET):
            kept = self.reader.keep(mutant, taken)
            if kept.digests() != taken.state.digests():
                return self._fail(mutant, tally, "the cache gave back something else")
        return "accepted, and the same"

    def _is_the_original(self, mutant: Mutant, taken: Any) -> bool:
        return bool(taken.state.timestamp == json.loads(mutant.original.body)["timestamp"])

    def _fail(self, mutant: Mutant, tally: Tally, why: str) -> str:
        said = {
            "seed": str(self.seed),
            "number": mutant.number,
            "original": mutant.original.label,
            "edits": mutant.edits,
            "door": mutant.door,
            "why": why,
            "bodies": {part: base64.b64encode(body).decode() for part, body in mutant.bodies.items()},
        }
        tally.failures.append(said)
        path = self.failures / f"failure-{self.seed}-{mutant.number}.json"
        path.write_text(json.dumps(said, indent=1), encoding="utf-8")
        return "FAILED"


@contextlib.contextmanager
def _watchdog() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise HangError

    before = signal.signal(signal.SIGPROF, ring)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
