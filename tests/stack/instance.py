"""One stack instance: its directory, port offset, secrets and the places everything else uses.

An instance is named by LOCKSTEP_STACK (default "local") and lives in one directory under
LOCKSTEP_STATE. A marker file in it says that the directory is ours and remembers the port
offset; `wipe` refuses a directory without it. Offsets are multiples of 1000, and no two base
ports are equal modulo 1000, so two instances never collide.
"""

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent.parent
HERE = Path(__file__).resolve().parent

OFFSETS_FIXED = {"local": 0, "test": 1000}
OFFSETS_DERIVED = range(2000, 13000, 1000)  # base ports + 12000 stay below the ephemeral range
OFFSET_MAX = 13000
MARKER = ".lockstep-stack"


class StackError(Exception):
    """Something the user has to know and can act on; printed without a traceback."""


def state_root() -> Path:
    home = os.environ.get("XDG_STATE_HOME") or os.path.join(Path.home(), ".local", "state")
    return Path(os.environ.get("LOCKSTEP_STATE") or os.path.join(home, "lockstep")).absolute()


def cache_root() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(Path.home(), ".cache")
    return Path(os.environ.get("LOCKSTEP_CACHE") or os.path.join(home, "lockstep")).absolute()


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    """The file is either the old one or the whole new one, and never readable too widely."""
    fd, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        os.fchmod(fd, mode)
    os.replace(temporary, path)


class Instance:
    """The directory of one stack; `create` makes it, reading needs only its marker."""

    def __init__(self, name: str):
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", name):
            raise StackError(
                f"LOCKSTEP_STACK={name!r} is not a name: lower-case letters, digits and '-' only"
            )
        self.name = name
        self.dir = state_root() / name
        self.marker = self.dir / MARKER
        self.cache = cache_root()
        self.config_file = self.dir / "lockstep.yaml"

    @property
    def exists(self) -> bool:
        return self.marker.is_file()

    @property
    def offset(self) -> int:
        return json.loads(self.marker.read_text(encoding="utf-8"))["port_offset"]

    def port(self, base: int) -> int:
        return base + self.offset

    def sub(self, *parts: str) -> Path:
        return self.dir.joinpath(*parts)

    def create(self) -> None:
        """Make the directory, its marker and its secrets; keep whatever is there already."""
        if self.dir.exists() and not self.exists and any(self.dir.iterdir()):
            raise StackError(f"{self.dir} exists and is not a stack's directory: it has no {MARKER}")
        self.dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(state_root() / ".lock"):
            if not self.exists:
                marker = {"name": self.name, "port_offset": self._choose_offset()}
                write_atomically(self.marker, json.dumps(marker) + "\n")
        self._check_offset_kept()
        for part in ("run", "log", "data", "etc", "tmp", "state"):
            self.sub(part).mkdir(exist_ok=True)
        self.sub("secrets").mkdir(exist_ok=True, mode=0o700)
        for store in ("mysql", "redis"):
            path = self.secret_file(store)
            if not path.exists():
                write_atomically(path, secrets.token_hex(16) + "\n", 0o600)

    def locked(self):
        """Two commands never act on one stack at once."""
        notice = f"waiting for another command on the stack '{self.name}'"
        return locked(self.sub("run", "lock"), notice)

    def secret_file(self, store: str) -> Path:
        return self.sub("secrets", store)

    def secret(self, store: str) -> str:
        return self.secret_file(store).read_text(encoding="utf-8").strip()

    def remove(self) -> None:
        if not self.exists and not any(self.dir.iterdir()):
            self.dir.rmdir()  # as an interrupted create or remove leaves it
            return
        if not self.exists:
            raise StackError(f"{self.dir} is not a stack's directory (no {MARKER}): nothing removed")
        marker = self.marker
        for entry in self.dir.iterdir():  # the marker goes last, so that an interrupted wipe resumes
            if entry == marker:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        marker.unlink()
        self.dir.rmdir()

    def _offset_from_environment(self):
        text = os.environ.get("LOCKSTEP_PORT_OFFSET")
        if not text:
            return None
        if not text.isdigit() or int(text) > OFFSET_MAX:
            raise StackError(f"LOCKSTEP_PORT_OFFSET={text}: expected a number from 0 to {OFFSET_MAX}")
        return int(text)

    def _check_offset_kept(self) -> None:
        wanted = self._offset_from_environment()
        if wanted is not None and wanted != self.offset:
            raise StackError(
                f"stack '{self.name}' uses port offset {self.offset}; LOCKSTEP_PORT_OFFSET={wanted} "
                "would need a new one: ./dev stack wipe, or another LOCKSTEP_STACK"
            )

    def _choose_offset(self) -> int:
        wanted = self._offset_from_environment()
        if wanted is not None:
            return wanted
        if self.name in OFFSETS_FIXED:
            return OFFSETS_FIXED[self.name]
        taken = {
            json.loads(marker.read_text(encoding="utf-8"))["port_offset"]
            for marker in state_root().glob(f"*/{MARKER}")
        }
        start = zlib.crc32(self.name.encode()) % len(OFFSETS_DERIVED)
        for i in range(len(OFFSETS_DERIVED)):
            offset = OFFSETS_DERIVED[(start + i) % len(OFFSETS_DERIVED)]
            if offset not in taken:
                return offset
        raise StackError(
            f"all {len(OFFSETS_DERIVED)} port offsets are in use by stacks under {state_root()}: "
            "wipe one, or give LOCKSTEP_PORT_OFFSET"
        )


@contextlib.contextmanager
def locked(path: Path, notice: str = ""):
    """Hold an exclusive lock on a file; says `notice` if it has to wait for it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if notice:
                print(notice, file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
