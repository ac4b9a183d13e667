"""The settings of a signer, a row each: for the only one, and for each of several under its label."""

from __future__ import annotations

from kinto_signer.core.renewal import DEFAULT
from kinto_signer.plugin.settings import Setting

_X5U = (
    "Address at which the same chain file can be fetched, for readers that do not take it from the collection, as Firefox; "
    "`{sha256}` in it stands for the file's SHA-256. Not set: signatures name the chain by its content."
)

KEY_ROWS = (
    Setting(
        "ecdsa.private_key",
        "file",
        None,
        "PEM file with the P-384 private key of the local signer, open or encrypted. Not readable by every user of the machine; "
        "a file that replaces it is taken without a restart.",
    ),
    Setting("ecdsa.public_key", "file", None, "PEM file with a public key whose earlier signatures are accepted as well."),
    Setting("ecdsa.passphrase", "text", None, "Passphrase of an encrypted `ecdsa.private_key`.", secret=True),
    Setting("ecdsa.passphrase_file", "file", None, "File with that passphrase, instead."),
    Setting(
        "ecdsa.chain",
        "file",
        None,
        "PEM file with the certificate chain of `ecdsa.private_key`: the signer's certificate first, the root last. It is "
        "published with every signature; a file that replaces it is taken without a restart, once it fits the key.",
    ),
    Setting("ecdsa.x5u", "text", None, _X5U),
    Setting(
        "autograph.server_url",
        "text",
        None,
        "Address of the Autograph server. https, or http on this machine; http elsewhere only with `autograph.public_key`.",
    ),
    Setting("autograph.hawk_id", "text", None, "The user there."),
    Setting("autograph.hawk_secret", "text", None, "The Hawk secret that is shared with it.", secret=True),
    Setting("autograph.hawk_secret_file", "file", None, "File with that secret, instead."),
    Setting(
        "autograph.key_ids",
        "text",
        "remote-settings",
        "The keys that sign there, separated by white space; all of them in one call.",
    ),
    Setting(
        "autograph.endpoint",
        "text",
        "/sign/hash",
        "`/sign/hash` sends 48 bytes. `/sign/data` sends the whole collection, for a server that does not offer the other.",
    ),
    Setting("autograph.timeout_seconds", "seconds", "30", "Total time for the signatures of one publication."),
    Setting(
        "autograph.public_key",
        "file",
        None,
        "PEM files of the keys that may sign there, separated by white space. Not set: those that the server names, over https, "
        "and proves by signing (`docs/signers.rst`).",
    ),
    Setting(
        "autograph.x5u_hosts",
        "text",
        None,
        "Hosts (`HOST` or `HOST:PORT`), besides `autograph.server_url`'s, from which the certificate chains that the server "
        "names may be fetched; they are published with every signature.",
    ),
    Setting("pkcs11.module", "file", None, "The token's PKCS#11 library, e.g. `/usr/lib/softhsm/libsofthsm2.so`."),
    Setting("pkcs11.token", "text", None, "Label of the token."),
    Setting("pkcs11.key_label", "text", None, "Label of the key on the token."),
    Setting("pkcs11.key_id", "text", None, "Id of the key on the token, in hexadecimal; instead of its label, or with it."),
    Setting("pkcs11.pin", "text", None, "PIN of the token's user.", secret=True),
    Setting("pkcs11.pin_file", "file", None, "File with that PIN, instead."),
    Setting("pkcs11.public_key", "file", None, "PEM file with the public key, for a token that does not hold it."),
    Setting("pkcs11.chain", "file", None, "PEM file with the certificate chain of the token's key, as `ecdsa.chain`."),
    Setting("pkcs11.x5u", "text", None, _X5U),
    Setting(
        "x5u_roots",
        "text",
        None,
        "SHA-256 of root certificates. The signer's own chains have to lead from one of `signer_ids` to one of these, and by "
        "them it recognises what it published with keys that it has not any more.",
    ),
    Setting("signer_ids", "text", None, "The names in the signer's certificates, separated by white space; with `x5u_roots`."),
)
"""What is set about one signer: ``ecdsa.private_key`` where it is the only one, ``signer.new.ecdsa.private_key`` else."""

BACKEND = (
    "What keeps the key: `local` (a PEM file), `autograph` or `pkcs11` (a hardware token). The dotted names of kinto-signer and "
    "kinto-remote-settings are understood too."
)

HEARTBEAT_ROWS = (
    Setting(
        "heartbeat_oldest_signature_days",
        "days_or_0",
        str(DEFAULT.oldest_signature_days),
        "The heartbeat fails where a signature is older than so many days. 0: at no age. Set it to more than `kinto-signer "
        "refresh --older-than` lets a signature get.",
    ),
    Setting(
        "heartbeat_statement_days_left",
        "days_or_0",
        str(DEFAULT.statement_days_left),
        "The heartbeat fails where less than so many days are left of a statement, or half of its time if that is less.",
    ),
    Setting(
        "heartbeat_certificate_percentage_remaining_validity",
        "percent",
        str(DEFAULT.certificate_percentage),
        "The heartbeat fails where less than this share of a certificate's time is left, within the two limits that follow.",
    ),
    Setting(
        "heartbeat_certificate_min_remaining_days",
        "days_or_0",
        str(DEFAULT.certificate_min_days),
        "Whatever the share, it fails below so many days, or half of the certificate's time if that is less.",
    ),
    Setting(
        "heartbeat_certificate_max_remaining_days",
        "days_or_0",
        str(DEFAULT.certificate_max_days),
        "Whatever the share, it does not fail while more than so many days are left.",
    ),
)
"""Below what the heartbeat fails: about the signatures that S has published."""
