"""Kafka: one broker and controller in one JVM (KRaft). No topics: `lockstep topics create` does that."""

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

METADATA, METADATA_VERSION = 3, 4


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
        etc = self.instance.sub("etc")
        properties = etc / "kafka.properties"
        write_atomically(properties, self._properties())
        cluster_id = etc / "kafka.cluster-id"
        if not cluster_id.exists():
            text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
            write_atomically(cluster_id, "L" + text[1:] + "\n")  # never starts with '-'
        options = [
            "-Xmx256m",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
        ]
        self.proc.argv = jvm.command(self.instance, "kafka", "KafkaNode", options, self.archive)
        self.proc.argv += [cluster_id.read_text(encoding="utf-8").strip(), str(properties)]

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
controller.listener.names=CONTROLLER
log.dirs={self.proc.data_dir}/log

# topics are made on purpose, or not at all
auto.create.topics.enable=false

# one broker
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1

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
"""

    def probe(self, proc: Proc) -> str:
        """Empty once the broker answers metadata with itself in it, else what is missing."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=2) as link:
                client = b"lockstep-stack"
                body = struct.pack(">hhih", METADATA, METADATA_VERSION, 1, len(client)) + client
                body += struct.pack(">ib", 0, 0)  # no topics, create none
                link.sendall(struct.pack(">i", len(body)) + body)
                reply = link.makefile("rb")
                (size,) = struct.unpack(">i", reply.read(4))
                _, _, brokers = struct.unpack(">iii", reply.read(size)[:12])
        except (OSError, struct.error) as error:
            return f"no metadata yet ({error})"
        return "" if brokers == 1 else f"metadata names {brokers} brokers"

    def ready(self) -> str:
        return self.probe(self.proc)
