"""Reads members straight out of the log and the stores, with each one's own Python client: what a
store holds for keys, as {key: (version, deleted, fields)}. Shares no code with the program."""

import json
from pathlib import Path

import pymysql
import redis
import requests
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

import harness
import wire

SCHEMA = wire.Schema(harness.ROOT / "schema" / "member.yaml")
PARTITIONS = harness.CONFIG["entities"]["member"]["partitions"]
BROKERS = harness.CONFIG["kafka"]["brokers"]
TIMEOUT_S = 10


def read_topic(topic, partitions):
    """All messages of a topic as it is now."""
    consumer = Consumer(
        {
            "bootstrap.servers": BROKERS,
            "group.id": "live-tests",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in range(partitions)])
    ended = set()
    try:
        while len(ended) < partitions:
            message = consumer.poll(TIMEOUT_S)
            if message is None:
                raise AssertionError(f"{topic} could not be read to its end")
            if message.error() is None:
                yield message
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
            else:
                raise AssertionError(f"{topic}: {message.error()}")
    finally:
        consumer.close()


def newest_of_log(schema=SCHEMA, topic="member.state.1", generation=1, partitions=PARTITIONS):
    """The newest image of every key in a log without poison."""
    newest = {}
    for message in read_topic(topic, partitions):
        key = (message.key() or b"").decode(errors="replace")
        if key == "{genesis}":
            continue
        deleted, fields = schema.decode(message.value())
        newest[key] = (wire.version_of(generation, message.offset()), deleted, fields)
    return newest


def secret(sink, server=None):
    return Path((server or sink)["password_file"]).read_text(encoding="utf-8").strip()


def mysql_connection(server):
    return pymysql.connect(
        host=server["host"],
        port=server["port"],
        user=server["user"],
        password=secret(server),
        database=server["database"],
        charset="utf8mb4",
    )


def from_mysql(sink, keys):
    found = {}
    for server in sink["servers"]:
        first, last = map(int, str(server["partitions"]).split("-"))
        connection = mysql_connection(server)
        with connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
            for key in keys:
                shard = wire.shard_of(key)
                if not first <= shard % PARTITIONS <= last:
                    continue
                cursor.execute(f"SELECT * FROM member_{shard:04d} WHERE id = %s", (key.encode(),))
                row = cursor.fetchone()
                if row is not None:
                    found[key] = (row["_v"], bool(row["_deleted"]), mysql_fields(row))
    return found


def mysql_fields(row):
    fields = {}
    for name, kind in SCHEMA.types.items():
        value = row[name]
        if value is None:
            continue
        if kind == "bool":
            value = bool(value)
        elif kind == "strings":
            value = json.loads(value)
        fields[name] = value
    return fields


def redis_client(sink):
    host, port = sink["nodes"][0].split(":")
    return redis.RedisCluster(
        host=host, port=int(port), username=sink["user"], password=secret(sink)
    )


def from_redis(sink, keys):
    client = redis_client(sink)
    found = {}
    for key in keys:
        entry = client.get(f"{SCHEMA.prefix}:{{{key}}}")
        if entry is not None:
            found[key] = (int.from_bytes(entry[:8], "big"), *SCHEMA.decode(entry[8:]))
    client.close()
    return found


def from_elasticsearch(sink, keys):
    docs = [{"_id": key, "routing": str(wire.shard_of(key))} for key in keys]
    reply = requests.post(
        f"{sink['urls'][0]}/{sink['index']}/_mget", json={"docs": docs}, timeout=TIMEOUT_S
    )
    reply.raise_for_status()
    found = {}
    for doc in reply.json()["docs"]:
        if not doc.get("found"):
            continue
        source = doc["_source"]
        fields = {name: source[name] for name in SCHEMA.types if name in source}
        version = source["_v_hi"] << 32 | source["_v_lo"]
        assert version == doc["_version"], f"{doc['_id']}: _v and _version differ"
        found[doc["_id"]] = (version, source["_deleted"], fields)
    return found


READERS = {"mysql": from_mysql, "redis": from_redis, "elasticsearch": from_elasticsearch}


def from_store(name, keys):
    sink = harness.CONFIG["sinks"][name]
    return READERS[sink["kind"]](sink, keys)


def quarantined(sink, entity="member"):
    """Headers of the records in a sink's quarantine, as dicts, by source position."""
    entries = {}
    for message in read_topic(f"{entity}.quarantine.{sink}", 1):
        if message.value() is None:
            entries.pop(message.key().decode(), None)
            continue
        headers = {name: value for name, value in message.headers()}
        headers["value"] = message.value()
        entries[message.key().decode()] = headers
    return entries
