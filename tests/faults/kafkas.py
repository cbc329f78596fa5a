"""What the fault tests do to Kafka and ask of it, with its own client: topics made again, logs cut,
groups looked at, and where a sink's marks stand. Shares no code with the program."""

import json
import secrets
import struct

import pymysql
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, Producer
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, OffsetSpec
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ResourceType

import harness
import servers
import stores
import wire
from harness import wait_until
from support import Story

TIMEOUT_S = 30
GENESIS = "{genesis}"


def story(name, sinks, **options):
    """A Story whose names nobody has used before, so that a test may be run again and again."""
    tag = secrets.token_hex(3)
    return Story(f"{name}_{tag}", f"{name[0]}{tag}", sinks, **options)


class Log:
    """The state topic of a story, as an administrator sees it."""

    def __init__(self, story, generation=1, brokers=stores.BROKERS, partitions=stores.PARTITIONS):
        self.story, self.brokers, self.partitions = story, brokers, partitions
        self.generation = generation
        self.topic = f"{story.entity}.state.{generation}"
        self.admin = AdminClient({"bootstrap.servers": brokers})

    def group(self, sink):
        return f"lockstep.{self.story.entity}.{self.generation}.{sink}"

    def _offsets(self, spec):
        asked = {TopicPartition(self.topic, p): spec for p in range(self.partitions)}

        def answered():
            # a client of its own: one that has met a dead broker never finds a leader again
            admin = AdminClient({"bootstrap.servers": self.brokers})
            try:
                answers = admin.list_offsets(asked, request_timeout=TIMEOUT_S)
                return {part.partition: future.result().offset for part, future in answers.items()}
            except KafkaException:
                return None  # partitions without a leader yet, after a broker's start

        return wait_until(answered, f"offsets of {self.topic}")

    def ends(self):
        return self._offsets(OffsetSpec.latest())

    def firsts(self):
        return self._offsets(OffsetSpec.earliest())

    def members(self, sink):
        """Of a group at rest: {member: partitions it has}; None while it is rebalancing."""
        future = self.admin.describe_consumer_groups([self.group(sink)], request_timeout=TIMEOUT_S)
        described = future[self.group(sink)].result()
        if described.state.name not in ("STABLE", "EMPTY", "DEAD"):
            return None
        return {
            member.member_id: [part.partition for part in member.assignment.topic_partitions]
            for member in described.members
        }

    def wait_members(self, sink, n, timeout_s=60):
        """Until n members share all partitions, none of them empty-handed."""

        def shared():
            members = self.members(sink)
            return (
                members is not None
                and len(members) == n
                and sorted(sum(members.values(), [])) == list(range(self.partitions if n else 0))
                and all(members.values())
            )

        wait_until(shared, f"{n} members share the partitions of {self.topic}", timeout_s)

    def coordinator(self, sink):
        """The number of the broker that keeps the group."""
        admin = AdminClient({"bootstrap.servers": self.brokers})
        future = admin.describe_consumer_groups([self.group(sink)], request_timeout=TIMEOUT_S)
        return future[self.group(sink)].result().coordinator.id

    def committed(self, sink):
        """{partition: offset} of the group."""
        asked = [ConsumerGroupTopicPartitions(self.group(sink))]
        answer = self.admin.list_consumer_group_offsets(asked, request_timeout=TIMEOUT_S)
        parts = answer[self.group(sink)].result().topic_partitions
        return {part.partition: part.offset for part in parts if part.offset >= 0}

    def commit(self, sink, offsets):
        """As an administrator may: the group must be empty."""
        parts = [TopicPartition(self.topic, p, offset) for p, offset in offsets.items()]
        asked = [ConsumerGroupTopicPartitions(self.group(sink), parts)]
        self.admin.alter_consumer_group_offsets(asked)[self.group(sink)].result(TIMEOUT_S)

    def delete_group(self, sink):
        self.admin.delete_consumer_groups([self.group(sink)])[self.group(sink)].result(TIMEOUT_S)

    def delete(self):
        self.admin.delete_topics([self.topic])[self.topic].result(TIMEOUT_S)
        wait_until(
            lambda: self.topic not in self.admin.list_topics(timeout=TIMEOUT_S).topics,
            f"{self.topic} is gone",
        )

    def make_again(self):
        """Deleted, and made again under its name."""
        self.delete()
        wait_until(self._made, f"{self.topic} is made again")

    def _made(self):
        again = ("topics", "create", "--new-log", self.story.entity)
        return self.story.lockstep(*again, expect=None).returncode == 0

    def configure(self, name, value):
        """Sets a property of the topic."""
        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, self.topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(TIMEOUT_S)

    def replicas(self):
        """{partition: (leader, brokers that hold it, brokers that hold all of it)}"""
        # a client of its own: one that has met a dead broker may tell old news
        admin = AdminClient({"bootstrap.servers": self.brokers})
        parts = admin.list_topics(self.topic, timeout=TIMEOUT_S).topics[self.topic].partitions
        return {p: (part.leader, set(part.replicas), set(part.isrs)) for p, part in parts.items()}

    def delete_records(self, before):
        """Drops what is before these offsets. The broker refuses that while a topic is compacted
        only: somebody has to have made its policy another first."""
        self.configure("cleanup.policy", "compact,delete")
        parts = [TopicPartition(self.topic, p, offset) for p, offset in before.items()]

        def deleted():
            try:
                for future in self.admin.delete_records(parts).values():
                    future.result(TIMEOUT_S)
                return True
            except KafkaException:
                return False  # the broker has not heard of the new policy yet

        wait_until(deleted, f"records of {self.topic} are deleted")

    def put(self, records):
        """Records as any client may write them: (partition, key, value). Returns their offsets."""
        producer = Producer({"bootstrap.servers": self.brokers, "linger.ms": 20})
        placed = []

        def delivered(error, message):
            assert error is None, error
            placed.append((message.partition(), message.offset()))

        for partition, key, value in records:
            while True:
                try:
                    producer.produce(self.topic, value, key, partition, on_delivery=delivered)
                    break
                except BufferError:
                    producer.poll(0.1)
            producer.poll(0)
        assert producer.flush(TIMEOUT_S) == 0
        return placed


