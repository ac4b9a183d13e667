"""People at work on one source: a state machine for hypothesis, which compares S with the model after each step."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from kinto_signer.core.workflow import OWNED_FIELDS
from tests.support.workflow import ADMIN, DESTINATION, EDITOR, EDITOR_AND_REVIEWER, PREVIEW, READER, REVIEWER, SOURCE
from tests.support.workflow_model import BOT, Content, Delete, DeleteAll, Discard, Model, Patch, Post, Put, RefusedError
from tests.support.workflow_site import Reader, now, principal, sequence_site

TRACKED = ("last_edit", "last_review_request", "last_review", "last_signature")

people = st.sampled_from([EDITOR, EDITOR_AND_REVIEWER, REVIEWER, BOT, ADMIN, READER])
editors = st.sampled_from([EDITOR_AND_REVIEWER, EDITOR, BOT])
reviewers = st.sampled_from([EDITOR_AND_REVIEWER, REVIEWER, BOT])
ids, values = st.sampled_from("abcd"), st.sampled_from("xyz")
edits = st.one_of(
    st.builds(Put, ids, values),
    st.builds(Post, ids, values),
    st.builds(Delete, ids),
    st.just(DeleteAll()),
    st.builds(Patch, st.tuples(st.tuples(st.sampled_from(["sort", "displayFields", "note"]), st.none() | values))),
)
statuses = st.sampled_from(["work-in-progress", "to-review", "to-sign", "to-resign", "to-rollback"])
asked = st.builds(Patch, st.just(()), statuses)
others = st.builds(Patch, st.just(()), st.sampled_from(["signed", "nope", "", "To-Sign"]))
edited_and_asked = st.builds(
    lambda edit, status: Patch(edit.attributes, status), edits.filter(lambda e: isinstance(e, Patch)), statuses
)
batches = st.lists(st.one_of(edits, edits, asked, edited_and_asked), min_size=2, max_size=4)


@dataclass(frozen=True)
class Seen:
    """What a reviewer was shown. version: of the model; published: the hash; etag: of the source's own object."""

    version: int
    content: Content
    published: str | None
    digest: str
    etag: int


