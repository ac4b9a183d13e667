"""The error tree: what failed, the exit code it means and the stable ``reason`` that alerts key on.

Messages say what happened, what was kept and what to do next; none of them carries a secret. This module imports nothing of ours.
"""

from __future__ import annotations

from collections.abc import Iterable

EXIT_PRECEDENCE = (2, 3, 4, 7, 9, 6, 8, 5, 1, 10)
"""When several exit codes apply, the first of these wins (design, section 8)."""


def worst_exit_code(codes: Iterable[int]) -> int:
    """The exit code of a run in which each of `codes` happened; 0 if nothing did."""
    seen = set(codes) - {0}
    return next((code for code in EXIT_PRECEDENCE if code in seen), max(seen, default=0))


class KintoSignerError(Exception):
    """Anything this package raises on purpose."""

    exit_code = 1
    reason = "failed"

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else self.__class__.__name__

    def __str__(self) -> str:
        return f"{self.message} [{self.reason}]"


class ConfigurationError(KintoSignerError):
    """A setting, a flag or a file that the operator gave cannot be used. The message quotes it."""

    exit_code = 2
    reason = "configuration"


class NotFoundError(KintoSignerError):
    """What was asked for does not exist where it was looked for."""

    reason = "not-found"


class StorageError(KintoSignerError):
    """The local disk: full, read-only, not ours, broken. What was held before is still held."""

    reason = "storage"


class PartlyApplied(KintoSignerError):
    """A repository that is not atomic holds part of a changeset; applying the same changeset again completes it."""

    reason = "partly-applied"


class UnsignableValue(KintoSignerError):
    """A value that has no canonical form, or that does not survive every hop from editor to reader.

    `record` is the record's id (or None), `path` its JSON path, e.g. ``$.details[2].price``.
    """

    exit_code = 3
    reason = "bad-answer"

    def __init__(self, why: str, *, path: str = "$", record: str | None = None) -> None:
        where = f"record {record!r}, {path}" if record is not None else path
        super().__init__(f"{where}: {why}")
        self.why = why
        self.path = path
        self.record = record


