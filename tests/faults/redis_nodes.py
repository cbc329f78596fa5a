"""Redis Clusters of a test's own: real nodes in a folder of their own, which a test may kill, empty,
isolate and fail over without harm to anybody else. They die with the test that started them."""

import contextlib
import itertools
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
from pathlib import Path

import harness
import own
import redis
import redis.crc
import relay
import stores
import support

SLOTS = 16384
NODE_TIMEOUT_MS = 1000
START_S = 30
TIMEOUT_S = 10
_numbers = itertools.count()


class Node(own.Server):
    """One redis-server. options are its own, e.g. maxmemory=...; None leaves one out."""

    program = "redis-server"

    def __init__(self, folder, **options):
        super().__init__("node.", folder)
        self.bus_port = own.free_port()
        self.seen_port = options.get("cluster-announce-port", self.port)  # what clients are told
        self.options = options
        self.client = None

    def command(self, **options):
        settings = {
            "port": self.port,
            "cluster-port": self.bus_port,
            "dir": self.folder,
            "bind": "127.0.0.1",
            "cluster-enabled": "yes",
            "cluster-node-timeout": NODE_TIMEOUT_MS,
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "repl-diskless-sync-delay": 0,
            "enable-debug-command": "yes",
            **self.options,
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", str(value))]
        return [self.executable(), *words]

    def start(self, **options):
        """options are of this start only."""
        self.client = redis.Redis("127.0.0.1", self.port, socket_timeout=TIMEOUT_S)
        return self.launch(self.command(**options))

    def ask(self):
        """Loading counts as an answer."""
        try:
            return self.client.ping()
        except redis.exceptions.BusyLoadingError:
            return True
        except redis.exceptions.ConnectionError:
            return False

    def do(self, *words):
        return self.client.execute_command(*words)

    def info(self, section):
        return self.client.info(section)

    def errors(self, name):
        """How many errors of this name the node has answered, e.g. MOVED."""
        return self.info("errorstats").get(f"errorstat_{name}", {}).get("count", 0)

    def calls(self, command):
        return self.info("commandstats").get(f"cmdstat_{command}", {}).get("calls", 0)

    def id(self):
        return self.do("CLUSTER", "MYID").decode()

    def role(self):
        return self.info("replication")["role"]

    def keys(self, pattern="*"):
        return {key.decode() for key in self.client.scan_iter(pattern, count=1000)}

    @property
    def address(self):
        return f"127.0.0.1:{self.seen_port}"


class Door:
    """A port of loopback behind which now one node answers, now another: as an address that is
    taken over. With read_only the node is told that its client reads only, so that a replica takes
    scripts and refuses their writes by itself."""

    def __init__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.target, self.read_only = None, False
        self.links, self.lock = set(), threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def open_to(self, port, read_only=False):
        """From now on; connections to another are cut."""
        with self.lock:
            self.target, self.read_only = port, read_only
            self._cut()

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        with self.lock:
            self._cut()

    def _cut(self):
        for link in self.links:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        self.links.clear()

    def _accept(self):
        for client in relay.clients(self.listener):
            with self.lock:
                try:
                    server = socket.create_connection(("127.0.0.1", self.target), TIMEOUT_S)
                    if self.read_only:
                        server.sendall(b"READONLY\r\n")
                        server.recv(5, socket.MSG_WAITALL)  # +OK
                    server.settimeout(None)
                except OSError:
                    client.close()
                    continue
                self.links |= {client, server}
            relay.join(client, server)


class Cluster(contextlib.ExitStack):
    """Masters with the slots shared out evenly, each with its replicas; a context manager.

    node_options(number) may give options of single nodes, masters first.
    """

    def __init__(self, masters=3, replicas=0, node_options=None, **options):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="lockstep-redis."))
        self.callback(shutil.rmtree, self.folder)
        more = node_options or (lambda number: {})
        self.nodes = [
            Node(self.folder, **options, **more(number)) for number in range(masters * (1 + replicas))
        ]
        self.masters = self.nodes[:masters]  # as the cluster was made
        self.replicas = self.nodes[masters:]  # of masters[i % masters]

    def __enter__(self):
        super().__enter__()
        self.callback(self.end)
        for node in self.nodes:
            node.start()
        first, count = self.nodes[0], len(self.masters)
        for i, node in enumerate(self.nodes):
            node.do("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
            if i < count:
                low, high = SLOTS * i // count, SLOTS * (i + 1) // count - 1
                node.do("CLUSTER", "ADDSLOTSRANGE", low, high)
            if i > 0:
                first.do("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        harness.wait_until(self.met, "the nodes know each other", START_S)
        for i, node in enumerate(self.replicas):
            node.do("CLUSTER", "REPLICATE", self.masters[i % count].id())
        self.wait_ok()
        for node in self.replicas:
            harness.wait_until(
                lambda node=node: node.info("replication")["master_link_status"] == "up",
                f"the replica on port {node.port} is linked",
                START_S,
            )
        return self

    def end(self):
        for node in self.nodes:
            if node.client is not None:
                node.client.close()
            if node.running():
                node.kill()

    def met(self):
        return all(
            self.state_of(node)["cluster_known_nodes"] == str(len(self.nodes)) for node in self.nodes
        )

    @staticmethod
    def state_of(node):
        text = node.do("CLUSTER", "INFO")
        if isinstance(text, bytes):
            text = text.decode()
        return text if isinstance(text, dict) else dict(l.split(":", 1) for l in text.split())

    def is_ok(self):
        """All nodes that run see every slot served."""
        try:
            states = [self.state_of(node) for node in self.nodes if node.running()]
        except redis.exceptions.RedisError:
            return False
        return all(
            state["cluster_state"] == "ok" and state["cluster_slots_ok"] == str(SLOTS)
            for state in states
        )

    def wait_ok(self):
        harness.wait_until(self.is_ok, "every node sees all slots served", START_S)

    def owner(self, key):
        """The first master of an entry, by the slots as they were shared out first."""
        slot, count = redis.crc.key_slot(key.encode()), len(self.masters)
        return next(m for i, m in enumerate(self.masters) if slot < SLOTS * (i + 1) // count)

    def keys_of(self, node, n, prefix):
        """Keys whose first master is this node."""
        found, number = [], 0
        while len(found) < n:
            key = f"{prefix}-{number}"
            number += 1
            if self.owner(key) is node:
                found.append(key)
        return found

    def holders(self):
        """The nodes that are masters now."""
        return [node for node in self.nodes if node.running() and node.role() == "master"]

    def errors(self, name):
        return sum(node.errors(name) for node in self.nodes if node.running())

    def held(self, prefix):
        """All entries: {key: (version, deleted, fields)}."""
        found = {}
        for node in self.holders():
            for name in node.keys(f"{prefix}:{{*}}"):
                value = node.client.get(name)
                key = name[len(prefix) + 2 : -1]
                found[key] = (int.from_bytes(value[:8], "big"), *stores.SCHEMA.decode(value[8:]))
        return found

    def migrate(self, source, target, slot):
        """Moves a slot with all its keys, as redis-cli's reshard does."""
        self.start_move(source, target, slot)
        self.move_keys(source, target, slot)
        self.end_move(source, target, slot)

    def start_move(self, source, target, slot):
        target.do("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id())
        source.do("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id())

    def move_keys(self, source, target, slot):
        while keys := source.do("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.do("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)

    def end_move(self, source, target, slot):
        for node in (target, source):
            node.do("CLUSTER", "SETSLOT", slot, "NODE", target.id())

    def story(self, name, **options):
        """A support.Story whose one sink, redis-a, is this cluster. Its log is new, too. options
        are the sink's."""
        entity, prefix = f"{name}x{os.getpid()}x{next(_numbers)}", name
        nodes = [node.address for node in self.nodes]

        def change(config):
            config["sinks"]["redis-a"] = {"kind": "redis", "nodes": nodes, **options}

        return RedisStory(self, entity, prefix, change)


class RedisStory(support.Story):
    """A story that can compare the cluster with the log by itself, too."""

    def __init__(self, cluster, entity, prefix, change):
        super().__init__(entity, prefix, ["redis-a"], change)
        self.cluster = cluster

    def expected(self):
        return stores.newest_of_log(topic=f"{self.entity}.state.1")

    def assert_equal(self, test):
        """What the cluster holds is what the log says, read by another client."""
        test.assertEqual(self.cluster.held(self.prefix), self.expected())

    def finish(self, test, quarantined=0):
        """What a test ends with while its worker runs."""
        now = self.settle()["redis-a"]
        test.assertEqual(now["quarantined"], quarantined, now)
        self.assert_equal(test)
        return now

    def marks_on(self, node):
        """The bytes of every mark that a node holds, be it a replica."""
        names = node.keys(f"{self.prefix}:mark:*")
        with node.client.client() as connection:
            connection.execute_command("READONLY")
            return {name: connection.get(name) for name in names}

    def publish_keys(self, keys, **fields):
        self.publish_lines(lines(keys, **fields))

    def holds(self, node, keys):
        with node.client.pipeline(transaction=False) as pipe:
            for key in keys:
                pipe.exists(f"{self.prefix}:{{{key}}}")
            return all(pipe.execute())

    def asleep_before_mark(self, worker, node, keys, marks):
        """Publishes keys of a node and stops the worker when they are there, but not yet marked.

        Whether that came true: the node's marks still are `marks`. If not, the worker goes on."""
        self.publish_keys(keys, locale="en")
        return self.sleeps_before_mark(worker, node, keys, lambda: self.marks_on(node) == marks)

    def sleeps_before_mark(self, worker, node, keys, unmarked):
        """The same for keys that are published already; unmarked says what is hoped for."""
        harness.wait_until(lambda: self.holds(node, keys), "the records are acknowledged")
        worker.process.send_signal(signal.SIGSTOP)
        if unmarked():
            return True
        worker.process.send_signal(signal.SIGCONT)
        return False

    def lost(self):
        """Keys whose newest image the cluster does not hold."""
        held = self.cluster.held(self.prefix)
        return {key for key, image in self.expected().items() if held.get(key) != image}


def members(prefix, n, **fields):
    """NDJSON of n members."""
    return lines((f"{prefix}-{i}" for i in range(n)), **fields)


def lines(keys, **fields):
    return "".join(json.dumps({"id": key, **fields}) + "\n" for key in keys)


REWINDS = "reads again from the store's marks"


def rewinds(worker):
    """The lines in which a worker says that it reads again, and why."""
    return [line for line in worker.log().splitlines() if REWINDS in line]

