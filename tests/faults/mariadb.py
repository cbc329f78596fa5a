"""MariaDB servers of a test's own (own.py), which it may starve and put back in time, too; and what
the tests of MySQL share: an entity on two of them, locks, and a reader of their tables."""

import contextlib
import itertools
import json
import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pymysql

import harness
import own
import stores
import support
import wire
from instance import cache_root
from process import program
from server_mariadb import make_template

DATABASE, USER, PASSWORD = "lockstep", "lockstep", "of-a-test-only"
ADMIN = "admin"
# what docs and error messages ask for, and no more: a server-wide right would hide read_only
GRANTS = "SELECT, INSERT, UPDATE, CREATE, ALTER, CREATE TEMPORARY TABLES"
TIMEOUT_S = 20


def copy_folder(source, target):
    subprocess.run(["cp", "-a", "--sparse=always", source, target], check=True)


@contextlib.contextmanager
def frozen(process):
    """A process that stands still during the block, so that the test sees things before it does."""
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


class Server(own.Server):
    """One mariadbd. options are its own, e.g. max_connections=5; on_tmpfs_mb puts its data on a
    file system of that size, in a mount namespace of the server's own (self.data leads there).
    That takes root, or a kernel that gives users namespaces of their own."""

    program = "mariadbd"

    def __init__(self, on_tmpfs_mb=None, **options):
        super().__init__("lockstep-maria.")
        self.on_tmpfs_mb = on_tmpfs_mb
        self.options = options
        self.admin_port = own.free_port()
        self.inside = self.folder / "data"  # as the server sees it
        if on_tmpfs_mb is None:
            template = make_template(SimpleNamespace(cache=cache_root()))
            copy_folder(template, self.inside)
        else:
            self.inside.mkdir()
        (self.folder / "init.sql").write_text(
            "SET SESSION sql_log_bin = 0;\n"
            f"CREATE DATABASE IF NOT EXISTS {DATABASE};\n"
            f"CREATE USER IF NOT EXISTS '{USER}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT {GRANTS} ON {DATABASE}.* TO '{USER}'@'127.0.0.1';\n"
            f"CREATE USER IF NOT EXISTS '{ADMIN}'@'127.0.0.1' IDENTIFIED BY '{PASSWORD}';\n"
            f"GRANT ALL ON *.* TO '{ADMIN}'@'127.0.0.1';\n"
        )
        (self.folder / "password").write_text(PASSWORD + "\n")

    @property
    def data(self):
        """The data folder, as anybody sees it."""
        if self.on_tmpfs_mb is None:
            return self.inside
        return Path(f"/proc/{self.process.pid}/root{self.inside}")

    def command(self):
        options = {
            "datadir": self.inside,
            "port": self.port,
            "extra-port": self.admin_port,  # lets the test in when every other connection is taken
            "socket": self.folder / "socket",
            "pid-file": self.folder / "pid",
            "tmpdir": self.folder,
            "init-file": self.folder / "init.sql",
            "bind-address": "127.0.0.1",
            "character-set-server": "utf8mb4",
            "innodb-buffer-pool-size": "64M",
            "innodb-log-file-size": "16M",
            "innodb-use-native-aio": 0,  # io_uring may hold the files after a kill
            "max-allowed-packet": "16M",
            "table-open-cache": 2400,
            "performance-schema": 0,
            **self.options,
        }
        as_root = os.geteuid() == 0 or self.on_tmpfs_mb is not None  # in its namespace, it is
        user = ["--user=root"] if as_root else []
        words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        server = [self.executable(), "--no-defaults", "--skip-name-resolve", *user, *words]
        if self.on_tmpfs_mb is None:
            return server
        return self._with_own_file_system(server)

    def _with_own_file_system(self, server):
        """In a mount namespace of the server's own, so that nothing stays mounted after it."""
        template = make_template(SimpleNamespace(cache=cache_root()))
        script = (
            'mount -t tmpfs -o size="$1"m lockstep-test "$2" && cp -a --sparse=never "$3"/. "$2" '
            '&& shift 3 && exec "$@"'
        )
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        shell = ["sh", "-c", script, "sh", str(self.on_tmpfs_mb), self.inside, template]
        return [program("unshare"), *user, "--mount", *shell, *server]

    def ask(self):
        try:
            return self.sql("SELECT 1")
        except pymysql.Error:
            return None

    def back_up(self):
        """Of a server that is stopped; replaces an earlier backup."""
        shutil.rmtree(self.folder / "backup", ignore_errors=True)
        copy_folder(self.inside, self.folder / "backup")

    def restore(self):
        """Of a server that is stopped or was killed."""
        shutil.rmtree(self.inside)
        copy_folder(self.folder / "backup", self.inside)

    def fill_disk(self):
        """Takes all room that is left on the server's own file system."""
        with open(self.data / "ballast", "wb", buffering=0) as ballast:
            for size in (1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while ballast.write(bytes(size)) == size:
                        pass

    def free_disk(self):
        (self.data / "ballast").unlink()

    def connection(self, database=DATABASE, **options):
        return pymysql.connect(
            host="127.0.0.1",
            port=self.admin_port,
            user=ADMIN,
            password=PASSWORD,
            database=database,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=TIMEOUT_S,
            read_timeout=TIMEOUT_S,
            **options,
        )

    def sql(self, *statements):
        """Runs them as an administrator; the rows of the last."""
        with self.connection() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    def counter(self, name):
        """One of SHOW GLOBAL STATUS, e.g. Aborted_clients."""
        rows = self.sql(f"SHOW GLOBAL STATUS LIKE '{name}'")
        return int(rows[0][1])

    def entry(self, partitions, port=None):
        """The server as the configuration of a sink names it; port: of a proxy before it."""
        return {
            "host": "127.0.0.1",
            "port": port or self.port,
            "database": DATABASE,
            "user": USER,
            "password_file": str(self.folder / "password"),
            "partitions": partitions,
        }


def of_this_run(name):
    """An entity's name of this run alone: what an earlier run left in the log would come, too."""
    return name + secrets.token_hex(2)


def expected_of(entity):
    return stores.newest_of_log(topic=f"{entity}.state.1")


def held_by(entity, servers):
    """All that these servers hold: {key: (version, deleted, fields)}."""
    held = {}
    for server in servers:
        with server.connection(cursorclass=pymysql.cursors.DictCursor) as connection:
            with connection.cursor() as cursor:
                cursor.execute(f"SHOW TABLES LIKE '{entity}\\_%'")
                tables = [name for row in cursor.fetchall() for name in row.values()]
                for table in tables:
                    if table != f"{entity}_mark":
                        cursor.execute(f"SELECT * FROM {table}")
                        held.update((row["id"].decode(), image(row)) for row in cursor.fetchall())
    return held


def image(row):
    return row["_v"], bool(row["_deleted"]), {} if row["_deleted"] else stores.mysql_fields(row)


def table_of(entity, key):
    return f"{entity}_{wire.shard_of(key):04d}"


def count_of(entity, server, keys):
    """How many of these keys a server holds."""
    tables = {}
    for key in keys:
        tables.setdefault(table_of(entity, key), []).append(key.encode())
    found = 0
    with server.connection() as connection, connection.cursor() as cursor:
        for table, ids in tables.items():
            cursor.execute(f"SELECT COUNT(*) FROM {table} WHERE id IN %s", (ids,))
            found += cursor.fetchone()[0]
    return found


def wait_for(entity, server, keys):
    harness.wait_until(
        lambda: count_of(entity, server, keys) == len(keys),
        f"{len(keys)} members on port {server.port}",
    )


@contextlib.contextmanager
def marks_held(entity, server):
    """Nobody can move a mark during the block: what is written then is newer than every mark. Looks
    read the marks all the same. The server may die in the block."""
    connection = server.connection()
    try:
        cursor = connection.cursor()
        cursor.execute("BEGIN")
        cursor.execute(f"SELECT * FROM {entity}_mark FOR UPDATE")
        yield
    finally:
        with contextlib.suppress(pymysql.Error):
            connection.rollback()
            connection.close()


def wait_for_looks(server, n):
    """Until n more looks were made at this server: each asks for its uptime."""

    def asked():  # not by SHOW STATUS, which would count itself
        table = "information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME = 'Com_show_status'"
        return int(server.sql(f"SELECT VARIABLE_VALUE FROM {table}")[0][0])

    before = asked()
    harness.wait_until(lambda: asked() >= before + n, f"{n} looks")


def marks_of(entity, server):
    """{partition: (version, genesis)}"""
    rows = server.sql(f"SELECT _partition, _v, _genesis FROM {entity}_mark")
    return {partition: (version, genesis) for partition, version, genesis in rows}


def lines(ids, **fields):
    """NDJSON for `lockstep publish`."""
    return "".join(json.dumps({"id": key, **fields}) + "\n" for key in ids)


def keys_where(condition, n, prefix):
    """n keys whose shard fulfils the condition."""
    numbered = (f"{prefix}-{number}" for number in itertools.count())
    fitting = (key for key in numbered if condition(wire.shard_of(key)))
    return list(itertools.islice(fitting, n))


def keys_of(partition, n, prefix):
    """n keys that live on one partition."""
    return keys_where(lambda shard: shard % stores.PARTITIONS == partition, n, prefix)


def keys_of_shard(wanted, n, prefix):
    """n keys that live in one table."""
    return keys_where(lambda shard: shard == wanted, n, prefix)


class Pair(contextlib.ExitStack):
    """Two servers, and an entity of their own whose one sink writes to both. A context manager.

    The first is the one that fails; the second must go on. Options are the first server's."""

    FIRST, SECOND = "0-3", "4-7"  # their partitions
    ON_FIRST, ON_SECOND = 0, 4  # one partition of each

    def __init__(self, entity, prefix, **options):
        super().__init__()
        self.entity = entity = of_this_run(entity)
        self.first, self.second = Server(**options), Server()
        self.story = support.Story(entity, prefix, ["mysql"], self.writes_to(self.first.port))
        self._number = itertools.count()

    def writes_to(self, first_port):
        """A change for support.Story: the sink writes to both servers, the first by this port."""

        def change(config):
            config["sinks"]["mysql"] = {
                "kind": "mysql",
                "servers": [
                    self.first.entry(self.FIRST, first_port),
                    self.second.entry(self.SECOND),
                ],
                "connect_timeout_ms": 1000,
                "request_timeout_ms": 2000,  # a lock is waited for half as long
            }

        return change

    def __enter__(self):
        super().__enter__()
        for server in (self.first, self.second):
            self.callback(server.close)
            server.start()
        self.enter_context(self.story)
        return self

    def new_keys(self, partition, n=10):
        return keys_of(partition, n, f"k{next(self._number)}")

    def publish(self, keys, **fields):
        self.story.publish_lines(lines(keys, **(fields or {"name": "Ana"})))

    def publish_to_both(self):
        """New members for each server; returns their keys, the first server's first."""
        ours, others = self.new_keys(self.ON_FIRST), self.new_keys(self.ON_SECOND)
        self.publish(ours + others)
        return ours, others

    def wait_for(self, server, keys):
        wait_for(self.entity, server, keys)

    def wait_for_error(self, text):
        """Until the sink's newest error has this text; returns its status."""
        return self.story.wait_status("mysql", text, lambda now: text in now["last_error"])

    @contextlib.contextmanager
    def second_goes_on(self):
        """What is published for both servers, before and after the block in which the first one's
        illness shows, comes to the second; and the sink is not halted by it."""
        before = self.publish_to_both()
        self.wait_for(self.second, before[1])
        yield
        now = self.story.status("mysql")
        assert now["state"] != "HALTED", now
        after = self.publish_to_both()
        self.wait_for(self.second, after[1])

    def settle(self):
        """While the worker runs: caught up, counted, and equal by the program's verify as well as
        by our own reading of log and servers. Returns the status."""
        now = self.story.settle()["mysql"]
        held, expected = held_by(self.entity, [self.first, self.second]), expected_of(self.entity)
        assert held == expected, differences(held, expected)
        return now


def differences(held, expected):
    keys = [key for key in held.keys() | expected.keys() if held.get(key) != expected.get(key)]
    some = {key: (held.get(key), expected.get(key)) for key in sorted(keys)[:3]}
    return f"{len(keys)} keys differ, e.g. (held, expected): {some}"