class SigningError(KintoSignerError):
    """A signer could not sign, or what it returned does not verify.

    request_id: what an Autograph server's log calls the request that failed; empty elsewhere.
    """

    reason = "signer"

    def __init__(self, message: str, *, reason: str = "signer", request_id: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.request_id = request_id


class WorkflowError(KintoSignerError):
    """A change of status that the rules do not allow; ``forbidden`` where the person is the reason."""

    exit_code = 6
    reason = "refused"

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        super().__init__(message)
        self.forbidden = forbidden


class SourceChangedError(KintoSignerError):
    """What is to be approved, or read on, is not what was reviewed, or read before."""

    exit_code = 6
    reason = "changed"


class MassDeletionError(WorkflowError):
    """A publication that would remove more of what is published than the operator lets through unasked."""

    reason = "mass-deletion"

    def __init__(self, name: str, *, published: int, deleted: int, percent: int) -> None:
        super().__init__(
            f"{name}: {deleted} of the {published} published records would be deleted, more than the {percent} % of "
            f"mass_deletion_percent. Nothing was signed; readers keep what they have. If it is meant: "
            f"`kinto-signer approve {name} --allow-mass-deletion`.",
            forbidden=True,
        )
        self.published = published
        self.deleted = deleted


# --- integrity: nothing unverified was applied (exit code 3) ---------------------------------------------------------


class VerificationError(KintoSignerError):
    """What was received is not what a trusted key signed, or not newer than what is held."""

    exit_code = 3
    reason = "bad-signature"


class BadSignatureError(VerificationError):
    """A signature is malformed, or it is not over this content by a trusted key."""


class UnsignedError(VerificationError):
    """No signature at all. Never "nothing to check", also not for an empty collection."""

    reason = "unsigned"


class UnknownKeyError(VerificationError):
    """Signed correctly, by a key that was not trusted beforehand."""

    reason = "unknown-key"


class HashMismatchError(VerificationError):
    """The content is not the one whose hash was published beside the signature."""

    reason = "hash-mismatch"


class OtherCollectionError(VerificationError):
    """The answer says that it is another collection than the one that was asked for."""

    reason = "other-collection"


class NotYetValidError(VerificationError):
    """A timestamp further in the future than the tolerance, which would freeze the collection; or a certificate of the future."""

    reason = "not-yet-valid"


class ExpiredError(VerificationError):
    """A certificate, or another statement with an end, whose time is over."""

    reason = "expired"


class BadChainError(VerificationError):
    """Certificates that do not lead from the expected signer to a pinned root. `fault` is the word for what is wrong."""

    reason = "bad-chain"

    def __init__(self, message: str, *, fault: str) -> None:
        super().__init__(message)
        self.fault = fault


class StaleError(VerificationError):
    """What the server offers was signed longer ago than the reader is willing to accept (``--max-age``)."""

    reason = "stale"


class NoStatementError(VerificationError):
    """No publication statement, where the policy asks for one, or there was one before."""

    reason = "no-statement"


class RollbackError(VerificationError):
    """A state older than the newest one that was verified here."""

    reason = "rollback"

    def __init__(self, collection: str, ours: int, theirs: int) -> None:
        offered = f"the state of {theirs} is offered," if theirs else "the server does not have it any more, which is"
        super().__init__(
            f"{collection}: {offered} older than {ours}, which was verified here before. "
            f"The local copy was kept. Ask the publisher; to accept an older state anyway: "
            f"`kinto-updater reset {collection} --accept-older`."
        )
        self.ours = ours
        self.theirs = theirs


class OlderStatementError(RollbackError):
    """A publication statement older than the newest one that was verified here."""

    def __init__(self, collection: str, ours: int, theirs: int) -> None:
        super().__init__(collection, ours, theirs)
        said = (
            f"{collection}: its publication statement has the serial {theirs}, lower than {ours}, which was verified here. "
            "Nothing was accepted: an older state is shown. Ask the publisher; for a reader to accept it anyway: "
            f"`kinto-updater reset {collection} --accept-older`."
        )
        self.args = (said,)


class SameTimestampError(VerificationError):
    """Two different contents under one timestamp."""

    reason = "same-timestamp"


class BadAnswerError(VerificationError):
    """An answer that is not what the protocol promises: not JSON, truncated, doubled, of the wrong shape."""

    reason = "bad-answer"


class TooLargeError(VerificationError):
    """More bytes, pages or records than the reader is willing to take."""

    reason = "too-large"


class OffOriginError(VerificationError):
    """The server sends us to another origin, where neither we nor our credentials go."""

    reason = "off-origin"


class CorruptCacheError(VerificationError):
    """The local copy is not what was verified when it was written."""

    reason = "corrupt-cache"


# --- the other side or the network (exit codes 4, 5, 6, 7) ------------------------------------------------------------


class CredentialsError(KintoSignerError):
    """The server does not accept our credentials, or they lack a permission."""

    exit_code = 4
    reason = "refused"


class TryLaterError(KintoSignerError):
    """Nothing is wrong that waiting could not mend."""

    exit_code = 5
    reason = "unreachable"


class UnreachableError(TryLaterError):
    """No connection, a connection that was cut, or an answer 5xx."""


class DeadlineError(TryLaterError):
    """The total time allowed for the work ran out."""

    reason = "deadline"


class BackoffError(TryLaterError):
    """The server asks to wait; `until` is when it may be asked again, in epoch seconds."""

    reason = "backoff"

    def __init__(self, message: str, *, until: float) -> None:
        super().__init__(message)
        self.until = until


class BusyError(TryLaterError):
    """Another process uses the same local copy."""

    reason = "busy"


class ConflictError(KintoSignerError):
    """Somebody else changed the same thing meanwhile."""

    exit_code = 6
    reason = "conflict"


class LockedError(ConflictError):
    """Another request is at work on the same collection, and will be done with it: asking again helps."""


class OutdatedBaseError(ConflictError):
    """A publication that builds on another state than the one that is held: `timestamp` and `hash` say which one is."""

    def __init__(self, message: str, *, timestamp: int, hash_: str | None) -> None:
        super().__init__(message)
        self.timestamp = timestamp
        self.hash = hash_


class GuardRefusedError(KintoSignerError):
    """The server's rules do not allow this. `reason` says which one."""

    exit_code = 6
    reason = "refused"

    def __init__(self, message: str, *, reason: str = "refused") -> None:
        super().__init__(message)
        self.reason = reason


class MalformedChangesetError(GuardRefusedError):
    """A posted changeset that is not what the protocol promises."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="bad-answer")


class ChangesetTooLargeError(GuardRefusedError):
    """A posted changeset of more bytes than the server takes."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="too-large")


class StoredStateError(KintoSignerError):
    """What an authority holds is not what it accepted: it was altered behind its back. Only a complete publication mends it."""

    exit_code = 3

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class NewerFormatError(KintoSignerError):
    """The data was written by a newer version of this program."""

    exit_code = 7
    reason = "newer-format"


class AheadError(ConflictError):
    """An authority holds what this signer signed and no longer has: publishing over it would lose it."""


def with_reason(message: str, reason: str) -> KintoSignerError:
    """An error of the kind whose `reason` another server gave, so that the exit code says what failed behind it.

    An unknown reason is one to try later.
    """
    kinds: dict[str, type[KintoSignerError]] = {CredentialsError.reason: CredentialsError}
    for kind in list(globals().values()):
        if isinstance(kind, type) and issubclass(kind, KintoSignerError):
            kinds.setdefault(kind.reason, kind)
    found = KintoSignerError(message)
    found.reason = reason
    found.exit_code = kinds.get(reason, UnreachableError).exit_code
    return found
