#!/usr/bin/env python3
"""Checks schema/vectors/wire.json with a codec written from schema/WIRE.md alone.

It shares no code with the C program: where both agree on every vector, the document is enough to write
a codec from. For each record it packs the values itself, and compares bytes, canonical bytes, hash
and shard; it reads each other encoding back and compares the hash; it classifies each bad record.

    check_vectors.py [FILE]          check; exit 1 when anything differs
    check_vectors.py --fill [FILE]   first compute wire, canonical, hash and shard where they are missing
"""
import argparse
import json
import math
import pathlib
import struct
import sys

import msgpack
import xxhash

DEFAULT = pathlib.Path(__file__).resolve().parents[2] / "schema" / "vectors" / "wire.json"
FORMAT = 1
BODY_BYTES_MAX = 1 << 20
TYPE_CODES = {"string": 0, "int": 1, "float": 2, "bool": 3, "time": 4, "strings": 5}


class Reject(Exception):
    """A record that is refused; the argument is its class."""


# --- keys -----------------------------------------------------------------------------------------


def murmur2(data):
    """The hash of Kafka's Java client, as an unsigned 32-bit number."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        k = k * m & mask
        k ^= k >> 24
        h = (h * m & mask) ^ (k * m & mask)
    tail = data[whole:]
    if tail:
        h ^= int.from_bytes(tail, "little")
        h = h * m & mask
    h ^= h >> 13
    h = h * m & mask
    return h ^ h >> 15


def shard_of(key):
    return (murmur2(key) & 0x7FFFFFFF) % 1024


def key_is_good(key):
    try:
        text = key.decode("utf-8")
    except UnicodeDecodeError:
        return False
    bad = any(ord(c) < 0x20 or 0x7F <= ord(c) <= 0x9F or c in "{}" for c in text)
    return 1 <= len(key) <= 255 and not bad


# --- values ---------------------------------------------------------------------------------------


def fields_of(schema):
    """The schema's fields by number, without the key's."""
    return {f["number"]: f for f in schema["fields"] if not f.get("key")}


def from_json(schema, values):
    """A vector's values (by name, numbers of 64 bits as text) by field number."""
    if values is None:
        return None
    result = {}
    for number, field in sorted(fields_of(schema).items()):
        if field["name"] in values:
            value = values[field["name"]]
            if field["type"] in ("int", "time"):
                value = int(value)
            elif field["type"] == "float":
                value = float(value)
            result[number] = value
    if len(result) != len(values):
        raise ValueError(f"a name in {sorted(values)} is not in the schema")
    return result


def canonical(schema, key, values):
    """The bytes that the hash is made over."""

    def text(data):
        return struct.pack("<I", len(data)) + data

    out = text(key) + bytes([values is None])
    for number, value in sorted((values or {}).items()):
        kind = fields_of(schema)[number]["type"]
        out += struct.pack("<HB", number, TYPE_CODES[kind])
        if kind == "string":
            out += text(value.encode())
        elif kind in ("int", "time"):
            out += struct.pack("<q", value)
        elif kind == "float":
            out += struct.pack("<d", value if value != 0 else 0.0)
        elif kind == "bool":
            out += bytes([value])
        else:
            out += struct.pack("<I", len(value)) + b"".join(text(v.encode()) for v in value)
    return out


def hash_of(data):
    return f"{xxhash.xxh3_64_intdigest(data):016x}"


def encode(vector, values):
    """The wire bytes, as msgpack's own packer makes them."""
    body = values
    if values is not None:
        body = {n: 0.0 if isinstance(v, float) and v == 0 else v for n, v in values.items()}
    return msgpack.packb(
        [FORMAT, vector["schema_version"], vector["op"] == "delete" and 1 or 0,
         int(vector["time_us"]), vector["origin"], vector["trace"], body], use_bin_type=True)


# --- reading, as WIRE.md says ---------------------------------------------------------------------


class Pairs(list):
    """A msgpack map as it stands, so that a key that is there twice is seen."""


def unpack(data):
    try:
        return msgpack.unpackb(data, raw=False, strict_map_key=False, object_pairs_hook=Pairs,
                               unicode_errors="surrogateescape")
    except ValueError as error:  # all of msgpack's own errors are
        raise Reject("undecodable") from error


def is_int(value, low, high):
    return type(value) is int and low <= value <= high


def is_utf8(text):
    return not any("\ud800" <= c <= "\udfff" for c in text)


def need(condition, reject="undecodable"):
    if not condition:
        raise Reject(reject)


def check_text(value, length):
    need(isinstance(value, str) and is_utf8(value) and len(value) <= length, "schema")
    return value


