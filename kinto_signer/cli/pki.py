"""kinto-signer pki: the authorities of a small organisation, and the certificates of its signers, in files."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import rich_click as click

from kinto_signer.cli import output
from kinto_signer.cli.authority_files import (
    INTERMEDIATE_KEY,
    ROOT_KEY,
    Authorities,
    issue_signer,
    load_root,
    make_intermediate,
    make_root,
    write_authorities,
)
from kinto_signer.cli.options import FILE, format_option
from kinto_signer.cli.passphrases import Passphrase
from kinto_signer.cli.signer_files import NewSigner, ends_of_earlier, write_signer
from kinto_signer.core.issuing import DAY_S, Period, refuse_overlap
from kinto_signer.core.public_key import load_public_key
from kinto_signer.errors import ConfigurationError

DAYS = click.IntRange(min=1, max=36_500)
FOLDER = click.Path(path_type=Path, file_okay=False)
YEAR = 365

folder_option = click.option("--folder", type=FOLDER, default="pki", show_default=True, help="Where the authorities are.")
intermediate_passphrase_option = click.option(
    "--intermediate-passphrase-file",
    type=FILE,
    help="File, mode 0600, with the passphrase of the intermediate's key; else KINTO_PKI_INTERMEDIATE_PASSPHRASE, "
    "else you are asked.",
)


@click.group()
def pki() -> None:
    """Make a root, an intermediate authority and signers' certificates, for readers who pin the root (docs/keys.rst)."""


@pki.command()
@folder_option
@click.option("--domain", required=True, help="Signer ids end with it, e.g. content-signature.example.org.")
@click.option("--organization", metavar="NAME", help="For people, in the authorities' names; default: the domain.")
@click.option("--root-days", type=DAYS, default=20 * YEAR, show_default=True, help="How long the root is good.")
@click.option("--intermediate-days", type=DAYS, default=5 * YEAR, show_default=True, help="How long the intermediate is good.")
@click.option("--root", type=FILE, help="Certificate of a root that is there: only an intermediate is made, below it.")
@click.option("--root-key", type=FILE, help="The key of that root.")
@click.option(
    "--root-passphrase-file",
    type=FILE,
    help="File, mode 0600, with the passphrase of the root's key; else KINTO_PKI_ROOT_PASSPHRASE, else you are asked.",
)
@intermediate_passphrase_option
@format_option
def init(
    *,
    folder: Path,
    domain: str,
    organization: str | None,
    root_days: int,
    intermediate_days: int,
    root: Path | None,
    root_key: Path | None,
    root_passphrase_file: Path | None,
    intermediate_passphrase_file: Path | None,
    format_: str,
) -> int:
    """Make a root and an intermediate authority, both keys encrypted, in a new folder. Overwrites nothing.

    Do it on a machine without a network. The root's key then leaves this machine: see docs/keys.rst.
    """
    if (root is None) != (root_key is None):
        raise ConfigurationError("--root and --root-key go together: the certificate and the key of a root that is there.")
    now = int(time.time())
    owner = organization or domain
    root_passphrase = Passphrase("root", root_passphrase_file, os.environ)
    if root is not None and root_key is not None:
        secret = root_passphrase.existing()
        top = load_root(root, root_key, secret)
    else:
        secret = root_passphrase.new()
        top = make_root(owner, Period.from_now(now, root_days))
    below_secret = Passphrase("intermediate", intermediate_passphrase_file, os.environ).new()
    if below_secret == secret:
        raise ConfigurationError(
            "The passphrases of the root's and of the intermediate's key are the same: who learns the one that is used often "
            "would have both. Nothing was made."
        )
    below = make_intermediate(owner, Period.from_now(now, intermediate_days), top, domain, now)
    write_authorities(folder, top, below, root_passphrase=None if root else secret, passphrase=below_secret)
    made = Authorities(top.certificate, below.certificate)
    _print_authorities(folder, made, domain, with_root=root is None, format_=format_)
    return 0


