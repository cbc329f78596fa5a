"""The faults of a chaos run. Each is begun, lasts, is ended, and then says what trace it left in the
counters of the server, the proxy or the process table; one without a trace did not happen, and
fails the run."""

import contextlib
import random
import shutil
import signal
import socket
import time

import pymysql
import redis
import requests
from confluent_kafka import Producer

import harness
import servers
import stores
from world import ELASTIC, MYSQL, REDIS

HTTP_S = 20
DEADLOCK = 1213  # the server's code


class Fault:
    """`target` is a server, a worker or "log"; while one goes on, no other has the same target."""

    name = ""
    targets = ()
    lasts = (3, 10)  # seconds, at least and at most
    weight = 2

    def __init__(self, world, target, chance):
        self.world, self.target, self.chance = world, target, chance

    def begin(self):
        raise NotImplementedError

    def felt(self):
        """Whether somebody has met it by now: it goes on until then. (All workers may be away.)"""
        return True

    def end(self):
        pass

    def trace(self):
        """What proves that it happened, in a few words; "" if nothing does."""
        raise NotImplementedError


# --- workers


class WorkerFault(Fault):
    targets = ("worker-1", "worker-2")

    @property
    def worker(self):
        return next(w for w in self.world.workers if w.name == self.target)


class KilledWorker(WorkerFault):
    name = "worker killed"
    weight = 3

    def begin(self):
        self.worker.signal(signal.SIGKILL)
        self.code = self.worker.process.wait()

    def end(self):
        self.worker.start()

    def trace(self):
        return f"ended by signal {-self.code}" if self.code == -signal.SIGKILL else ""


class PausedWorker(WorkerFault):
    """Longer than the session timeout: others take over, and it comes back as a zombie."""

    name = "worker paused beyond its session"
    lasts = (13, 20)

    def begin(self):
        self.worker.signal(signal.SIGSTOP)
        self.state = self._state()

    def _state(self):
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with open(f"/proc/{self.worker.process.pid}/stat", encoding="utf-8") as file:
                state = file.read().rpartition(")")[2].split()[0]
            if state == "T":
                return state
        return ""

    def end(self):
        self.worker.signal(signal.SIGCONT)

    def trace(self):
        return "stood still in the process table" if self.state == "T" else ""


class StoppedWorker(WorkerFault):
    name = "worker stopped under load"

    def begin(self):
        self.worker.signal(signal.SIGTERM)
        self.code = self.worker.process.wait(90)

    def end(self):
        self.worker.start()

    def trace(self):
        return "left with exit code 0" if self.code == 0 else ""


# --- servers as processes


class ServerFault(Fault):
    targets = ("kafka", *MYSQL, *(f"{name}-{i}" for name in REDIS for i in (1, 2, 3)), *ELASTIC)


class KilledServer(ServerFault):
    name = "server killed"
    weight = 4

    def begin(self):
        self.before = servers.pids(self.target)
        servers.kill(self.target)

    def end(self):
        servers.start(self.target, ready=False)

    def trace(self):
        after = servers.pids(self.target)
        gone = self.before and after and not set(self.before) & set(after)
        return f"process {self.before[0]} became {after[0]}" if gone else ""


class PausedServer(ServerFault):
    name = "server frozen"
    lasts = (4, 15)

    def begin(self):
        servers.pause(self.target)  # waits until the process table says so
        self.pid = servers.pids(self.target)[0]

    def end(self):
        servers.resume(self.target, ready=False)

    def trace(self):
        return f"process {self.pid} stood still" if servers.pids(self.target) == [self.pid] else ""


# --- links


class LinkFault(Fault):
    targets = ("kafka", *MYSQL, *REDIS, *ELASTIC)

    @property
    def links(self):
        return self.world.links[self.target]

    def begin(self):
        self.accepted = sum(link.connections() for link in self.links)
        self.faults = [fault for link in self.links for fault in self.break_one(link)]

    def end(self):
        for link in self.links:
            link.heal()

    def accepted_since(self):
        """Connections that had to be made anew."""
        return sum(link.connections() for link in self.links) - self.accepted

    def trace(self):
        harness.wait_until(
            lambda: self.accepted_since() > 0, f"{self.target} is connected to anew", 60
        )
        return f"{self.accepted_since()} connections had to be made anew"


class CutLink(LinkFault):
    name = "link cut"
    weight = 3

    def break_one(self, link):
        link.cut()
        return []


class BlackHole(LinkFault):
    name = "link swallows everything"
    lasts = (5, 14)

    def break_one(self, link):
        return [link.timeout()]


class Resets(LinkFault):
    name = "link resets connections"

    def break_one(self, link):
        return [link.reset_peer(after_ms=self.chance.randint(0, 500))]