def check_value(field, value):
    kind = field["type"]
    if kind == "string":
        return check_text(value, field["length"])
    if kind in ("int", "time"):
        need(is_int(value, -(2**63), 2**63 - 1), "schema")
        return value
    if kind == "bool":
        need(isinstance(value, bool), "schema")
        return value
    if kind == "float":
        whole = is_int(value, -(2**53), 2**53)
        need(whole or (isinstance(value, float) and math.isfinite(value)), "schema")
        return float(value)
    need(type(value) is list and len(value) <= field["max_items"], "schema")
    return [check_text(item, field["length"]) for item in value]


def decode_fields(schema, version, pairs):
    fields, reserved = fields_of(schema), schema.get("reserved", [])
    values = {}
    for number, value in pairs:
        need(type(number) is int)
        if number not in fields:
            need(version < schema["version"] and number in reserved, "schema")
            continue
        need(number not in values)
        values[number] = check_value(fields[number], value)
    return values


def decode(schema, data):
    """Field values by number (None: deleted), or Reject."""
    need(len(data) <= BODY_BYTES_MAX)
    record = unpack(data)
    need(type(record) is list and len(record) > 0 and is_int(record[0], 1, 2**32 - 1))
    need(record[0] <= FORMAT, "newer-format")
    need(len(record) == 7 and is_int(record[1], 1, 2**32 - 1))
    need(record[1] <= schema["version"], "newer-schema")
    _, version, op, time_us, origin, trace, body = record
    need(is_int(op, 0, 1) and is_int(time_us, -(2**63), 2**63 - 1))
    for text in (origin, trace):
        need(isinstance(text, str) and is_utf8(text) and len(text.encode()) <= 64)
    if op == 1:
        need(body is None)
        return None
    need(isinstance(body, Pairs))
    return decode_fields(schema, version, body)


# --- the file -------------------------------------------------------------------------------------


def fill(document):
    for vector in document["records"]:
        schema, key = document["schemas"][vector["schema"]], vector["key"].encode()
        values = from_json(schema, vector["values"])
        for name, value in (("shard", shard_of(key)),
                            ("wire", encode(vector, values).hex()),
                            ("canonical", canonical(schema, key, values).hex()),
                            ("hash", hash_of(canonical(schema, key, values)))):
            vector.setdefault(name, value)
    for vector in document["keys"]:
        vector.setdefault("shard", shard_of(bytes.fromhex(vector["hex"])))


def check_record(document, vector):
    schema, key = document["schemas"][vector["schema"]], vector["key"].encode()
    values = from_json(schema, vector["values"])
    mine = canonical(schema, key, values)
    yield "key", key_is_good(key), True
    yield "shard", shard_of(key), vector["shard"]
    yield "wire", encode(vector, values).hex(), vector["wire"]
    yield "canonical", mine.hex(), vector["canonical"]
    yield "hash", hash_of(mine), vector["hash"]
    for number, wire in enumerate([vector["wire"], *(a["wire"] for a in vector.get("also", []))]):
        try:
            read = hash_of(canonical(schema, key, decode(schema, bytes.fromhex(wire))))
        except Reject as reject:
            read = f"rejected as {reject}"
        yield f"hash of encoding {number}", read, vector["hash"]


def check_reject(document, vector):
    try:
        decode(document["schemas"][vector["schema"]], bytes.fromhex(vector["wire"]))
        found = "accepted"
    except Reject as reject:
        found = str(reject)
    yield "class", found, vector["class"]


def check_key(document, vector):
    key = bytes.fromhex(vector["hex"])
    yield "good", key_is_good(key), vector["good"]
    yield "shard", shard_of(key), vector["shard"]


def check(document):
    """Prints what differs; returns how many vectors there were and how many were wrong."""
    total = wrong = 0
    for section, checker in (("records", check_record), ("rejects", check_reject),
                             ("keys", check_key)):
        for vector in document[section]:
            total += 1
            differences = [d for d in checker(document, vector) if d[1] != d[2]]
            wrong += bool(differences)
            for what, found, expected in differences:
                print(f"{section}: {vector['name']}: {what}: computed {found}, file has {expected}",
                      file=sys.stderr)
    return total, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=pathlib.Path, default=DEFAULT)
    parser.add_argument("--fill", action="store_true")
    arguments = parser.parse_args()
    document = json.loads(arguments.file.read_text(encoding="utf-8"))
    if arguments.fill:
        fill(document)
        arguments.file.write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n",
                                  encoding="utf-8")
    total, wrong = check(document)
    if wrong:
        sys.exit(f"{wrong} of {total} vectors differ")
    print(f"{total} vectors agree")


if __name__ == "__main__":
    main()
