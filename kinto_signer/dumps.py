"""Core dumps hold all that a process knows, keys and passwords included: processes that have any leave none."""

from __future__ import annotations

try:
    import resource
except ModuleNotFoundError:  # Windows, where nothing is dumped unless somebody set that up
    resource = None  # type: ignore[assignment]


def forbid_core_dumps() -> None:
    """Set the soft limit RLIMIT_CORE of this process and its children to 0; the hard one stays.

    Who needs a dump all the same raises it from outside: ``prlimit --core=unlimited: --pid PID``.
    """
    if resource is not None:
        _, hard = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, hard))
