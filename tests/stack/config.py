"""Writes the configuration file that the program uses on this stack."""

import json

import server_kafka
import server_mariadb
import server_redis
from instance import CHECKOUT, Instance, write_atomically
from server_elastic import Elasticsearch
from server_mariadb import MariaDB
from server_redis import RedisCluster

SHARDS_OF = {"mysql-1": "0-3", "mysql-2": "4-7"}  # partitions, by server


def write(instance: Instance) -> None:
    write_atomically(instance.config_file, "\n".join(_lines(instance)) + "\n")


def _quoted(value) -> str:
    """A path may hold anything: a JSON string is a YAML string too."""
    return json.dumps(str(value), ensure_ascii=False)


def _lines(instance: Instance):
    yield "# Written by ./dev stack up; changes are overwritten."
    yield f"state_dir: {_quoted(instance.sub('state'))}"
    yield "schemas:"
    yield f"  - {_quoted(CHECKOUT / 'schema' / 'member.yaml')}"
    yield "kafka:"
    yield f"  brokers: 127.0.0.1:{instance.port(server_kafka.BROKER_PORT)}"
    yield "  properties: {}  # librdkafka's own properties, passed through"
    yield "entities:"
    yield "  member:"
    yield "    generation: 1"
    yield "    partitions: 8"
    yield "    replication: 1  # one broker"
    yield "sinks:"
    yield "  mysql:"
    yield "    kind: mysql"
    yield "    servers:"
    for name, base in MariaDB.BASE_PORTS.items():
        yield "      - host: 127.0.0.1"
        yield f"        port: {instance.port(base)}"
        yield f"        database: {server_mariadb.DATABASE}"
        yield f"        user: {server_mariadb.USER}"
        yield f"        password_file: {_quoted(instance.secret_file('mysql'))}"
        yield f"        partitions: {SHARDS_OF[name]}"
    for name, bases in RedisCluster.BASE_PORTS.items():
        nodes = ", ".join(f"127.0.0.1:{instance.port(base)}" for base in bases)
        yield f"  {name}:"
        yield "    kind: redis"
        yield f"    nodes: [{nodes}]"
        yield f"    user: {server_redis.USER}"
        yield f"    password_file: {_quoted(instance.secret_file('redis'))}"
    for name, (base, _) in Elasticsearch.BASE_PORTS.items():
        yield f"  {name}:"
        yield "    kind: elasticsearch"
        yield f'    urls: ["http://127.0.0.1:{instance.port(base)}"]'
        yield "    index: member-000001"
        yield "    alias: member"
