"""Reads all that a store holds of an entity, in bulk, with the store's own Python client."""

import struct

import pymysql
import redis
import requests

import stores
import wire

PAGE = 5000
TIMEOUT_S = 60


def from_mysql(entity, schema, servers):
    held = {}
    for server in servers:
        connection = stores.mysql_connection(server)
        with connection, connection.cursor(pymysql.cursors.DictCursor) as cursor:
            for shard in range(wire.SHARDS):
                first, last = map(int, str(server["partitions"]).split("-"))
                if not first <= shard % stores.PARTITIONS <= last:
                    continue
                cursor.execute(f"SELECT * FROM `{entity}_{shard:04d}`")
                for row in cursor.fetchall():
                    deleted = bool(row["_deleted"])
                    fields = {} if deleted else stores.mysql_fields(row)
                    held[row["id"].decode()] = (row["_v"], deleted, fields)
    return held


def from_redis(schema, ports, user, password):
    """Every node is scanned: a key on the wrong one would be seen, too."""
    held = {}
    pattern = f"{schema.prefix}:{{*}}"
    start = len(schema.prefix) + 2
    for port in ports:
        with redis.Redis(port=port, username=user, password=password) as node:
            for keys in _pages(node.scan_iter(match=pattern, count=PAGE)):
                # MGET would need all keys in one slot
                pipe = node.pipeline(transaction=False)
                for key in keys:
                    pipe.get(key)
                for key, entry in zip(keys, pipe.execute()):
                    if entry is not None and not key.endswith(b"}:g"):
                        version = struct.unpack(">Q", entry[:8])[0]
                        held[key.decode()[start:-1]] = (version, *schema.decode(entry[8:]))
    return held


def _pages(items):
    page = []
    for item in items:
        page.append(item)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def from_elasticsearch(schema, url, index):
    """By ranges of _shard, so that no page needs a sort on _id."""
    requests.post(f"{url}/{index}/_refresh", timeout=TIMEOUT_S).raise_for_status()
    held = {}
    after = None
    while True:
        body = {
            "size": PAGE,
            "query": {"exists": {"field": schema.key}},
            "sort": [{schema.key: "asc"}],
            "version": True,
        }
        if after:
            body["search_after"] = after
        reply = requests.post(f"{url}/{index}/_search", json=body, timeout=TIMEOUT_S)
        reply.raise_for_status()
        hits = reply.json()["hits"]["hits"]
        if not hits:
            return held
        for hit in hits:
            source = hit["_source"]
            fields = {name: source[name] for name in schema.types if name in source}
            held[source[schema.key]] = (hit["_version"], source["_deleted"], fields)
        after = hits[-1]["sort"]