def cut_log(topic, partition, keep):
    """Cuts a partition's log after its first `keep` batches, in the files of the broker, which must
    be dead; it was killed, so it looks through its logs when it starts. Returns where it ends."""
    folder = servers.procs("kafka")[0].data_dir / "log" / f"{topic}-{partition}"
    segment = folder / f"{0:020}.log"
    data = segment.read_bytes()
    at = 0
    for _ in range(keep):
        (length,) = struct.unpack_from(">i", data, at + 8)
        at += 12 + length
    (cut_at,) = struct.unpack_from(">q", data, at)
    segment.write_bytes(data[:at])
    for file in folder.iterdir():  # made again from the log
        if file.suffix in (".index", ".timeindex", ".snapshot", ".txnindex"):
            file.unlink()
    checkpoint = folder / "leader-epoch-checkpoint"
    lines = checkpoint.read_text().splitlines()
    epochs = [line for line in lines[2:] if int(line.split()[1]) < cut_at]
    checkpoint.write_text("\n".join([lines[0], str(len(epochs)), *epochs]) + "\n")
    return cut_at


def redis_marks(story, sink="redis-a"):
    """{partition: (oldest version, genesis)} over all tags; of a mark that is in part there, 0."""
    client = stores.redis_client(harness.CONFIG["sinks"][sink])
    found = {}
    for name in client.scan_iter(match=f"{story.prefix}:mark:*", count=1000):
        partition = int(name.decode().split(":")[2])
        value = client.get(name)
        mark = (int.from_bytes(value[:8], "big"), value[16:].decode())
        found.setdefault(partition, []).append(mark)
    client.close()
    return {partition: min(marks) for partition, marks in found.items()}


def mysql_root(server):
    """A connection as root, by the server's socket: sees locks and counters."""
    return pymysql.connect(
        unix_socket=str(servers.INSTANCE.sub("run", f"{server}.sock")),
        user="root",
        database="lockstep",
        charset="utf8mb4",
        autocommit=True,
    )


def mysql_marks(story, server_names=("mysql-1", "mysql-2")):
    """{partition: (version, genesis)}"""
    found = {}
    for name in server_names:
        with mysql_root(name) as connection, connection.cursor() as cursor:
            cursor.execute(f"SELECT _partition, _v, _genesis FROM {story.entity}_mark")
            found.update((row[0], (row[1], row[2])) for row in cursor.fetchall())
    return found


def offsets_of(marks):
    """{partition: next offset} of {partition: (version, genesis)}."""
    return {p: (version & (1 << 48) - 1) for p, (version, _) in marks.items()}


def keys_of(partition, n, prefix):
    """n keys that live on one partition."""
    found, number = [], 0
    while len(found) < n:
        key = f"{prefix}-{number}"
        if wire.partition_of(key, stores.PARTITIONS) == partition:
            found.append(key)
        number += 1
    return found


class Beats:
    """What each worker says of itself from now on, by its process; a killed one is not mixed up
    with the one after it, as in a sink's status."""

    def __init__(self, story, sink, brokers=stores.BROKERS):
        self.key = f"heartbeat/{story.entity}/{sink}/"
        self.consumer = Consumer(
            {"bootstrap.servers": brokers, "group.id": "live-tests", "enable.auto.commit": False}
        )
        story.callback(self.consumer.close)
        end = self.consumer.get_watermark_offsets(TopicPartition("lockstep.control", 0))[1]
        self.consumer.assign([TopicPartition("lockstep.control", 0, end)])
        self.newest = {}

    def of(self, worker):
        """The newest heartbeat of a worker, with its verdicts by name; {} before the first."""
        for message in self.consumer.consume(1000, timeout=0.05):
            key = (message.key() or b"").decode()
            if message.error() is None and message.value() and key.startswith(self.key):
                beat = json.loads(message.value())
                pid = int(key.rsplit(":", 2)[1])
                self.newest[pid] = {**beat, **beat["counts"]}
        return self.newest.get(worker.process.pid, {})

    def wait(self, worker, what, condition, timeout_s=60):
        """Until condition(the newest heartbeat) holds; returns that heartbeat."""

        def there():
            beat = self.of(worker)
            return beat and condition(beat)

        try:
            wait_until(there, what, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlast heard: {self.of(worker)}") from None
        return self.of(worker)
