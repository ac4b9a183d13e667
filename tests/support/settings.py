"""Kinto settings for the servers of the tests."""

import configparser
from pathlib import Path

CONFIG = Path(__file__).resolve().parents[2] / "config"
Settings = dict[str, str]

PASSWORD = "secret"


def kinto_settings(database: str | None = None) -> Settings:
    """A Kinto that accepts any user name and password; on PostgreSQL if a database URL is given, else on memory."""
    kind = "postgresql" if database else "memory"
    settings = {
        "multiauth.policies": "basicauth",
        "kinto.userid_hmac_secret": "only-for-tests",
        "kinto.bucket_create_principals": "system.Authenticated",
        "kinto.storage_backend": f"kinto.core.storage.{kind}",
        "kinto.permission_backend": f"kinto.core.permission.{kind}",
        "kinto.cache_backend": f"kinto.core.cache.{kind}",
    }
    if database:
        settings |= {f"kinto.{backend}_url": database for backend in ("storage", "permission", "cache")}
    return settings


def authority_settings(database: str | None = None) -> Settings:
    """A: a plain Kinto that takes a publication of 20,000 requests."""
    return kinto_settings(database) | {"kinto.batch_max_requests": "20000"}


def guarded_settings(public_key: Path, database: str | None = None, resources: str = "/buckets/main") -> Settings:
    """A with the plugin, which accepts what this key signed and nothing else."""
    return kinto_settings(database) | {
        "kinto.includes": "kinto_signer.authority",
        "kinto.authority.resources": resources,
        "kinto.authority.public_keys": str(public_key),
    }


def signer_settings(
    private_key: Path,
    *,
    database: str | None = None,
    authority: str | None = None,
    auth: str = f"signer:{PASSWORD}",
    resources: str = "/buckets/main-workspace -> /buckets/main",
) -> Settings:
    """S. ``authority`` is the URL of A (``LiveKinto.url``); without it the signed destination is on S alone."""
    settings = kinto_settings(database) | {
        "kinto.includes": "kinto_signer",
        "kinto.signer.resources": resources,
        # Whoever may write publishes; the workflow with reviewers has a site of its own (tests/support/workflow.py).
        "kinto.signer.group_check_enabled": "false",
        "kinto.signer.signer_backend": "kinto_signer.signer.local_ecdsa",
        "kinto.signer.ecdsa.private_key": str(private_key),
    }
    if authority:
        settings |= {"kinto.signer.authority.url": authority, "kinto.signer.authority.auth": auth}
    return settings


def shipped_settings(name: str) -> Settings:
    """What a file of ``config/`` says, as Kinto would be told (the section ``app:main``)."""
    ini = configparser.ConfigParser({"here": str(CONFIG)})
    ini.optionxform = str  # type: ignore[assignment, method-assign]
    ini.read(CONFIG / name, encoding="utf-8")
    return {key: value for key, value in ini.items("app:main") if key not in ("use", "here")}
