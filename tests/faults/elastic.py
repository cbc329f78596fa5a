"""What the tests of Elasticsearch share: a story on one node that may be spoilt, killed and emptied, the
node's own counters, and a reader of an index that shares no code with the program."""

import itertools
import shutil

import requests

import servers
import stores
import support
from harness import wait_until

SINK = "es-primary"  # the sink's name; the node behind it is the test's
TIMEOUT_S = 20
DISK = "cluster.routing.allocation.disk."
_seed = itertools.count(1)


class Node:
    """One Elasticsearch of the stack, by name."""

    def __init__(self, name):
        self.name = name
        self.port = servers.port(name)

    def call(self, method, path, body=None):
        url = f"http://127.0.0.1:{self.port}{path}"
        reply = requests.request(method, url, json=body, timeout=TIMEOUT_S)
        reply.raise_for_status()
        return reply.json()

    def settings(self, index, **settings):
        self.call("PUT", f"/{index}/_settings", {"index": settings})

    def cluster_settings(self, settings):
        self.call("PUT", "/_cluster/settings", {"persistent": settings})

    def rejected(self):
        """How often the write pool had no room, as the node itself counts."""
        pools = self.call("GET", "/_nodes/stats/thread_pool")["nodes"]
        return sum(node["thread_pool"]["write"]["rejected"] for node in pools.values())

    def uuid(self, index):
        settings = self.call("GET", f"/{index}/_settings")
        return settings[index]["settings"]["index"]["uuid"]

    def primary_terms(self, index):
        state = self.call("GET", f"/_cluster/state/metadata/{index}")
        return state["metadata"]["indices"][index]["primary_terms"]

    def held(self, index, size=10000):
        """All that an index holds but marks: {key: (version, deleted, fields)}."""
        self.call("POST", f"/{index}/_refresh")
        query = {"bool": {"must_not": {"exists": {"field": "_mark"}}}}
        hits = self.call("POST", f"/{index}/_search", {"size": size, "query": query})["hits"]["hits"]
        if len(hits) == size:
            raise AssertionError("more documents than this reader takes")
        held = {}
        for hit in hits:
            source = hit["_source"]
            fields = {name: source[name] for name in stores.SCHEMA.types if name in source}
            version = source["_v_hi"] << 32 | source["_v_lo"]
            held[hit["_id"]] = (version, source["_deleted"], fields)
        return held

    def marks(self, index):
        """The marks that an index holds: {partition: version}."""
        docs = [{"_id": f"{{mark}}:{p}", "routing": str(p)} for p in range(stores.PARTITIONS)]
        found = self.call("POST", f"/{index}/_mget", {"docs": docs})["docs"]
        sources = [doc["_source"] for doc in found if doc.get("found")]
        return {mark["_partition"]: mark["_v_hi"] << 32 | mark["_v_lo"] for mark in sources}

    def throw_data_away(self):
        """The node is down, and comes back without a trace of what it held."""
        for proc in servers.procs(self.name):
            if proc.pid() is not None:
                raise AssertionError(f"{self.name} still runs")
            if proc.data_dir.exists():
                shutil.rmtree(proc.data_dir)

    @property
    def data(self):
        return servers.procs(self.name)[0].data_dir

    @property
    def backup(self):
        return self.data.with_name(f"{self.data.name}-backup")

    def back_up(self):
        """The node is down: a copy of all its files."""
        shutil.rmtree(self.backup, ignore_errors=True)
        shutil.copytree(self.data, self.backup)

    def restore(self):
        """The node is down, and comes back with what the copy has."""
        shutil.rmtree(self.data)
        self.backup.rename(self.data)

    def lose_shard(self, index, shard):
        """The node is down, and comes back without one shard's files."""
        shutil.rmtree(self.data / "indices" / self.uuids[index] / str(shard))

    def remember(self, index):
        """Before the node goes down: where the index's files are."""
        self.uuids = {index: self.uuid(index)}

    def take_empty_shard(self, index, shard):
        """What an operator does about a shard that is lost for good."""
        place = {"index": index, "shard": shard, "node": self.name, "accept_data_loss": True}
        self.call("POST", "/_cluster/reroute", {"commands": [{"allocate_empty_primary": place}]})

    def wait_health(self, index, *wanted):
        def there():
            try:
                return self.call("GET", f"/_cluster/health/{index}")["status"] in wanted
            except requests.RequestException:
                return False  # it starts

        wait_until(there, f"{index} is {' or '.join(wanted)}", 90)


class ElasticStory(support.Story):
    """A story of one sink on a node (through `port`, where something stands between)."""

    def __init__(self, name, node, port=None, change=None, apply=True, **options):
        self.node = node
        self.index = f"{name}-000001"

        def own(config):
            sink = config["sinks"][SINK]
            sink["urls"] = [f"http://127.0.0.1:{port or node.port}"]
            sink["connect_timeout_ms"], sink["request_timeout_ms"] = 2000, 10000
            sink.update(options)
            if change:
                change(config)

        super().__init__(name, name, [SINK], own, apply)

    def more(self, members=300, events=600):
        return self.publish(members, events, seed=next(_seed))

    def now(self):
        return self.status(SINK)

    def wait(self, what, condition, timeout_s=60):
        return self.wait_status(SINK, what, condition, timeout_s)

    def wait_state(self, state, text="", timeout_s=60):
        """Until the sink says this, with this text as the reason or the last error."""

        def said(now):
            return now["state"] == state and text in f"{now['reason']} {now['last_error']}"

        return self.wait(f"{state} with '{text}'", said, timeout_s)

    def expected(self):
        return stores.newest_of_log(topic=f"{self.entity}.state.1")

    def settled(self, timeout_s=120):
        """Caught up, counted, nothing in the quarantine, equal by verify and by our own reading."""
        now = self.settle(timeout_s=timeout_s)[SINK]
        if (now["poison"], now["quarantined"]) != (0, 0):
            raise AssertionError(f"something is in the quarantine: {now}")
        self.assert_equal()
        return now

    def assert_equal(self, but=()):
        expected = {key: image for key, image in self.expected().items() if key not in but}
        held = {key: image for key, image in self.node.held(self.index).items() if key not in but}
        if held != expected:
            differing = sorted(
                key for key in {*held, *expected} if held.get(key) != expected.get(key)
            )
            raise AssertionError(f"{len(differing)} differ from the log: {differing[:5]}")
