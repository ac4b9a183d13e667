"""What an Autograph server signs with: real keys, and for a `contentsignaturepki` a real chain, made anew at every start."""

import base64
import datetime
import hashlib
import itertools
import secrets

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DOMAIN = "content-signature.mozilla.org"
DAY = datetime.timedelta(days=1)
PREFIX = b"Content-Signature:\x00"
CURVES = {
    "p256ecdsa": (ec.SECP256R1(), hashes.SHA256(), 32),
    "p384ecdsa": (ec.SECP384R1(), hashes.SHA384(), 48),
    "p521ecdsa": (ec.SECP521R1(), hashes.SHA512(), 66),
}


class SigningKey:
    """A `contentsignature` key."""

    type = "contentsignature"

    def __init__(self, name, mode="p384ecdsa"):
        self.name = name
        self.mode = mode
        self.x5u = ""
        self.curve, self.hash, self.size = CURVES[mode]
        self.key = ec.generate_private_key(self.curve)

    @property
    def public_key(self):
        return base64.b64encode(_der(self.key)).decode()

    def sign_data(self, data):
        digest = hashes.Hash(self.hash)
        digest.update(PREFIX + data)
        return self.sign_hash(digest.finalize())

    def sign_hash(self, digest):
        der = self.key.sign(digest, ec.ECDSA(utils.Prehashed(self.hash)))
        r, s = utils.decode_dss_signature(der)
        raw = r.to_bytes(self.size, "big") + s.to_bytes(self.size, "big")
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


class ChainedKey(SigningKey):
    """A `contentsignaturepki` key: its public key is in the chain alone."""

    type = "contentsignaturepki"
    public_key = ""
    numbers = itertools.count(1)

    def __init__(self, name, base_url, pki, validity=(-DAY, 20 * DAY)):
        super().__init__(name)
        self.chain = pki.chain(f"{name}.{DOMAIN}", self.key, validity)
        self.file = f"{name}.{DOMAIN}-{datetime.date.today()}-{next(self.numbers)}.chain"  # noqa: DTZ011
        self.x5u = f"{base_url}/x5u/{name}/{self.file}"


class Pki:
    """A root and an intermediate. ``root_sha256`` is what a reader would pin."""

    def __init__(self):
        self.root_key, self.intermediate_key = (ec.generate_private_key(ec.SECP384R1()) for _ in range(2))
        self.root = _certificate("standin root", self.root_key, None, self.root_key, (-DAY, 3650 * DAY), _authority())
        constraint = x509.NameConstraints([x509.DNSName(f".{DOMAIN}")], None)
        extensions = [*_authority(), (constraint, True)]
        self.intermediate = _certificate(
            "standin intermediate", self.intermediate_key, self.root, self.root_key, (-DAY, 365 * DAY), extensions
        )

    @property
    def root_sha256(self):
        return hashlib.sha256(self.root.public_bytes(serialization.Encoding.DER)).hexdigest()

    def chain(self, name, key, validity):
        """Leaf, intermediate, root, as PEM."""
        extensions = [
            (x509.SubjectAlternativeName([x509.DNSName(name)]), False),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False),
            (x509.KeyUsage(True, *[False] * 8), True),
        ]
        leaf = _certificate(name, key, self.intermediate, self.intermediate_key, validity, extensions)
        return b"".join(each.public_bytes(serialization.Encoding.PEM) for each in (leaf, self.intermediate, self.root))


def _authority():
    usage = x509.KeyUsage(*[False] * 5, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False)
    return [(x509.BasicConstraints(ca=True, path_length=None), True), (usage, True)]


def _certificate(name, key, issuer, issuer_key, validity, extensions):
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + validity[0])
        .not_valid_after(now + validity[1])
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA384())


def _der(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def new_ref():
    """Two random 64-bit numbers in base 36: of variable length."""
    return _base36(secrets.randbits(64)) + _base36(secrets.randbits(64))


def _base36(number):
    digits = ""
    while number or not digits:
        number, digit = divmod(number, 36)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits
