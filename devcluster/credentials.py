"""The cluster's CA, certificates, tokens and kubeconfig, made once and kept; checks no request."""

import ipaddress
import os
import secrets
import ssl
import tempfile
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LIFETIME = timedelta(days=3650)
TOKENS = ("admin", "limited")


@dataclass(frozen=True)
class Credentials:
    """Paths of PEM files, and the tokens by user."""

    ca: Path
    server_certificate: Path
    server_key: Path
    client_certificate: Path
    client_key: Path
    tokens: dict[str, str]

    def server_context(self) -> ssl.SSLContext:
        """Client certificates are welcome, not required: a token does as well."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self.ca))
        context.load_cert_chain(self.server_certificate, self.server_key)
        context.verify_mode = ssl.CERT_OPTIONAL
        return context


def ensure(state_dir: Path, host: str) -> Credentials:
    """Read what is there, make what is missing."""
    folder = state_dir / "pki"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = Credentials(
        ca=folder / "ca.crt",
        server_certificate=folder / f"server-{host}.crt",
        server_key=folder / f"server-{host}.key",
        client_certificate=folder / "client.crt",
        client_key=folder / "client.key",
        tokens={user: _token(folder / f"{user}.token") for user in TOKENS},
    )
    if not found.ca.exists():
        _make_ca(found.ca, folder / "ca.key")
    if not found.server_certificate.exists():
        names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.DNSName("kubernetes.default.svc")]
        names += [
            x509.IPAddress(ipaddress.ip_address(address))
            for address in {"127.0.0.1", reachable_address(host)}
        ]
        _issue(folder, found.server_certificate, found.server_key, "devcluster", "", names)
    if not found.client_certificate.exists():
        _issue(folder, found.client_certificate, found.client_key, "devcluster-admin", "system:masters", [])
    return found


def write_kubeconfig(path: Path, url: str, credentials: Credentials) -> None:
    """Atomically, and for the owner's eyes only: it holds the tokens."""
    clients = {
        "token": {"token": credentials.tokens["admin"]},
        "certificate": {
            "client-certificate-data": _encoded(credentials.client_certificate),
            "client-key-data": _encoded(credentials.client_key),
        },
        "limited": {"token": credentials.tokens["limited"]},
    }
    cluster = {"server": url, "certificate-authority-data": _encoded(credentials.ca)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "devcluster", "cluster": cluster}],
        "users": [{"name": name, "user": user} for name, user in clients.items()],
        "contexts": [
            {"name": name, "context": {"cluster": "devcluster", "user": name, "namespace": "knative-lambda"}}
            for name in clients
        ],
        "current-context": "token",
    }
    _write(path, yaml.safe_dump(config, sort_keys=False).encode())


def _encoded(path: Path) -> str:
    return b64encode(path.read_bytes()).decode()


def reachable_address(host: str) -> str:
    """Where clients find what listens at the host: loopback for a wildcard and for a name."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "127.0.0.1"
    return "127.0.0.1" if address.is_unspecified else host


def _write(path: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    Path(temporary).replace(path)


def _token(path: Path) -> str:
    if not path.exists():
        _write(path, secrets.token_urlsafe(32).encode())
    return path.read_text()


def _private_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, pem)
    return key


def _name(common_name: str, organization: str = "") -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if organization:
        attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization))
    return x509.Name(attributes)


def _builder(subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + LIFETIME)
    )


def _key_usage(is_ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_ca,
        crl_sign=is_ca,
        encipher_only=False,
        decipher_only=False,
    )


def _make_ca(certificate_path: Path, key_path: Path) -> None:
    key = _private_key(key_path)
    name = _name("devcluster-ca")
    certificate = (
        _builder(name, name)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(is_ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))


def _issue(
    folder: Path,
    certificate_path: Path,
    key_path: Path,
    common_name: str,
    organization: str,
    names: list[x509.GeneralName],
) -> None:
    ca_key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    if not isinstance(ca_key, ec.EllipticCurvePrivateKey):
        raise TypeError("ca.key in the state folder is not the key that was made for it")
    ca = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    key = _private_key(key_path)
    usage = ExtendedKeyUsageOID.SERVER_AUTH if names else ExtendedKeyUsageOID.CLIENT_AUTH
    builder = (
        _builder(_name(common_name, organization), ca.subject)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(is_ca=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(ca_key, hashes.SHA256())
    _write(certificate_path, certificate.public_bytes(serialization.Encoding.PEM))
