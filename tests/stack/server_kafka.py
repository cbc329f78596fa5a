"""Kafka (KRaft, brokers and controllers in one JVM each): one broker; and, only by name, a cluster of
three. No topics: `lockstep topics create` makes those.
"""

import base64
import socket
import struct
import uuid

import jvm
import server_toxiproxy
from instance import Instance, write_atomically
from process import Proc

BROKER_PORT = 19092
CONTROLLER_PORT = 19093
PROXIED_PORT = 19094  # tells clients that it is at toxiproxy's KAFKA_PORT
BROKERS_PORTS = ((19110, 19113), (19111, 19114), (19112, 19115))  # of a client, of a controller

METADATA, METADATA_VERSION = 3, 4

COMMON = """\
controller.listener.names=CONTROLLER

# topics are made on purpose, or not at all
auto.create.topics.enable=false

# a group of one process should not wait for others
group.initial.rebalance.delay.ms=0

# a broker that was killed may register again only when its old session has ended: 9 s by default
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000

# small: the cleaner's buffer alone is 128 MiB of heap by default
log.segment.bytes=67108864
log.index.size.max.bytes=2097152
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
background.threads=2
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=8
share.coordinator.state.topic.num.partitions=1
"""


def copies(of_each: int, in_sync: int) -> str:
    """Settings: how many copies of topics, Kafka's own too, and how many of them acknowledge."""
    return f"""\
default.replication.factor={of_each}
min.insync.replicas={in_sync}
offsets.topic.replication.factor={of_each}
transaction.state.log.replication.factor={of_each}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.replication.factor={of_each}
share.coordinator.state.topic.min.isr={in_sync}"""


def command(instance: Instance, name: str, properties: str, heap: str, cluster: str, archive=None):
    """argv of one node; writes its properties, and the cluster's id once."""
    etc = instance.sub("etc")
    path, cluster_id = etc / f"{name}.properties", etc / f"{cluster}.cluster-id"
    write_atomically(path, properties)
    if not cluster_id.exists():
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        write_atomically(cluster_id, "L" + text[1:] + "\n")  # never starts with '-'
    options = [
        f"-Xmx{heap}",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-Dorg.slf4j.simpleLogger.showDateTime=true",
        "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
    ]
    argv = jvm.command(instance, "kafka", "KafkaNode", options, archive)
    return argv + [cluster_id.read_text(encoding="utf-8").strip(), str(path)]


def brokers_known(port: int) -> tuple:
    """(the brokers' ids that this one's metadata names, "") or (None, why it did not answer)."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as link:
            client = b"lockstep-stack"
            body = struct.pack(">hhih", METADATA, METADATA_VERSION, 1, len(client)) + client
            body += struct.pack(">ib", 0, 0)  # no topics, create none
            link.sendall(struct.pack(">i", len(body)) + body)
            reply = link.makefile("rb")
            (size,) = struct.unpack(">i", reply.read(4))
            answer = reply.read(size)
        _, _, count = struct.unpack_from(">iii", answer)
        found, at = [], 12
        for _ in range(count):  # id, host, port, rack or -1
            broker, host = struct.unpack_from(">ih", answer, at)
            (rack,) = struct.unpack_from(">h", answer, at + 6 + host + 4)
            found.append(broker)
            at += 6 + host + 4 + 2 + max(rack, 0)
        return found, ""
    except (OSError, struct.error) as error:
        return None, f"no metadata yet ({error})"


class Kafka:
    name = "kafka"

    def __init__(self, instance: Instance):
        self.instance = instance
        self.port = instance.port(BROKER_PORT)
        self.controller_port = instance.port(CONTROLLER_PORT)
        self.where = f"127.0.0.1:{self.port}"
        self.archive = instance.sub("tmp", "kafka.jsa")
        self.proc = Proc(
            self.name,
            instance,
            {
                "broker": self.port,
                "controller": self.controller_port,
                "proxied": instance.port(PROXIED_PORT),
            },
            instance.sub("data", "kafka"),
            lambda: jvm.keep_archive(instance, "kafka", self.archive),
            jvm.ARCHIVING_TIMEOUT_S,
        )
        self.procs = [self.proc]

    def prepare(self) -> None:
        self.proc.data_dir.mkdir(parents=True, exist_ok=True)
        self.proc.argv = command(
            self.instance, self.name, self._properties(), "256m", self.name, self.archive
        )

    def _properties(self) -> str:
        proxied = f"PROXIED://127.0.0.1:{self.instance.port(PROXIED_PORT)}"
        advertised = f"PROXIED://127.0.0.1:{self.instance.port(server_toxiproxy.KAFKA_PORT)}"
        return f"""\
# Written by ./dev stack up; changes are overwritten.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{self.controller_port}
listeners=BROKER://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port},{proxied}
advertised.listeners=BROKER://127.0.0.1:{self.port},{advertised}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
inter.broker.listener.name=BROKER
log.dirs={self.proc.data_dir}/log

{copies(1, in_sync=1)}

{COMMON}"""

    def probe(self, proc: Proc) -> str:
        """Empty once the broker answers metadata with itself in it, else what is missing."""
        known, reason = brokers_known(self.port)
        return reason if known is None or known == [1] else f"metadata names {len(known)} brokers"

    def ready(self) -> str:
        return self.probe(self.proc)


class Brokers:
    """Three brokers kafka-b1 to kafka-b3, each a controller too: one may be gone, and the group's
    coordinator and the partitions' leaders move."""

    name = "brokers"

    def __init__(self, instance: Instance):
        self.instance = instance
        self.procs = [
            Proc(
                f"kafka-b{i}",
                instance,
                {"broker": instance.port(broker), "controller": instance.port(controller)},
                instance.sub("data", f"kafka-b{i}"),
            )
            for i, (broker, controller) in enumerate(BROKERS_PORTS, start=1)
        ]
        self.where = ", ".join(f"127.0.0.1:{proc.ports['broker']}" for proc in self.procs)

    def prepare(self) -> None:
        for i, proc in enumerate(self.procs, start=1):
            proc.data_dir.mkdir(parents=True, exist_ok=True)
            text = self._properties(i, proc)
            proc.argv = command(self.instance, proc.name, text, "200m", self.name)

    def _properties(self, i: int, proc: Proc) -> str:
        broker, controller = proc.ports["broker"], proc.ports["controller"]
        voters = ",".join(
            f"{other}@127.0.0.1:{node.ports['controller']}"
            for other, node in enumerate(self.procs, start=1)
        )
        return f"""\
# Written by ./dev stack up; changes are overwritten.
process.roles=broker,controller
node.id={i}
controller.quorum.voters={voters}
listeners=BROKER://127.0.0.1:{broker},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=BROKER://127.0.0.1:{broker}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
log.dirs={proc.data_dir}/log

# acknowledged is on two of three; a replica that stands still leaves the set soon
{copies(3, in_sync=2)}
unclean.leader.election.enable=false
replica.lag.time.max.ms=5000

{COMMON}"""

    def probe(self, proc: Proc) -> str:
        """Empty once this broker knows itself as one that is there."""
        known, reason = brokers_known(proc.ports["broker"])
        own = self.procs.index(next(p for p in self.procs if p.name == proc.name)) + 1
        if known is None or own in known:
            return reason
        return f"{proc.name} is not in its own metadata yet"

    def ready(self) -> str:
        for proc in self.procs:
            known, reason = brokers_known(proc.ports["broker"])
            if known is None or len(known) < len(self.procs):
                return f"{proc.name}: {reason or f'knows {len(known)} brokers'}"
        return ""
