"""The reader: pull what changed, verify it against keys that were given beforehand, keep a copy.

For programs::

    import kinto_signer.updater

    with kinto_signer.updater.open_cache("/var/lib/kinto-updater") as cache:
        for record in cache.records("main/regions"):
            ...
"""

from kinto_signer.updater.reading import Cache, VerifiedFile, open_cache, open_file

__all__ = ["Cache", "VerifiedFile", "open_cache", "open_file"]
