"""``kinto-signer check``: is everything right, before the first publication and at three in the morning?"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from kinto_signer.cli import output
from kinto_signer.cli.times import Clock
from kinto_signer.core.findings import Finding, exit_code, failed, misconfigured, summary
from kinto_signer.core.freshness import Rules
from kinto_signer.core.trust import Trust
from kinto_signer.errors import ConfigurationError, KintoSignerError, UnreachableError
from kinto_signer.examining import ANSWER_S, Server, Subject, examine
from kinto_signer.remote import check_name
from kinto_signer.transport import Deadline
from kinto_signer.transport.chains import AllowedHost, ChainFetcher
from kinto_signer.transport.session import check_server_url
from kinto_signer.trusting import PIN_NAMES, RULE_NAMES, GivenRules, Pins, several


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    servers: tuple[Server, ...]
    ini: Path | None
    trust: Trust | None
    only: tuple[str, ...]


@dataclass(frozen=True)
class Trusting:
    """What the flags say of whom to trust, and what to ask of statements. trust: without a clock; None if they say nothing."""

    trust: Trust | None
    hosts: tuple[AllowedHost, ...]
    rules: Rules
    now: Clock

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> Trusting:
        """From the flags of `trust_flags`, as click names them. Raises ConfigurationError."""
        pins = Pins(**{name: flags[name] or None for name in PIN_NAMES})
        trust = pins.trust(flags["tolerance"] or 0) if any(vars(pins).values()) else None
        hosts = tuple(AllowedHost.parse(text) for text in flags["x5u_hosts"])
        rules = Rules(**GivenRules(**{name: flags[name] for name in RULE_NAMES}).parsed())
        return cls(trust, hosts, rules, flags["at"])

    def server(self, url: str) -> Server:
        """A server as a reader would see it who was given these flags: chains may also come from the server itself."""
        own = AllowedHost.of_server(url)
        fetcher = ChainFetcher((*self.hosts, *([own] if own else [])), lambda: Deadline(ANSWER_S))
        return Server(url, trust=self._at_hand(fetcher), rules=self.rules, now=self.now)

    def _at_hand(self, fetcher: ChainFetcher) -> Trust | None:
        return self.trust and replace(self.trust, chains=several(self.trust.chains, fetcher), now=self.now)


def read_flags(servers: Sequence[str], ini: Path | None, trusting: Trusting, only: Sequence[str]) -> Asked:
    """Raises ConfigurationError for what cannot be used."""
    if not servers and ini is None:
        raise ConfigurationError("Nothing to check: give --ini FILE of a server, or the URL of a server and --public-key FILE.")
    if servers and ini is None and trusting.trust is None:
        raise ConfigurationError(
            "To verify what a server has, give the keys you trust with `--public-key FILE`, or a root with "
            "`--x5u-root SHA256 --signer-id NAME`. Those that a server names are never trusted."
        )
    urls = dict.fromkeys(check_server_url(url) for url in servers)
    names = tuple(check_name(name) for name in only)
    return Asked(tuple(trusting.server(url) for url in urls), ini, trusting.trust, names)


def run_check(asked: Asked) -> list[Finding]:
    """Everything that is found, in the order in which it is to be read."""
    if asked.ini is None:
        return _examined(asked, [])
    try:
        from kinto_signer.plugin.loading import loaded
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"`{error.name}` is missing: this needs `pip install 'kinto-signer[server]'`.") from error
    try:
        with loaded(asked.ini) as registry:
            findings, subjects = _of_application(registry, asked.ini)
            return findings + _examined(asked, subjects)
    except (ConfigurationError, UnreachableError) as error:
        return _problems(asked.ini, error) + _examined(asked, [])


def print_findings(findings: Sequence[Finding], format_: str) -> int:
    """Print the report; returns the exit code."""
    code = exit_code(findings)
    if format_ == "json":
        listed = [finding.as_json() for finding in findings]
        output.print_json({"exit_code": code, "findings": listed, "summary": summary(findings)})
        return code
    widths = [max((len(column) for column in columns), default=0) for columns in zip(*map(_columns, findings), strict=True)]
    for finding in findings:
        level, where, collection = (text.ljust(width) for text, width in zip(_columns(finding), widths, strict=True))
        reason = f" [{finding.reason}]" if finding.reason != finding.level else ""
        print(f"{level}  {where}  {collection}  {' '.join(finding.message.split())}{reason}")
    print(summary(findings))
    return code


@contextmanager
def quiet(verbose: bool) -> Iterator[None]:
    """Keep what the loaded application logs out of the report, unless it is asked for: all of it is among the findings."""
    before = logging.root.manager.disable
    logging.disable(before if verbose else logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _columns(finding: Finding) -> tuple[str, str, str]:
    return finding.level, finding.where, finding.collection


def _of_application(registry: Any, ini: Path) -> tuple[list[Finding], list[Subject]]:
    from kinto_signer.authority.checking import check_authority
    from kinto_signer.server.checking import check_signer

    parts = []
    if hasattr(registry, "signing"):
        parts.append(check_signer(registry, str(ini)))
    if hasattr(registry, "guard"):
        parts.append(check_authority(registry, str(ini)))
    if not parts:
        raise ConfigurationError(f"--ini {ini}: neither kinto_signer nor kinto_signer.authority is in its kinto.includes.")
    return [finding for findings, _ in parts for finding in findings], [subject for _, found in parts for subject in found]


def _problems(ini: Path, error: KintoSignerError) -> list[Finding]:
    """Why no application could be made of the file: all that is known to be wrong with it, else the error itself."""
    from kinto_signer.authority import checking
    from kinto_signer.plugin.loading import read_settings
    from kinto_signer.server import checking_settings

    raw = read_settings(ini)
    includes = str(raw.get("includes", "")).split()
    found = checking_settings.problems(raw) if "kinto_signer" in includes else []
    found += checking.problems(raw) if "kinto_signer.authority" in includes else []
    return found or [failed("settings", error)]


def _examined(asked: Asked, subjects: Sequence[Subject]) -> list[Finding]:
    """Examine the collections of an application and those that the servers have, everywhere."""
    found: list[Finding] = []
    servers, names = [], set(asked.only)
    for server in asked.servers:
        try:
            listed = None if asked.only else frozenset(server.names())
        except KintoSignerError as error:
            found.append(failed(server.where, error))
            continue
        servers.append(replace(server, listed=listed))
        names |= listed or set()
    known = {subject.name: subject for subject in subjects}
    for name in sorted(names - known.keys()):
        if servers:
            known[name] = Subject(name, asked.trust, ())
        elif name in asked.only and not asked.servers:
            said = f"-c {name}: no such collection is signed or guarded by the server of {asked.ini}."
            found.append(misconfigured("settings", "configuration", said, name))
    chosen = [subject for subject in known.values() if not asked.only or subject.name in asked.only]
    return found + examine([_also_on(subject, servers) for subject in chosen])


def _also_on(subject: Subject, servers: Sequence[Server]) -> Subject:
    there = {place.where for place in subject.places}
    return replace(subject, places=(*subject.places, *(server for server in servers if server.where not in there)))
