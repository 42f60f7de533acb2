"""Certificates for tests: an authority, one certificate for all members, one for clients. Needs `cryptography`.

None of them has a common name: etcd takes a client's for a user name and refuses it at the JSON gateway, and the gateway itself
is a client, with the member's own certificate (https://etcd.io/docs/v3.4/op-guide/authentication/).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True, slots=True)
class Certificates:
    """The paths of the PEM files."""

    ca: str
    server_cert: str
    server_key: str
    client_cert: str
    client_key: str


def make_certificates(directory: Path, hosts: tuple[str, ...] = ("127.0.0.1", "::1", "localhost")) -> Certificates:
    """Write an authority and what it signed into `directory`; members are reached as `hosts` (addresses or names)."""
    directory.mkdir(parents=True, exist_ok=True)
    authority, signer = _authority()
    _write(directory / "ca.pem", authority.public_bytes(serialization.Encoding.PEM))
    _issue(directory, "server", hosts, authority, signer)
    _issue(directory, "client", (), authority, signer)
    names = ("ca.pem", "server.pem", "server.key", "client.pem", "client.key")
    return Certificates(*(str(directory / name) for name in names))


def _authority() -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name("authority")
    draft = _draft(name, name, key).add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return draft.sign(key, hashes.SHA256()), key


def _issue(
    directory: Path, stem: str, hosts: tuple[str, ...], authority: x509.Certificate, signer: ec.EllipticCurvePrivateKey
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    draft = _draft(_name(stem), authority.subject, key).add_extension(usage, critical=False)
    if hosts:
        draft = draft.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    _write(directory / f"{stem}.pem", draft.sign(signer, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    _write(directory / f"{stem}.key", _pem(key))


def _draft(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
    )


def _name(unit: str) -> x509.Name:
    return x509.Name(
        [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "wefted"), x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)]
    )


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    path.chmod(0o600)
