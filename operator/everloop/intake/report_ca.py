"""The CA of the report channel: made once, kept in a Secret, rotated with an overlap of years.

A run gets the bundle when it is made and may report a year later, so a new authority is in every
bundle for a year before it signs, and an old one stays in it until it expires.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_LIFE = timedelta(days=3650)
LONGEST_RUN = timedelta(days=366)  # activeDeadlineSeconds ends at a year
LEAF_LIFE = timedelta(days=90)
LEAF_RENEWAL = timedelta(days=30)  # before its end
SKEW = timedelta(minutes=10)  # clocks of nodes differ
_KEY = re.compile(r"ca-([0-9]+)\.crt")


@dataclass(frozen=True)
class Authority:
    """One generation of the CA, PEM."""

    generation: int
    certificate: str
    key: str

    @cached_property  # every run that begins asks for it
    def ends(self) -> datetime:
        return x509.load_pem_x509_certificate(self.certificate.encode()).not_valid_after_utc


@dataclass(frozen=True)
class Leaf:
    """The server's certificate and key, PEM."""

    certificate: str
    key: str
    ends: datetime


def read(secret_data: Mapping[str, str]) -> list[Authority]:
    """Generations in a Secret's data (base64), oldest first."""
    found = []
    for name, value in secret_data.items():
        match = _KEY.fullmatch(name)
        key = secret_data.get(f"ca-{match[1]}.key") if match else None
        if match and key:
            found.append(Authority(int(match[1]), _decode(value), _decode(key)))
    return sorted(found, key=lambda authority: authority.generation)


def write(authority: Authority) -> dict[str, str]:
    """Its entries in the Secret's data."""
    return {
        f"ca-{authority.generation}.crt": _encode(authority.certificate),
        f"ca-{authority.generation}.key": _encode(authority.key),
    }


def successor(authorities: list[Authority], now: datetime) -> Authority | None:
    """The next generation, when there is none or the newest nears its end."""
    if authorities and authorities[-1].ends - now > 2 * LONGEST_RUN:
        return None
    return make_authority(authorities[-1].generation + 1 if authorities else 1, now)


def bundle(authorities: list[Authority], now: datetime) -> str:
    """What runs trust: every authority that has not expired."""
    return "".join(item.certificate for item in authorities if item.ends > now)


def signer(authorities: list[Authority], now: datetime) -> Authority:
    """The oldest that outlives every run made today, so that its bundle is known to them all."""
    for authority in authorities:
        if authority.ends - now > LONGEST_RUN:
            return authority
    return authorities[-1]


def make_authority(generation: int, now: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"everloop run reports {generation}")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(generation, _pem(certificate), _key_pem(key))


def make_leaf(authority: Authority, hosts: list[str], now: datetime) -> Leaf:
    """A server certificate for these DNS names."""
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    issuer_key = serialization.load_pem_private_key(authority.key.encode(), password=None)
    if not isinstance(issuer_key, ec.EllipticCurvePrivateKey):
        raise ValueError(
            "the CA's key is not an elliptic-curve key: delete the Secret to remake it"
        )
    key = ec.generate_private_key(ec.SECP256R1())
    ends = min(now + LEAF_LIFE, authority.ends)
    names = x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_name("everloop"))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(ends)
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    return Leaf(_pem(certificate), _key_pem(key), ends)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()


def _encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _decode(text: str) -> str:
    return base64.b64decode(text).decode()