@pki.command()
@click.argument("signer_id", metavar="SIGNER-ID")
@folder_option
@click.option(
    "--out", type=FOLDER, help="Where signers are kept, each in a folder of its own; default: where the authorities are."
)
@click.option("--days", type=DAYS, default=90, show_default=True, help="How long the certificate is good.")
@click.option("--overlap", is_flag=True, help="Renew: another key and certificate, while the old ones are still good.")
@click.option(
    "--overlap-days",
    type=click.IntRange(min=0),
    default=14,
    show_default=True,
    help="With --overlap: refuse if the old certificate is good for less than this.",
)
@click.option("--public-key", type=FILE, help="PEM file: a certificate for this key, which stays where it is (e.g. in a token).")
@intermediate_passphrase_option
@format_option
def issue(
    *,
    signer_id: str,
    folder: Path,
    out: Path | None,
    days: int,
    overlap: bool,
    overlap_days: int,
    public_key: Path | None,
    intermediate_passphrase_file: Path | None,
    format_: str,
) -> int:
    """Make a key, a certificate for it and the chain file for the signer SIGNER-ID, in a folder of its own.

    The root's key is not needed. With --overlap the old one stays beside the new one, and both are good for a while.
    """
    now, kept = int(time.time()), out or folder
    authorities = Authorities.load(folder)
    ends = ends_of_earlier(kept, signer_id)
    refuse_overlap(signer_id, ends, now=now, overlap_days=overlap_days if overlap else None)
    given = load_public_key(_read(public_key), where=str(public_key)) if public_key else None
    secret = Passphrase("intermediate", intermediate_passphrase_file, os.environ)
    made = issue_signer(
        authorities, folder / INTERMEDIATE_KEY, secret, signer_id, period=Period.from_now(now, days), now=now, given=given
    )
    written = write_signer(kept, signer_id, made)
    _print_signer(folder, authorities, made, written, format_=format_, old_end=max(ends, default=None), now=now)
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}). Nothing was made.") from error


def _print_authorities(folder: Path, made: Authorities, domain: str, *, with_root: bool, format_: str) -> None:
    root_end, end = made.root.not_valid_after_utc.isoformat(), made.intermediate.not_valid_after_utc.isoformat()
    if format_ == "json":
        shown: dict[str, Any] = {"exit_code": 0, "folder": str(folder), "domain": domain, "root_sha256": made.root_fingerprint}
        output.print_json(shown | {"root_ends": root_end, "intermediate_ends": end})
        return
    print(f"{folder / 'root.pem'}  the root's certificate, until {root_end}")
    if with_root:
        print(f"{folder / ROOT_KEY}  its key, encrypted, mode 0600: take it offline, twice, and remove it here")
    print(f"{folder / 'intermediate.pem'}  the intermediate's certificate, until {end}, for {domain} and what ends with it")
    print(f"{folder / INTERMEDIATE_KEY}  its key, encrypted, mode 0600: for `kinto-signer pki issue`")
    print(f"Root (SHA-256): {made.root_fingerprint}")
    print("Readers pin this, with the signer id. Give it to them by another way than the server, so that they can compare.")


def _print_signer(
    folder: Path,
    authorities: Authorities,
    made: NewSigner,
    written: dict[str, Path],
    *,
    format_: str,
    old_end: int | None,
    now: int,
) -> None:
    begin, end = made.certificate.not_valid_before_utc.isoformat(), made.certificate.not_valid_after_utc.isoformat()
    still_here = (folder / ROOT_KEY).exists()
    if format_ == "json":
        shown: dict[str, Any] = {"exit_code": 0, **{name: str(path) for name, path in written.items()}}
        shown |= {
            "begins": begin,
            "ends": end,
            "serial": f"{made.certificate.serial_number:x}",
            "key_sha256": made.key.fingerprint,
        }
        shown |= {"root_sha256": authorities.root_fingerprint, "old_ends": output.iso(old_end) if old_end else None}
        output.print_json(shown | {"root_key_is_here": still_here})
        return
    if "private_key" in written:
        print(f"{written['private_key']}  private key, mode 0600: move it to the signer")
    print(f"{written['public_key']}  public key ({made.key.fingerprint})")
    print(f"{written['chain']}  certificates, from the signer's to the root's, until {end}")
    if old_end is not None and old_end > now:
        print(f"The old certificate is good for another {(old_end - now) // DAY_S} days: bring the new one to the signer before.")
    print(f"Root (SHA-256): {authorities.root_fingerprint}")
    if still_here:
        print(f"{folder / ROOT_KEY} is still here: take it offline, twice, and remove it here.")