class CutAnswers(LinkFault):
    name = "link cuts answers in the middle"

    def break_one(self, link):
        return [link.limit_data(self.chance.randint(100, 3000))]


class SlowLink(LinkFault):
    """Slow enough to be felt, by our own clock at the same link."""

    targets = (*MYSQL, *REDIS, *ELASTIC)
    lasts = (5, 15)

    def begin(self):
        self.faults = [fault for link in self.links for fault in self.break_one(link)]
        self.felt_ms = self._answer_ms(self.links[0].port)

    def _answer_ms(self, port):
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", port), timeout=HTTP_S) as link:
            link.settimeout(HTTP_S)
            if self.target not in MYSQL:  # MySQL speaks first
                link.sendall(b"GET / HTTP/1.0\r\n\r\n" if self.target in ELASTIC else b"PING\r\n")
            with contextlib.suppress(TimeoutError, ConnectionError):
                link.recv(1)
        return (time.monotonic() - start) * 1000

    def trace(self):
        slow = self.felt_ms >= self.at_least_ms
        return f"an answer took {self.felt_ms:.0f} ms" if slow else ""


class LatencyLink(SlowLink):
    name = "link slow to answer"
    at_least_ms = 150

    def break_one(self, link):
        return [link.latency(self.chance.randint(200, 700), jitter_ms=50)]


class TrickleLink(SlowLink):
    """An answer of some tens of KiB takes long to arrive."""

    name = "link down to a trickle"
    targets = (*REDIS, *ELASTIC)
    at_least_ms = 300

    def break_one(self, link):
        return [link.slicer(256, 1000), link.bandwidth(40)]

    def _answer_ms(self, port):
        start = time.monotonic()
        ask = b"GET /_nodes/stats HTTP/1.0\r\n\r\n" if self.target in ELASTIC else b"PING\r\n" * 700
        with socket.create_connection(("127.0.0.1", port), timeout=HTTP_S) as link:
            link.settimeout(HTTP_S)
            link.sendall(ask)
            got = 0
            with contextlib.suppress(TimeoutError, ConnectionError):
                while got < 20000 and (more := link.recv(65536)):
                    got += len(more)
        return (time.monotonic() - start) * 1000


# --- MariaDB from the inside


class MysqlFault(Fault):
    targets = MYSQL

    def connection(self):
        return pymysql.connect(
            unix_socket=str(servers.chosen(self.target)[0].socket),
            user="root",
            autocommit=True,
            database="lockstep",
            read_timeout=HTTP_S,
        )

    def run(self, *statements):
        with self.connection() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return cursor.fetchall()

    def counter(self, name):
        rows = self.run(f"SHOW GLOBAL STATUS LIKE '{name}'")
        return int(rows[0][1])


class ForeignLocks(MysqlFault):
    """Somebody else's transaction holds rows that the worker wants."""

    name = "rows locked by a foreign transaction"

    def begin(self):
        self.before = self.counter("Innodb_row_lock_waits")
        self.held = self.connection()
        tables = sorted(row[0] for row in self.run("SHOW TABLES LIKE 'member\\_0%'"))
        chosen = sorted(self.chance.sample(tables, 40))
        while not self._lock(chosen):
            pass

    def _lock(self, tables):
        """False where it was the victim of a deadlock with a worker: then it has to begin again."""
        self.held.begin()
        with self.held.cursor() as cursor:
            try:
                for table in tables:
                    cursor.execute(f"SELECT COUNT(*) FROM {table} FOR UPDATE")
            except pymysql.err.OperationalError as error:
                if error.args[0] != DEADLOCK:
                    raise
                return False
        return True

    def felt(self):
        return self.counter("Innodb_row_lock_waits") > self.before

    def end(self):
        self.held.rollback()
        self.held.close()

    def trace(self):
        waits = self.counter("Innodb_row_lock_waits") - self.before
        return f"{waits} row lock waits" if waits else ""


class KilledConnections(MysqlFault):
    name = "connections killed by the server"
    lasts = (1, 3)

    def begin(self):
        self.before = self.counter("Aborted_clients")
        self.felt()

    def felt(self):
        rows = self.run("SELECT id FROM information_schema.processlist WHERE user = 'lockstep'")
        for (number,) in rows:
            with contextlib.suppress(pymysql.Error):
                self.run(f"KILL {number}")
        return self.counter("Aborted_clients") > self.before

    def trace(self):
        grew = self.counter("Aborted_clients") - self.before
        return f"{grew} aborted clients" if grew else ""


