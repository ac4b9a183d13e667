"""What becomes of a stolen key: the thief's forgery, shown to readers and sent to A, and the copies that were signed with it."""

import requests

from kinto_signer.core.changeset import Changeset
from tests.support.publications import URI, body_of
from tests.support.settings import PASSWORD
from tests.support.statements import stated
from tests.support.states import make_records, now_ms, signed_state
from tests.support.stories.reader import Reader
from tests.support.stories.stage import NAME, Stage, attributes, with_state

Readers = dict[str, Reader]


def forged(stage: Stage) -> Changeset:
    """What the thief signs: newer than all that was published, with everything right about it."""
    at = now_ms()
    state = signed_state(stage.key_pair.key(), make_records(2, start=at - 1), displayFields=["text"])
    return stated(stage.key_pair.key(), state, audience="production")


def shown_by_database(stage: Stage, readers: Readers) -> dict[str, str]:
    """The forgery written to A's database; each reader is as before afterwards."""
    before = stage.there.take()
    url = stage.put(with_state(before, "main", forged(stage)))
    outcome = {name: reader.like().look(url) for name, reader in readers.items()}
    stage.put(before)
    return outcome


def posted_to_a(stage: Stage) -> str:
    """The forgery sent to A with the password of S's account; what A holds is as before afterwards."""
    before = stage.there.take()
    base = attributes(before, "main")["signed_timestamp"]
    body = body_of(forged(stage), complete=True) | {"base": base}
    answer = requests.post(f"{stage.authority.url}{URI}/changeset", json=body, auth=("signer", PASSWORD), timeout=60)
    if answer.status_code < 300:
        stage.put(before)
        return "accepted"
    assert stage.there.take() == before
    assert answer.status_code == 403
    return answer.json()["details"]["reason"]


def looks(stage: Stage, readers: Readers) -> dict[str, str]:
    return {name: reader.look(stage.authority.url) for name, reader in readers.items()}


def verified(reader: Reader) -> str:
    """What `kinto-updater verify` says of the copy that the reader has."""
    keys = [part for key in reader.keys for part in ("--public-key", key)]
    code, answer = reader.run("updater", "verify", f"main/{NAME}", "--cache", reader.cache, *keys)
    (found,) = answer["collections"]
    assert code == (3 if "error" in found else 0)
    return found["error"]["reason"] if "error" in found else "accepted"
