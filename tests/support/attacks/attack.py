"""What a row of the table of attacks on A says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from tests.support.attacks.target import Target

MEMORY, POSTGRESQL = "memory", "postgresql"


class StoppedBy(Enum):
    """Who refuses it. What the guard stops has to succeed without the guard; what Kinto stops may fail there as well."""

    GUARD = "guard"
    KINTO = "kinto"


class Off(Enum):
    """How the guard is switched off for the counter-proof."""

    PLUGIN = "plugin"
    """A plain Kinto with the same other plugins: the endpoint that is attacked is Kinto's."""
    VERIFICATION = "verification"
    """The endpoint is the guard's own: it is there, and verifies nothing."""


class Leaves(Enum):
    """What A may serve after the attack."""

    UNCHANGED = "unchanged"
    """Byte for byte what it served before."""
    HONEST = "honest"
    """A race with a publication: exactly one of the states that the signer published, whole."""
    READABLE = "readable"
    """What an operator may do: a reader who comes back with an older state still ends up with the present one."""


@dataclass(frozen=True)
class Attack:
    """One mechanism. Its name is the function's, its description the first line of the function's docstring."""

    row: int
    """The row of ``threats.md``."""
    run: Callable[[Target], object]
    stopped_by: StoppedBy = StoppedBy.GUARD
    backends: tuple[str, ...] = (MEMORY, POSTGRESQL)
    off: Off = Off.PLUGIN
    leaves: Leaves = Leaves.UNCHANGED
    plugins: str = ""
    """What ``kinto.includes`` lists before the guard."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """Further settings; ``{folder}`` is a temporary folder, ``{stranger}`` the file of another public key."""
    bucket: str = "main"
    prepare: Callable[[Target], object] | None = None
    """What happened before the attack began, past the guard or with its consent."""
    refuses_to_start: str = ""
    """The guard does not start beside what the attack needs: what the error says."""
    crashes: bool = False
    """Kinto itself answers it with a 5xx."""

    @property
    def name(self) -> str:
        return self.run.__name__.strip("_").replace("_", "-")

    @property
    def mechanism(self) -> str:
        return (self.run.__doc__ or "").strip().partition("\n")[0]

    @property
    def by_guard(self) -> bool:
        return self.stopped_by is StoppedBy.GUARD