class ReadOnly(MysqlFault):
    name = "read-only"

    def begin(self):
        self.run("SET GLOBAL read_only = 1")
        self.before = self.counter("Com_begin")

    def felt(self):
        return self.counter("Com_begin") > self.before

    def end(self):
        self.tried = self.counter("Com_begin") - self.before
        self.run("SET GLOBAL read_only = 0")

    def trace(self):
        return f"{self.tried} transactions begun meanwhile" if self.tried else ""


class RestoredBackup(MysqlFault):
    """The server comes back with the data of a while ago."""

    name = "restored from an older backup"
    lasts = (8, 15)
    weight = 1

    def begin(self):
        proc = servers.procs(self.target)[0]
        self.data, self.backup = proc.data_dir, proc.data_dir.with_suffix(".backup")
        servers.stop(self.target)
        shutil.rmtree(self.backup, ignore_errors=True)
        shutil.copytree(self.data, self.backup, symlinks=True)
        servers.start(self.target)
        self.at_backup = self._newest()

    def felt(self):
        return self._newest() > self.at_backup

    def _newest(self):
        return max(row[0] for row in self.run("SELECT _v FROM member_mark")) % (1 << 48)

    def end(self):
        self.newest = self._newest()
        servers.stop(self.target)
        shutil.rmtree(self.data)
        self.backup.rename(self.data)
        # The workers are kept away for as long as it takes to look.
        for link in self.world.links[self.target]:
            link.cut()
        try:
            servers.start(self.target)
            self.restored = self._newest()
        finally:
            for link in self.world.links[self.target]:
                link.heal()

    def trace(self):
        went_back = self.restored < self.newest
        return f"newest mark went from {self.newest} back to {self.restored}" if went_back else ""


# --- Redis from the inside


class RedisFault(Fault):
    targets = tuple(f"{name}-{i}" for name in REDIS for i in (1, 2, 3))

    def node(self):
        port = servers.port(self.target)
        password = servers.INSTANCE.secret("redis")
        return redis.Redis(port=port, username="lockstep", password=password, socket_timeout=HTTP_S)

    def errors(self, kind):
        with self.node() as node:
            return int(node.info("errorstats").get(f"errorstat_{kind}", {}).get("count", 0))


class FlushedNode(RedisFault):
    name = "node flushed"
    lasts = (1, 2)

    def begin(self):
        with self.node() as node:
            self.lost = node.dbsize()
            node.flushall()
            self.calls = node.info("commandstats")["cmdstat_flushall"]["calls"]

    def trace(self):
        return f"{self.lost} keys flushed, {self.calls} flushes in its counters" if self.lost else ""


class OutOfMemory(RedisFault):
    name = "out of memory"

    def begin(self):
        self.before = self.errors("OOM")
        with self.node() as node:
            node.config_set("maxmemory", "1mb")

    def felt(self):
        return self.errors("OOM") > self.before

    def end(self):
        with self.node() as node:
            node.config_set("maxmemory", "512mb")
        self.refused = self.errors("OOM") - self.before

    def trace(self):
        return f"{self.refused} commands refused with OOM" if self.refused else ""


class FlushedScripts(RedisFault):
    name = "scripts flushed"
    lasts = (2, 4)

    def begin(self):
        self.before = self.errors("NOSCRIPT")
        with self.node() as node:
            node.script_flush()

    def trace(self):
        harness.wait_until(
            lambda: self.errors("NOSCRIPT") > self.before, f"NOSCRIPT at {self.target}", 60
        )
        return f"{self.errors('NOSCRIPT') - self.before} commands found no script"


class WipedNode(RedisFault):
    """Killed, and its data are gone when it comes back; its place in the cluster is not."""

    name = "node lost its disk"
    weight = 1

    def begin(self):
        with self.node() as node:
            self.lost = node.dbsize()
        servers.kill(self.target)
        data = servers.procs(self.target)[0].data_dir
        shutil.rmtree(data / "appendonlydir", ignore_errors=True)
        (data / "dump.rdb").unlink(missing_ok=True)

    def end(self):
        servers.start(self.target, ready=False)

    def trace(self):
        return f"{self.lost} keys were on it" if self.lost else ""


# --- Elasticsearch from the inside


class ElasticFault(Fault):
    targets = ELASTIC
    INDEX = "member-000001"

    def call(self, method, path, body=None):
        url = f"http://127.0.0.1:{servers.port(self.target)}{path}"
        reply = requests.request(method, url, json=body, timeout=HTTP_S)
        reply.raise_for_status()
        return reply.json()

    def uuid(self):
        return self.call("GET", f"/{self.INDEX}")[self.INDEX]["settings"]["index"]["uuid"]


