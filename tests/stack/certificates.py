"""Certificates of the stack's TLS servers: an authority, and what each server shows, good or bad.

All of it is made by openssl in the stack's secrets folder, once. A server reads NAME.pem and
NAME.key there; install() says which certificate that is, and the server takes it when it is started
again (or told to look). Kinds: "good" (for 127.0.0.1), "expired", "elsewhere" (of another host's
name), "foreign" (of an authority that nobody trusts). The password that kafka-tls and es-tls ask for
is there too.
"""

import secrets
import subprocess
from pathlib import Path

from instance import Instance, StackError, locked, write_atomically

KINDS = ("good", "expired", "elsewhere", "foreign")
DAYS = "36500"
LONG_AGO = ("20200101000000Z", "20210101000000Z")
HERE_NAMES, OTHER_NAMES = "IP:127.0.0.1", "DNS:elsewhere.example"

# `openssl ca`, unlike `openssl x509`, can make one that has expired.
CA_SETTINGS = """\
[ca]
default_ca = own
[own]
database = {folder}/{name}.index
new_certs_dir = {folder}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
copy_extensions = copy
[any]
commonName = supplied
"""


def folder(instance: Instance) -> Path:
    return instance.sub("secrets", "tls")


def authority(instance: Instance) -> Path:
    """The certificate that clients check servers against."""
    return folder(instance) / "ca.pem"


def password_file(instance: Instance) -> Path:
    return folder(instance) / "password"


def password(instance: Instance) -> str:
    return password_file(instance).read_text(encoding="ascii").strip()


def prepare(instance: Instance, *servers: str) -> None:
    """Makes what is missing; a server that has none yet gets a good certificate."""
    path = folder(instance)
    path.mkdir(mode=0o700, exist_ok=True)
    with locked(path / "lock"):  # servers are prepared in parallel
        if not (path / "complete").exists():
            for name in ("ca", "foreign-ca"):
                _make_authority(path, name)
            for kind in KINDS:
                _make_certificate(path, kind)
            write_atomically(password_file(instance), secrets.token_hex(16) + "\n", 0o600)
            (path / "complete").touch()
    for server in servers:
        if not (path / f"{server}.pem").exists():
            install(instance, server, "good")


def install(instance: Instance, server: str, kind: str) -> None:
    path = folder(instance)
    key, shown = ((path / f"kind-{kind}.{end}").read_text(encoding="ascii") for end in ("key", "pem"))
    write_atomically(path / f"{server}.key", key, 0o600)
    write_atomically(path / f"{server}.pem", shown, 0o600)
    write_atomically(path / f"{server}.both.pem", key + shown, 0o600)  # as Kafka wants it


def _make_authority(path: Path, name: str) -> None:
    write_atomically(path / f"{name}.cnf", CA_SETTINGS.format(folder=path, name=name))
    (path / f"{name}.index").touch()
    _openssl(
        *("req", "-x509", "-newkey", "rsa:2048", "-noenc", "-days", DAYS),
        *("-subj", f"/CN=lockstep test {name}", "-addext", "keyUsage=critical,keyCertSign,cRLSign"),
        *("-keyout", path / f"{name}.key", "-out", path / f"{name}.pem"),
    )


def _make_certificate(path: Path, kind: str) -> None:
    request, key, shown = (path / f"kind-{kind}.{end}" for end in ("csr", "key", "pem"))
    names = OTHER_NAMES if kind == "elsewhere" else HERE_NAMES
    signer = "foreign-ca" if kind == "foreign" else "ca"
    _openssl(
        *("req", "-new", "-newkey", "rsa:2048", "-noenc", "-keyout", key, "-out", request),
        *("-subj", "/CN=lockstep test server", "-addext", f"subjectAltName={names}"),
    )
    valid = ("-days", DAYS)
    if kind == "expired":
        valid = ("-startdate", LONG_AGO[0], "-enddate", LONG_AGO[1])
    _openssl(
        *("ca", "-batch", "-notext", "-config", path / f"{signer}.cnf", *valid),
        *("-cert", path / f"{signer}.pem", "-keyfile", path / f"{signer}.key"),
        *("-in", request, "-out", shown),
    )


def _openssl(*words) -> None:
    run = subprocess.run(
        ["openssl", *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        raise StackError(f"openssl {words[0]} failed: {run.stderr[-1000:]}")
