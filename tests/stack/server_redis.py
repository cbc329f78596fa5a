"""Redis: two clusters of three masters each, without replicas; and, only by name, redis-r, whose
three masters have a replica each.

The cluster is formed here, over the servers' own protocol, in three steps that may each be
repeated after an interruption. (redis-cli --cluster create can't be repeated, and wants the
password where other users may see it.)
"""

import hashlib
import socket
from collections import Counter

from instance import Instance, write_atomically
from process import Proc, program

BUS_DISTANCE = 3100  # the default of 10000 would leave the range that port offsets keep free
SLOTS = 16384
USER = "lockstep"


class RedisCluster:
    MASTERS = 3
    BASE_PORTS = {"redis-a": (16379, 16380, 16381), "redis-b": (16382, 16383, 16384)}
    EXTRA_PORTS = {"redis-r": (16385, 16386, 16387, 16388, 16389, 16390)}

    def __init__(self, instance: Instance, name: str):
        self.instance = instance
        self.name = name
        bases = {**self.BASE_PORTS, **self.EXTRA_PORTS}[name]
        self.ports = [instance.port(base) for base in bases]
        self.where = ", ".join(f"127.0.0.1:{port}" for port in self.ports)
        self.procs = [
            Proc(
                f"{name}-{i}",
                instance,
                {"redis": port, "cluster bus": port + BUS_DISTANCE},
                instance.sub("data", f"{name}-{i}"),
            )
            for i, port in enumerate(self.ports, start=1)
        ]

    def prepare(self) -> None:
        password = self.instance.secret("redis")
        digest = hashlib.sha256(password.encode()).hexdigest()
        users = self.instance.sub("secrets", "redis.acl")
        write_atomically(users, f"user default off\nuser {USER} on #{digest} ~* &* +@all\n", 0o600)
        for proc in self.procs:
            proc.data_dir.mkdir(parents=True, exist_ok=True)
            options = self.instance.sub("etc", f"{proc.name}.conf")
            text = self._options(proc, users)
            if len(self.ports) > self.MASTERS:
                text += f"masteruser {USER}\nmasterauth {password}\nrepl-diskless-sync-delay 0\n"
            write_atomically(options, text, 0o600)
            proc.argv = [program("redis-server"), str(options)]

    def _options(self, proc: Proc, users) -> str:
        return f"""\
# Written by ./dev stack up; changes are overwritten.
bind 127.0.0.1
port {proc.ports["redis"]}
daemonize no
dir "{proc.data_dir}"
aclfile "{users}"

cluster-enabled yes
cluster-port {proc.ports["cluster bus"]}
cluster-config-file nodes.conf
cluster-node-timeout 2000
# with a master gone, no part of the cluster pretends that all is well
cluster-require-full-coverage yes

# every member, for ever: nothing may be evicted behind the sink's back
maxmemory 512mb
maxmemory-policy noeviction

# A restart keeps the data; a crash of the machine may lose the last second. That is what a real
# cluster loses in a failover too, and the mark that lives beside the data then says so.
appendonly yes
appendfsync everysec
save ""
tcp-backlog 128
"""

    def ready(self) -> str:
        """Forms the cluster where needed; empty once every node sees all slots served."""
        try:
            nodes = [Connection(port, self.instance.secret("redis")) for port in self.ports]
        except (OSError, RedisError) as error:
            return f"no answer yet ({error})"
        try:
            for i, node in enumerate(nodes[: self.MASTERS]):
                self._take_slots(node, i)
            for node in nodes[1:]:
                if node.cluster_info()["cluster_known_nodes"] != str(len(nodes)):
                    bus = self.bus_port(node.port)
                    nodes[0].call("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
            for node in nodes:
                if reason := node.cluster_trouble() or self._follow(node):
                    return reason
        except (OSError, RedisError) as error:
            return str(error)
        finally:
            for node in nodes:
                node.close()
        return ""

    def bus_port(self, port: int) -> int:
        """Of the node that is spoken to at a port."""
        return port + BUS_DISTANCE

    def probe(self, proc: Proc) -> str:
        """Empty if this node sees the whole cluster."""
        try:
            node = Connection(proc.ports["redis"], self.instance.secret("redis"))
            try:
                return node.cluster_trouble()
            finally:
                node.close()
        except (OSError, RedisError) as error:
            return str(error)

    def _take_slots(self, node, i: int) -> None:
        """Of a node that has met no other: later, one without slots has lost them to its replica."""
        [*known] = node.nodes()
        if len(known) > 1 or known[0]["slots"]:
            return
        first, last = SLOTS * i // self.MASTERS, SLOTS * (i + 1) // self.MASTERS - 1
        node.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        node.call("CLUSTER", "ADDSLOTSRANGE", first, last)

    def _follow(self, node) -> str:
        """A master without slots becomes a replica of the master that has fewest; why one does not
        follow yet, else empty."""
        known = node.nodes()
        myself = next(line for line in known if "myself" in line["flags"])
        if len(self.ports) == self.MASTERS or myself["slots"]:
            return ""
        if "master" in myself["flags"]:
            if len(known) < len(self.ports):
                return f"port {node.port} knows {len(known)} of {len(self.ports)} nodes"
            served = Counter({line["id"]: 0 for line in known if line["slots"]})
            served.update(line["master"] for line in known if "slave" in line["flags"])
            node.call("CLUSTER", "REPLICATE", min(served, key=served.get))
        link = node.info("replication").get("master_link_status")
        return "" if link == "up" else f"port {node.port}: the link to its master is {link}"


class RedisError(Exception):
    """An error that the server answered."""


class Connection:
    """As much of a client as a cluster's birth needs."""

    def __init__(self, port: int, password: str):
        self.port = port
        self.link = socket.create_connection(("127.0.0.1", port), timeout=2)
        self.replies = self.link.makefile("rb")
        try:
            self.call("AUTH", USER, password)
        except BaseException:
            self.close()
            raise

    def call(self, *words):
        encoded = [str(word).encode() for word in words]
        parts = [b"*%d\r\n" % len(encoded)]
        parts += [b"$%d\r\n%s\r\n" % (len(word), word) for word in encoded]
        self.link.sendall(b"".join(parts))
        head = self.replies.readline().rstrip(b"\r\n")
        kind, rest = head[:1], head[1:]
        if kind == b"$":
            return self.replies.read(int(rest) + 2)[:-2].decode()
        if kind in (b"+", b":"):
            return rest.decode()
        raise RedisError(f"port {self.port}: {words[0]}: {rest.decode() or 'no reply'}")

    def cluster_info(self) -> dict:
        lines = self.call("CLUSTER", "INFO").split()
        return dict(line.split(":", 1) for line in lines)

    def info(self, section: str) -> dict:
        lines = self.call("INFO", section).splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def nodes(self) -> list:
        """CLUSTER NODES, a dict each; `slots` is a list of ranges as the server writes them."""
        rows = [line.split() for line in self.call("CLUSTER", "NODES").splitlines()]
        return [
            {
                "id": row[0],
                "port": int(row[1].partition("@")[0].rpartition(":")[2]),
                "flags": row[2].split(","),
                "master": row[3],
                "linked": row[7] == "connected",
                "slots": row[8:],
            }
            for row in rows
        ]

    def cluster_trouble(self) -> str:
        info = self.cluster_info()
        state, slots = info["cluster_state"], info["cluster_slots_ok"]
        if state == "ok" and slots == str(SLOTS):
            return ""
        return f"port {self.port}: cluster_state:{state}, {slots} of {SLOTS} slots"

    def close(self) -> None:
        self.replies.close()
        self.link.close()