class FloodStage(ElasticFault):
    name = "index blocked as by a full disk"

    def _set(self, value):
        body = {"index.blocks.read_only_allow_delete": value}
        self.call("PUT", f"/{self.INDEX}/_settings", body)

    def _indexed(self):
        stats = self.call("GET", f"/{self.INDEX}/_stats/indexing")
        return stats["_all"]["primaries"]["indexing"]["index_total"]

    def begin(self):
        self._set(True)
        counts = []

        def settled():  # what was under way when the block came is through
            counts.append(self._indexed())
            return len(counts) > 3 and counts[-1] == counts[-4]

        harness.wait_until(settled, f"{self.target} to index nothing more", 20)
        self.before = counts[-1]

    def end(self):
        self.grew = self._indexed() - self.before
        self._set(None)

    def trace(self):
        return "nothing was indexed meanwhile, by its own count" if self.grew == 0 else ""


class RefusedLoad(ElasticFault):
    """Elasticsearch's own breaker refuses requests with 429."""

    name = "refuses load with 429"

    def _tripped(self):
        nodes = self.call("GET", "/_nodes/stats/breaker")["nodes"].values()
        return sum(node["breakers"]["inflight_requests"]["tripped"] for node in nodes)

    def _set(self, value):
        body = {"transient": {"network.breaker.inflight_requests.limit": value}}
        self.call("PUT", "/_cluster/settings", body)

    def begin(self):
        self.before = self._tripped()
        self._set("2kb")

    def felt(self):
        return self._tripped() > self.before

    def end(self):
        self._set(None)
        self.tripped = self._tripped() - self.before

    def trace(self):
        return f"its breaker tripped {self.tripped} times" if self.tripped else ""


class LostIndex(ElasticFault):
    """The index is gone; after a while an operator makes an empty one."""

    name = "index lost"
    weight = 1

    def begin(self):
        self.before = self.uuid()
        self.call("DELETE", f"/{self.INDEX}")

    def end(self):
        harness.lockstep("schema", "apply", "--sink", self.target, config=self.world.config)
        self.after = self.uuid()

    def trace(self):
        changed = self.before != self.after
        return f"index {self.before} became {self.after}" if changed else ""


# --- the log


class Garbage(Fault):
    """A foreign publisher floods the topic with what is no record."""

    name = "garbage in the log"
    targets = ("log",)
    lasts = (1, 2)
    weight = 1
    N = 200
    written = 0  # of all such faults

    def begin(self):
        producer = Producer({"bootstrap.servers": stores.BROKERS})
        self.delivered = 0

        def count(error, message):
            del message
            self.delivered += error is None

        for i in range(self.N):
            key = f"garbage-{self.chance.getrandbits(40):x}-{i}"
            value = [b"\xc1garbage", None, b"", bytes(self.chance.getrandbits(8) for _ in range(50))]
            producer.produce(
                "member.state.1",
                key=key,
                value=value[i % 4],
                partition=self.chance.randrange(stores.PARTITIONS),
                on_delivery=count,
            )
        producer.flush(60)
        Garbage.written += self.delivered

    def trace(self):
        return f"{self.delivered} written, and confirmed by the broker" if self.delivered else ""


def kinds():
    """Every fault there is, in a fixed order."""
    found = []

    def walk(kind):
        for child in kind.__subclasses__():
            if child.name:
                found.append(child)
            walk(child)

    walk(Fault)
    return sorted(found, key=lambda kind: kind.name)


def plan(seed, seconds, gap=(2.0, 8.0), at_once=3):
    """What will be broken, when and for how long: [(at, kind, target, lasts, seed of its own)].

    Follows from its arguments alone. No target is broken twice at a time, and no server by two
    faults of which one needs it to answer.
    """
    rng = random.Random(seed)
    weighted = [kind for kind in kinds() for _ in range(kind.weight)]
    planned, at = [], 6.0
    while True:
        at += rng.uniform(*gap)
        kind = rng.choice(weighted)
        target = rng.choice(kind.targets)
        lasts = rng.uniform(*kind.lasts)
        own = rng.getrandbits(32)
        if at + lasts > seconds:
            return planned
        going_on = [p for p in planned if p[0] + p[3] + REST_S > at]
        if len(going_on) >= at_once or any(_collide(target, other[2]) for other in going_on):
            continue
        planned.append((at, kind, target, lasts, own))


REST_S = 12.0  # between two faults of one server: it has to be up again


def _collide(one, other):
    """A cluster and its node are the same server here; so is Kafka and the log."""
    groups = {"log": "kafka", **{f"{name}-{i}": name for name in REDIS for i in (1, 2, 3)}}
    return groups.get(one, one) == groups.get(other, other)
