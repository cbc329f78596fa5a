"""MariaDB: two independent servers that share the shard tables between them; and, only by name, a
primary with a binary log (mysql-p) and its replica (mysql-r), which is read-only until promoted.

The data directory is made once per cache and version with mariadb-install-db and then copied:
initialising two servers costs more CPU than starting them. The database and the user are made by
the server itself at every start (init_file), so no root login over TCP is needed or possible:
root may log in by the socket only, as the user who started the stack.
"""

import getpass
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from instance import Instance, StackError, locked, write_atomically
from process import Proc, program

SOCKET_PATH_MAX = 107
DATABASE = "lockstep"
USER = "lockstep"
PRIMARY, REPLICA = "mysql-p", "mysql-r"


class MariaDB:
    BASE_PORTS = {"mysql-1": 13306, "mysql-2": 13307}
    EXTRA_PORTS = {"mysql-p": 13308, "mysql-r": 13309}

    def __init__(self, instance: Instance, name: str):
        self.instance = instance
        self.name = name
        self.port = instance.port({**self.BASE_PORTS, **self.EXTRA_PORTS}[name])
        self.where = f"127.0.0.1:{self.port}"
        self.socket = instance.sub("run", f"{name}.sock")
        self.proc = Proc(name, instance, {"mysql": self.port}, instance.sub("data", name))
        self.procs = [self.proc]

    def prepare(self) -> None:
        if len(str(self.socket)) > SOCKET_PATH_MAX:
            raise StackError(
                f"{self.socket} is too long for a socket ({SOCKET_PATH_MAX} characters): "
                "choose a shorter LOCKSTEP_STATE"
            )
        if not self.proc.data_dir.exists():
            self._copy_template()
        etc = self.instance.sub("etc")
        options, init = etc / f"{self.name}.cnf", self.instance.sub("secrets", f"{self.name}.sql")
        write_atomically(init, self._init_sql(), 0o600)
        write_atomically(options, self._options(init))
        self.proc.argv = [program("mariadbd"), f"--defaults-file={options}"]

    def _copy_template(self) -> None:
        template = make_template(self.instance)
        part = self.proc.data_dir.with_suffix(".part")
        if part.exists():
            shutil.rmtree(part)
        subprocess.run(["cp", "-a", "--sparse=always", template, part], check=True)
        os.rename(part, self.proc.data_dir)

    def _init_sql(self) -> str:
        password = self.instance.secret("mysql")  # hexadecimal: nothing to quote
        statements = [
            f"CREATE DATABASE IF NOT EXISTS {DATABASE}",
            f"CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1'",
            f"ALTER USER '{USER}'@'127.0.0.1' IDENTIFIED BY '{password}'",
            f"GRANT ALL PRIVILEGES ON {DATABASE}.* TO '{USER}'@'127.0.0.1'",
        ]
        if self.replicated:
            # each of the two has accounts of its own making: nothing of this is replicated
            statements.insert(0, "SET SESSION sql_log_bin = 0")
            statements.append(f"GRANT REPLICATION SLAVE ON *.* TO '{USER}'@'127.0.0.1'")
        if self.name == REPLICA and not self._followed.exists():
            primary = self.instance.port(self.EXTRA_PORTS[PRIMARY])
            statements += [
                f"CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={primary}, "
                f"MASTER_USER='{USER}', MASTER_PASSWORD='{password}', "
                "MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
                "START SLAVE",
            ]
        return "".join(f"{statement};\n" for statement in statements)

    @property
    def replicated(self) -> bool:
        return self.name in self.EXTRA_PORTS

    @property
    def _followed(self) -> Path:
        """A file that says that this replica has been told its primary once: a promoted one must not
        be told again. The server itself remembers a primary that was not taken from it."""
        return self.proc.data_dir / "lockstep-followed"

    def _options(self, init: Path) -> str:
        user = "user=root\n" if os.geteuid() == 0 else ""
        log = "skip-log-bin"
        if self.replicated:
            log = f"log-bin={self.name}\nbinlog-format=ROW\nsync-binlog=1\nlog-slave-updates\n"
            log += f"server-id={1 + list(self.EXTRA_PORTS).index(self.name)}\nslave-net-timeout=5"
            log += "\nread-only" if self.name == REPLICA else ""
        return f"""\
# Written by ./dev stack up; changes are overwritten.
[mariadbd]
{user}datadir={self.proc.data_dir}
socket={self.socket}
pid-file={self.instance.sub("run", f"{self.name}.mariadbd.pid")}
tmpdir={self.instance.sub("tmp")}
init-file={init}
bind-address=127.0.0.1
port={self.port}
skip-name-resolve
{log}
performance-schema=off
character-set-server=utf8mb4

# an acknowledged commit is on disk: a mark in the store must never be ahead of its rows
innodb-flush-log-at-trx-commit=1
innodb-buffer-pool-size=256M
innodb-log-file-size=96M
max-allowed-packet=16M
max-connections=200

# 1024 shard tables, one file each
table-open-cache=4000
table-definition-cache=2400
innodb-open-files=4000
open-files-limit=16384
"""

    def probe(self, proc: Proc) -> str:
        """Empty once the program's own user can log in over TCP, else why it can't."""
        run = subprocess.run(
            [
                *(program("mariadb"), "--no-defaults", "--protocol=tcp", "--host=127.0.0.1"),
                *(f"--port={self.port}", f"--user={USER}", "--connect-timeout=2"),
                *self.client_options(),
                *("--batch", "--skip-column-names", "--execute=SELECT 1 FROM DUAL", DATABASE),
            ],
            env={"PATH": os.environ.get("PATH", ""), "MYSQL_PWD": self.instance.secret("mysql")},
            capture_output=True,
            text=True,
            check=False,
        )
        return "" if run.returncode == 0 else run.stderr.strip()

    def client_options(self) -> list:
        """More of them for the client that probes."""
        return []

    def ready(self) -> str:
        if reason := self.probe(self.proc):
            return reason
        if self.name == REPLICA:
            self._followed.touch()
        return ""


def make_template(instance: Instance) -> Path:
    """A pristine data directory in the cache, for this version and this user."""
    version = subprocess.run(
        [program("mariadbd"), "--version"], capture_output=True, text=True, check=True
    ).stdout
    key = hashlib.sha256(f"{version} {getpass.getuser()}".encode()).hexdigest()[:12]
    template = instance.cache / f"mariadb-{key}"
    with locked(instance.cache / ".mariadb.lock"):
        if template.exists():
            return template
        part = template.with_suffix(".part")
        if part.exists():
            shutil.rmtree(part)
        run = subprocess.run(
            [
                *(program("mariadb-install-db"), "--no-defaults", f"--datadir={part}"),
                *(f"--user={getpass.getuser()}", "--skip-test-db", "--skip-name-resolve"),
                "--force",  # even where the machine does not know its own name: nothing here needs it
                "--auth-root-authentication-method=socket",
                f"--auth-root-socket-user={getpass.getuser()}",
                *("--character-set-server=utf8mb4", "--innodb-log-file-size=96M"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            shutil.rmtree(part, ignore_errors=True)
            raise StackError(f"mariadb-install-db failed:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
        os.rename(part, template)
    return template
