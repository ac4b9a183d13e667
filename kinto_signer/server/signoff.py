"""The workflow of one source in one request: what was edited, which statuses were asked for, and carrying them out.

A batch is looked at as a whole (`server.batches`), and whatever was edited in it counts as edited before a status was asked for:
an edit beside an approval would otherwise be published unseen.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from kinto_signer.core import workflow
from kinto_signer.core.difference import Difference, reviewed_digest
from kinto_signer.core.workflow import (
    ALLOW_MASS_DELETION,
    APPROVAL,
    CONTRIBUTORS,
    REVIEWED_DIGEST,
    SAID_WITH_APPROVAL,
    Asker,
    Effect,
    FourEyes,
    Status,
)
from kinto_signer.errors import SourceChangedError, WorkflowError
from kinto_signer.plugin.resources import EVERYONE, Resource
from kinto_signer.plugin.storage import StorageRepository
from kinto_signer.server import actions, groups, notifying, restoring
from kinto_signer.server.actions import Action
from kinto_signer.server.batches import Change
from kinto_signer.server.compared import Compared
from kinto_signer.server.publisher import Published, Publisher
from kinto_signer.server.stored import Copy


class SignOff:
    """Follows the changes of one source in a request. edited: whether records were written in it too."""

    def __init__(self, event: Any, resource: Resource, *, edited: bool) -> None:
        self.event, self.resource, self.edited = event, resource, edited
        self.request = event.request
        self.registry = event.request.registry
        self.repository = StorageRepository(self.registry.storage)
        self.user = user_of(event)
        self.publisher = Publisher(self.registry, self.user)
        self._stored = self.repository.attributes(resource.source.name) or {}
        self.attributes = dict(self._stored)
        self._settings = self.registry.signing.workflow(resource)
        self._change: Change = {}
        self._asked_before = False
        self._published = False

    def run(self, changes: Sequence[Change]) -> None:
        """Decide and carry out what the changes ask for, and store what becomes of the source's attributes."""
        created = "old" not in changes[0]
        # Whatever was edited in the request is in the storage by now, also what was written after the status.
        self.edited |= any("old" in change and _content(change["old"]) != _content(change["new"]) for change in changes)
        self.attributes["status"] = changes[0].get("old", {}).get("status")
        if created:
            groups.make_groups(self.request, self.resource, self.user)
        for self._change in changes:
            self._follow(self._change.get("old") or {}, self._change["new"])
        if created and not self._published:
            self._sign_new()
        if self.edited and not self._asked_before:
            self._mark_edited()
        kept = {key: value for key, value in self.attributes.items() if key not in SAID_WITH_APPROVAL}
        if kept["status"] is None:
            del kept["status"]
        if kept != self._stored:
            self.repository.set_attributes(self.resource.source.name, kept)

    # --- what was asked for --------------------------------------------------------------------------------------------

    def _follow(self, old: Change, new: Change) -> None:
        field = workflow.changed_by_hand(old, new)
        if field:
            raise WorkflowError(f"The field {field!r} is kept by the signer and cannot be set, changed or removed by hand.")
        # What a peer left behind is asked for anew, once.
        wants = (new.get("status") or None) != (old.get("status") or None) or (
            new.get("status") in workflow.TRANSIENT_VALUES and not self._asked_before
        )
        asked = workflow.parse_status(new.get("status")) if wants else None
        said = [name for name in SAID_WITH_APPROVAL if name in new and name not in old]
        if said and asked is not Status.TO_SIGN:
            raise WorkflowError(f"The field {said[0]!r} may only stand beside the status 'to-sign'. Nothing was changed.")
        if asked is not None:
            self._ask(asked, new)

    def _ask(self, asked: Status, new: Change) -> None:
        if self.edited and asked is Status.TO_ROLLBACK:
            raise WorkflowError(
                "A rollback in one request with edits would undo them. Nothing was changed; ask for it in another request."
            )
        if self.edited and not self._asked_before:
            self._mark_edited()
        self._asked_before = True
        old = workflow.parse_stored(self.attributes.get("status"))
        rule = workflow.decide(old, asked, self._asker(old), reviews=self._settings.reviews)
        _EFFECTS[rule.effect](self, old, new)
        becomes = old if rule.becomes is None else rule.becomes
        self.attributes["status"] = becomes.value or None

    def _asker(self, old: Status) -> Asker:
        found = self._settings.groups
        principals = set(self.request.prefixed_principals)
        return Asker(
            groups.memberships(self.request, found),
            self._took_part(old),
            bool(principals.intersection(self._settings.self_approval_principals)),
            found.names,
        )

    def _took_part(self, old: Status) -> bool:
        """Whether the rule of four eyes in force excludes the person who asks."""
        if old is not Status.TO_REVIEW:
            return False
        if self._settings.four_eyes is FourEyes.REQUESTER:
            return bool(self.attributes.get("last_review_request_by") == self.user)
        return self.user in workflow.contributors(self.attributes)

    # --- what happens ----------------------------------------------------------------------------------------------------

    def _mark_edited(self) -> None:
        self.attributes |= edited(self.event, self.attributes)

    def _nothing(self, old: Status, new: Change) -> None:
        """The status alone changes."""

    def _request_review(self, old: Status, new: Change) -> None:
        action = self._action(Effect.REQUEST_REVIEW, new.get("last_editor_comment"))
        self._fill_preview(Copy(self._compared))
        self.attributes |= {
            "last_review_request_by": self.user,
            "last_review_request_date": action.date,
            "last_reviewer_comment": "",
            CONTRIBUTORS: workflow.contributors(self.attributes, self.user),
        }
        self._announce(action)

    def _decline(self, old: Status, new: Change) -> None:
        action = self._action(Effect.DECLINE, new.get("last_reviewer_comment"))
        self.attributes |= {"last_review_by": self.user, "last_review_date": action.date}
        self._announce(action)

    def _publish(self, old: Status, new: Change) -> None:
        action = self._action(Effect.PUBLISH, new.get("last_reviewer_comment"), old=old)
        self._refuse_unseen(action, new)
        if old is Status.SIGNED and self._settings.reviews:
            self._refuse_unreviewed()
        self._announce(action)
        allowed = new.get(ALLOW_MASS_DELETION) is True
        published = self.publisher.publish(self.resource, compared=self._compared, allow_mass_deletion=allowed)
        self._published = True
        del self._compared
        self._fill_preview(published.copy)
        if old is Status.TO_REVIEW:
            self.attributes |= {"last_review_by": self.user, "last_review_date": action.date}
        self._signed(published, action.date)
        self.attributes |= {CONTRIBUTORS: [], APPROVAL: _approval(action)}

    def _refresh(self, old: Status, new: Change) -> None:
        restoring.refuse_unsigned(self.registry, self.resource)
        action = Action(Effect.REFRESH, self.resource, self.user, now())
        self._announce(action)
        published = self.publisher.refresh(self.resource)
        preview = self.resource.as_preview
        if preview and self.repository.timestamp(preview.destination.name):
            self.publisher.refresh(preview)
        self._signed(published, action.date)

    def _rollback(self, old: Status, new: Change) -> None:
        action = self._action(Effect.ROLLBACK, new.get("last_editor_comment"))
        self._announce(action)
        restoring.restore(self.registry, self.resource)
        del self._compared
        published = self.repository.attributes(self.resource.source.name) or {}
        copied = self._settings.copied
        self.attributes = {key: value for key, value in self.attributes.items() if key not in copied}
        self.attributes |= {key: published[key] for key in copied if key in published}
        self.attributes |= {"last_edit_by": self.user, "last_edit_date": action.date, CONTRIBUTORS: []}
        self.attributes |= {"last_editor_comment": "", "last_reviewer_comment": ""}
        self._fill_preview()

    def _sign_new(self) -> None:
        """A new collection is signed at once, empty or with what its destination held before."""
        published = self.publisher.publish(self.resource, self.resource.destination)
        preview = self.resource.as_preview
        if preview:
            self.publisher.publish(preview, self.resource.destination)
        if self.attributes["status"] is None:
            self.attributes["status"] = Status.SIGNED.value
        self._signed(published, now())

    def _signed(self, published: Published, date: str) -> None:
        self.attributes |= {"last_signature_by": self.user, "last_signature_date": date, "hash": published.hash}

    def _fill_preview(self, beside: Copy | None = None) -> None:
        preview = self.resource.as_preview
        if preview:
            self.publisher.publish(preview, beside=beside)

    # --- what is known of it -------------------------------------------------------------------------------------------------

    @cached_property
    def _compared(self) -> Compared:
        """Source and destination; nobody else writes there before the transaction ends."""
        return self.publisher.compare(self.resource)

    @property
    def _pending(self) -> Difference:
        return self._compared.difference(self._settings.copied)

    def _action(self, effect: Effect, comment: object, *, old: Status = Status.NONE) -> Action:
        found = self._pending
        published = self.repository.attributes(self.resource.destination.name) or {}
        return Action(
            effect,
            self.resource,
            self.user,
            now(),
            str(comment or ""),
            len(found.created),
            len(found.updated),
            len(found.deleted),
            found.size_bytes,
            reviewed_digest(found, self._stored, published, self._settings.copied),
            self.attributes.get("last_review_request_by") if effect is not Effect.REQUEST_REVIEW else self.user,
            self._settings.reviews and self._took_part(old),
        )

    def _refuse_unseen(self, action: Action, new: Change) -> None:
        seen = new.get(REVIEWED_DIGEST)
        if seen is not None and seen != action.digest:
            raise SourceChangedError(
                f"{self.resource.source.name} is not what was reviewed: it is {action.digest} now, and {str(seen)[:80]!r} was. "
                "Nothing was signed; look at the changes again, then approve."
            )

    def _refuse_unreviewed(self) -> None:
        """What is `signed` and still differs from what is published was not edited through Kinto, nor approved by anybody."""
        found = self._pending
        if not found.empty:
            raise WorkflowError(
                f"Collection not under review: {self.resource.source.name} is 'signed' and differs from what was published in "
                f"{found.count} records and {len(found.attributes)} attributes, which nobody approved. Nothing was signed; set "
                "the status to 'work-in-progress', then request a review."
            )

    def _announce(self, action: Action) -> None:
        actions.record(self.registry, action)
        notifying.on_action(self.event, action, self._change)


_EFFECTS: Mapping[Effect, Callable[[SignOff, Status, Change], None]] = {
    Effect.NOTHING: SignOff._nothing,
    Effect.REQUEST_REVIEW: SignOff._request_review,
    Effect.DECLINE: SignOff._decline,
    Effect.PUBLISH: SignOff._publish,
    Effect.REFRESH: SignOff._refresh,
    Effect.ROLLBACK: SignOff._rollback,
}

_NOT_CONTENT = ("last_modified", "status", "last_editor_comment", "last_reviewer_comment", *SAID_WITH_APPROVAL)


def _content(attributes: Change) -> dict[str, Any]:
    return {key: value for key, value in attributes.items() if key not in _NOT_CONTENT}


def _approval(action: Action) -> dict[str, Any]:
    entry = action.as_json()
    return {name: entry[name] for name in ("digest", "created", "updated", "deleted", "by", "date", "requested_by", "alone")}


def edited(event: Any, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What an edit by the person of `event` makes of the source's `attributes`."""
    user = user_of(event)
    return {
        "status": Status.WORK_IN_PROGRESS.value,
        "last_edit_by": user,
        "last_edit_date": now(),
        CONTRIBUTORS: workflow.contributors(attributes, user),
    }


def user_of(event: Any) -> str:
    return str(event.payload.get("user_id") or user_who_asks(event.request))


def user_who_asks(request: Any) -> str:
    """As Kinto names them; EVERYONE where nobody logged in, and everybody may write."""
    return str(request.prefixed_userid or EVERYONE)


def now() -> str:
    return datetime.now(UTC).isoformat()
