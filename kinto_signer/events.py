"""What happens in the workflow, as events for subscribers: ``config.add_subscriber(told, ReviewRequested)``.

They are notified before the request commits, once everything else in it succeeded: what a subscriber writes to Kinto's storage is
part of the same transaction, and what it raises undoes the request. The dotted paths of these classes are public.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class ReviewEvent:
    """One step in the workflow of one source collection.

    request: Pyramid's. payload: as Kinto's events have it, about the source collection alone. impacted_objects: the one change
    of the collection, ``[{"old": attributes, "new": attributes}]``, ``old`` only where it existed. resource: ``{"source": place,
    "destination": place}``, with ``preview`` where there is one; a place is ``{"bucket": id, "collection": id}``.
    original_event: Kinto's ``ResourceChanged``.
    """

    def __init__(
        self,
        *,
        request: Any,
        payload: dict[str, Any],
        impacted_objects: list[dict[str, Any]],
        resource: Mapping[str, Mapping[str, str | None]],
        original_event: Any,
    ) -> None:
        self.request = request
        self.payload = payload
        self.impacted_objects = impacted_objects
        self.resource = resource
        self.original_event = original_event

    @property
    def impacted_records(self) -> list[dict[str, Any]]:
        """The older name of `impacted_objects`."""
        return self.impacted_objects


class ReviewRequested(ReviewEvent):
    """An editor asked for a review.

    comment: the editor's. changes_count: of records, against what is published. changes_size_bytes: of the records that are new
    or changed and of the deletions, as canonical JSON. All three are also in the payload.
    """

    def __init__(self, *, comment: str, changes_count: int, changes_size_bytes: int, **common: Any) -> None:
        super().__init__(**common)
        self.comment = comment
        self.changes_count = changes_count
        self.changes_size_bytes = changes_size_bytes
        self.payload |= {"comment": comment, "changes_count": changes_count, "changes_size_bytes": changes_size_bytes}


class ReviewRejected(ReviewEvent):
    """The review was declined. comment: the reviewer's, also in the payload."""

    def __init__(self, *, comment: str, **common: Any) -> None:
        super().__init__(**common)
        self.comment = comment
        self.payload |= {"comment": comment}


class ReviewApproved(ReviewEvent):
    """The source was approved and signed. changes_count, changes_size_bytes: as in `ReviewRequested`."""

    def __init__(self, *, changes_count: int, changes_size_bytes: int, **common: Any) -> None:
        super().__init__(**common)
        self.changes_count = changes_count
        self.changes_size_bytes = changes_size_bytes
        self.payload |= {"changes_count": changes_count, "changes_size_bytes": changes_size_bytes}


class ReviewCanceled(ReviewEvent):
    """The source was rolled back to what is published. changes_count: how many changes were taken back."""

    def __init__(self, *, changes_count: int, **common: Any) -> None:
        super().__init__(**common)
        self.changes_count = changes_count
        self.payload |= {"changes_count": changes_count}
