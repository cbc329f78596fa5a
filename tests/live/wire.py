"""The wire format, placement of keys, and the schema, written anew from schema/WIRE.md: it shares no
code with the program, so that both can be wrong only in different ways."""

from pathlib import Path

import msgpack
import yaml

SHARDS = 1024
PUT, DELETE = 0, 1


def murmur2(key: bytes) -> int:
    """Kafka's murmur2, as its Java client has it."""
    m, mask = 0x5BD1E995, 0xFFFFFFFF
    h = (0x9747B28C ^ len(key)) & mask
    for at in range(0, len(key) - len(key) % 4, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        k = (k ^ k >> 24) * m & mask
        h = h * m & mask ^ k
    rest = key[len(key) - len(key) % 4 :]
    if rest:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def shard_of(key: str) -> int:
    return (murmur2(key.encode()) & 0x7FFFFFFF) % SHARDS


def partition_of(key: str, partitions: int) -> int:
    return shard_of(key) % partitions


def version_of(generation: int, offset: int) -> int:
    return generation << 48 | offset + 1


class Schema:
    def __init__(self, path: Path):
        declared = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.entity = declared["entity"]
        self.version = declared["version"]
        self.prefix = declared["redis_prefix"]
        fields = declared["fields"]
        self.key = next(field["name"] for field in fields if field.get("key"))
        self.types = {f["name"]: f["type"] for f in fields if not f.get("key")}
        self.numbers = {f["name"]: f["number"] for f in fields if not f.get("key")}
        self.names = {number: name for name, number in self.numbers.items()}

    def encode(self, fields, deleted=False, format_=1, version=None, time_us=1, origin="test"):
        by_number = None
        if not deleted:
            by_number = {self.numbers[name]: value for name, value in sorted(fields.items())}
        envelope = [format_, version or self.version, DELETE if deleted else PUT, time_us, origin]
        return msgpack.packb([*envelope, "", by_number])

    def decode(self, wire: bytes):
        """(deleted, fields by name); fields is {} when deleted."""
        _, _, operation, _, _, _, fields = msgpack.unpackb(wire, strict_map_key=False)
        if operation == DELETE:
            return True, {}
        return False, {self.names[number]: value for number, value in fields.items()}
