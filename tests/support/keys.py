"""Key pairs for tests."""

import dataclasses
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec


@dataclasses.dataclass(frozen=True)
class KeyPair:
    """A P-384 key pair in two PEM files."""

    private: Path
    public: Path

    def key(self) -> ec.EllipticCurvePrivateKey:
        key = serialization.load_pem_private_key(self.private.read_bytes(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise TypeError(f"{self.private} holds no elliptic curve key.")
        return key


def write_key_pair(folder: Path, name: str = "signer") -> KeyPair:
    key = ec.generate_private_key(ec.SECP384R1())
    pair = KeyPair(private=folder / f"{name}-private.pem", public=folder / f"{name}-public.pem")
    pair.private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    pair.private.chmod(0o600)
    pair.public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return pair