class Sequences(RuleBasedStateMachine):
    """counts: of steps, by what became of them."""

    def __init__(self, counts):
        super().__init__()
        self.counts = counts

    @initialize(reviews=st.sampled_from([True, True, False]), preview=st.booleans(), contributors_rule=st.booleans())
    def start(self, reviews, preview, contributors_rule):
        self.site = sequence_site(reviews, preview, contributors_rule)
        self.model = Model(reviews, contributors_rule)
        self.readers = {uri: Reader() for uri in (SOURCE, *self.site.copies)}
        self.tracked = {name: self.site.attributes().get(f"{name}_date") for name in TRACKED}
        self.model.who["last_signature"] = ADMIN
        self.began = now()
        self.seen = []
        self._look()

    # --- steps -------------------------------------------------------------------------------------------------------------

    @rule(user=people, edit=edits)
    def edit(self, user, edit):
        self._do(user, [edit])

    @rule(user=people, ask=st.one_of(asked, edited_and_asked), whole=st.booleans())
    def ask(self, user, ask, whole):
        """whole: the source's object is replaced by what was read of it, changed."""
        self._do(user, [ask], whole=whole)

    @rule(editor=editors, edit=edits, reviewer=reviewers)
    def review(self, editor, edit, reviewer):
        """What people come for."""
        for user, part in ((editor, edit), (editor, Patch(status="to-review")), (reviewer, Patch(status="to-sign"))):
            self._do(user, [part])
            self.what_holds()

    @rule(user=editors, edit=edits, other=people, ask=asked)
    def edit_and_ask(self, user, edit, other, ask):
        """So that much happens while something is pending."""
        self._do(user, [edit])
        self.what_holds()
        self._do(other, [ask])

    @rule(user=people, records=st.frozensets(ids, min_size=1, max_size=2))
    def discard(self, user, records):
        self._do(user, [Discard(records)])

    @rule(editor=editors, edit=edits, other=people, number=st.integers(0, 3))
    def edit_and_discard(self, editor, edit, other, number):
        """What is pending, of one record."""
        self._do(editor, [edit])
        self.what_holds()
        there, published = self.model.source.records, self.model.destination.records
        pending = sorted(name for name in there.keys() | published.keys() if there.get(name) != published.get(name))
        if pending:
            self._do(other, [Discard(frozenset({pending[number % len(pending)]}))])

    @rule(user=people, parts=batches)
    def batch(self, user, parts):
        self._do(user, parts)

    @rule(user=editors, edit=edits, ask=st.one_of(asked, edited_and_asked), first=st.booleans())
    def edit_and_ask_in_one_request(self, user, edit, ask, first):
        self._do(user, [edit, ask] if first else [ask, edit])

    @rule(user=people, ask=others)
    def ask_for_what_nobody_may(self, user, ask):
        self._do(user, [ask])

    @rule(
        user=people,
        field=st.sampled_from(OWNED_FIELDS),
        value=st.none() | st.just("forged"),
        status=st.none() | statuses,
    )
    def forge(self, user, field, value, status):
        """Set or remove what the plugin keeps, also beside a status."""
        there = self.site.attributes().get(field)
        refused = there != value
        self._do(user, [Patch(((field, value),) if refused else (), status)], refused=refused)

    @rule(editor=editors, edit=edits, reviewer=reviewers, number=st.integers(0, 3), how=st.sampled_from(["digest", "If-Match"]))
    def approve_what_was_seen(self, editor, edit, reviewer, number, how):
        """Of one of the last states: refused unless the source is still what was seen."""
        for part in (edit, Patch(status="to-review")):
            self._do(editor, [part])
            self.what_holds()
        seen = self.seen[-1 - number % len(self.seen)]
        if how == "digest":
            now = (self.model.source.published(), self.site.published_hash())
            other, options = (seen.content, seen.published) != now, {"extra": {"reviewed_digest": seen.digest}}
        else:
            other, options = seen.version != self.model.version, {"headers": {"If-Match": f'"{seen.etag}"'}}
        self._do(reviewer, [Patch(status="to-sign")], refused=other, **options)

    # --- after each step ---------------------------------------------------------------------------------------------------

    @invariant()
    def what_holds(self):
        site, model = self.site, self.model
        found = site.attributes()
        assert found["status"] == model.status
        assert site.content(SOURCE) == model.source
        assert site.content(DESTINATION) == model.destination
        if site.preview:
            assert site.content(PREVIEW) == model.preview
        for uri in site.copies:
            site.verify(uri)
        assert found.get("signer_contributors", []) == sorted(principal(user) for user in model.contributors)
        self._tracking_is_true(found)
        self._readers_follow()

    def teardown(self):
        if not hasattr(self, "model"):
            return
        entries = [(entry["action"], entry["by"]) for entry in self.site.log()]
        assert entries[::-1] == [(action, principal(user)) for action, user in self.model.log]

    def _tracking_is_true(self, found):
        for name in TRACKED:
            who, when = found.get(f"{name}_by"), found.get(f"{name}_date")
            assert who == (principal(self.model.who[name]) if name in self.model.who else None)
            if name in self.model.touched:
                assert self.began <= datetime.fromisoformat(when) <= now()
            else:
                assert when == self.tracked[name]
            self.tracked[name] = when
        self.model.touched = set()
        approval = found.get("signer_approval")
        if self.model.approval:
            assert {name: approval[name] for name in self.model.approval} == self.model.approval | {
                "by": principal(self.model.approval["by"])
            }
        else:
            assert approval is None

    def _readers_follow(self):
        """Whoever downloads only what is new has what is there: nothing that was deleted comes back or stays."""
        for uri, reader in self.readers.items():
            stored = self.site.stored(uri)
            reader.catch_up(stored, self.site.etag(uri))
            assert reader.records == {record["id"]: record for record in stored if not record.get("deleted")}

    # --- a step ------------------------------------------------------------------------------------------------------------

    def _do(self, user, parts, *, refused=False, **options):
        self.began = now() - timedelta(milliseconds=1)
        try:
            after = self.model.after(user, parts)
        except RefusedError:
            refused = True
        before = self.site.everything() if refused else None
        answer = self.site.send(user, parts, **options)
        if refused:
            assert _refusals(answer), f"{answer.status} {answer.text[:500]}"
            assert self.site.everything() == before
            self.counts["refused"] += 1
        else:
            assert [code for code in _refusals(answer) if code != 404] == [], f"{answer.status} {answer.text[:500]}"
            self.counts["carried out"] += 1
            self.counts["publications"] += sum(action == "publish" for action, _ in after.log[len(self.model.log) :])
            self.model = after
        self._look()

    def _look(self):
        """Remember what a reviewer would see now."""
        site, model = self.site, self.model
        shown = model.source.published(), site.published_hash(), site.digest()
        self.seen.append(Seen(model.version, *shown, site.attributes()["last_modified"]))


def _refusals(answer):
    """The status codes of what was refused: the whole answer, or parts of a batch."""
    if answer.status_int >= 400:
        return [answer.status_int]
    return [part["status"] for part in answer.json.get("responses", []) if part["status"] >= 400]


def run(counts, *, examples, steps, **options):
    """Raises what the first sequence raises in which something is not as it should be."""
    profile = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck), **options
    )
    run_state_machine_as_test(lambda: Sequences(counts), settings=profile)
