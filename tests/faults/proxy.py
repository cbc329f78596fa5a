"""Links that can be broken: toxiproxy between the program and a server of the stack.

    with Proxy(servers.port("mysql-1")) as proxy:
        …the program connects to proxy.port…
        with proxy.latency(200):
            …
        proxy.cut()                  # refused from now on, open connections are closed
        proxy.heal()                 # as if nothing had been

toxiproxy's words: upstream is towards the server, downstream towards the program. A fault without
`with` stays until heal(). The `timeout` toxic swallows what is sent and keeps the connection
open, which is a peer that has vanished without a word; ended, it closes the connection, so that
bytes are never missing in the middle of a stream.

`kafka()` and `redis_cluster()` are for servers that tell clients their own address: there it is not
enough to connect to another port.
"""

import contextlib
import http.client
import itertools
import json
import re
import secrets

import server_toxiproxy
import servers
from harness import wait_until
from server_redis import Connection

TIMEOUT_S = 10
UP, DOWN = "upstream", "downstream"
_number = itertools.count(1)


def call(method, path, body=None):
    """The API's answer; an error is an AssertionError that names it."""
    link = http.client.HTTPConnection("127.0.0.1", servers.port("toxiproxy"), timeout=TIMEOUT_S)
    try:
        link.request(method, path, json.dumps(body) if body is not None else None)
        reply = link.getresponse()
        text = reply.read().decode()
    finally:
        link.close()
    if reply.status >= 300:
        raise AssertionError(f"toxiproxy: {method} {path}: {reply.status} {text}")
    return text


def ensure():
    """toxiproxy runs; it is left running for the next test and ends with the stack."""
    if not servers.pids("toxiproxy"):
        servers.start("toxiproxy")


class Proxy:
    """One listening port that leads to one port of a server. A context manager; close() ends it."""

    def __init__(self, upstream_port, port=0):
        ensure()
        self.name = f"p{next(_number)}-{secrets.token_hex(4)}"
        wanted = {
            "name": self.name,
            "listen": f"127.0.0.1:{port}",  # 0: a free one
            "upstream": f"127.0.0.1:{upstream_port}",
            "enabled": True,
        }
        self.listen = json.loads(call("POST", "/proxies", wanted))["listen"]
        self.port = int(self.listen.rpartition(":")[2])
        self.upstream_port = upstream_port

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        call("DELETE", f"/proxies/{self.name}")

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    # faults: each returns a context manager that ends it

    def latency(self, ms, jitter_ms=0, streams=(DOWN,)):
        return self._toxic("latency", {"latency": ms, "jitter": jitter_ms}, streams)

    def bandwidth(self, kib_s, streams=(UP, DOWN)):
        return self._toxic("bandwidth", {"rate": kib_s}, streams)

    def slicer(self, size, delay_us, streams=(UP, DOWN)):
        """A trickle: pieces of about `size` bytes, with a pause after each."""
        attributes = {"average_size": size, "size_variation": size // 2, "delay": delay_us}
        return self._toxic("slicer", attributes, streams)

    def reset_peer(self, after_ms=0, streams=(DOWN,)):
        """RST instead of the next bytes, on every connection, as long as it lasts."""
        return self._toxic("reset_peer", {"timeout": after_ms}, streams)

    def timeout(self, streams=(UP, DOWN)):
        """A black hole: connections open and stay open, and nothing comes through."""
        return self._toxic("timeout", {"timeout": 0}, streams)

    def limit_data(self, size, streams=(DOWN,)):
        """Every connection is closed after this many bytes: an answer is cut in the middle."""
        return self._toxic("limit_data", {"bytes": size}, streams)

    def cut(self):
        """Open connections are closed, new ones refused."""
        self._enable(False)

    def enable(self):
        """After cut(): connections are taken again; other faults stay."""
        self._enable(True)

    def lead_to(self, upstream_port):
        """To another server from now on; open connections are closed."""
        wanted = {
            "listen": self.listen,
            "upstream": f"127.0.0.1:{upstream_port}",
            "enabled": True,
        }
        call("POST", f"/proxies/{self.name}", wanted)
        self.upstream_port = upstream_port

    def heal(self):
        """No fault is left."""
        for toxic in self.toxics():
            call("DELETE", f"/proxies/{self.name}/toxics/{toxic['name']}")
        self._enable(True)

    @contextlib.contextmanager
    def being_cut(self):
        self.cut()
        try:
            yield
        finally:
            self.heal()

    # what the proxy itself has seen

    def toxics(self):
        return json.loads(call("GET", f"/proxies/{self.name}/toxics"))

    def received(self, stream=None):
        """Bytes that came in, of connections that have ended."""
        return self._counter("received", stream)

    def sent(self, stream=None):
        """Bytes that were passed on, of connections that have ended."""
        return self._counter("sent", stream)

    def swallowed(self):
        """Bytes that came in and never went out, of connections that have ended."""
        return self.received() - self.sent()

    def connections(self):
        """How many this proxy has accepted, by toxiproxy's log."""
        mark = f'"name":"{self.name}"'
        lines = servers.log("toxiproxy").splitlines()
        return sum(mark in line and '"Accepted client"' in line for line in lines)

    def _counter(self, which, stream):
        pattern = re.compile(
            rf'toxiproxy_proxy_{which}_bytes_total{{direction="(\w+)",'
            rf'.*proxy="{self.name}".*}} (\S+)'
        )
        found = pattern.findall(call("GET", "/metrics"))
        return sum(float(value) for direction, value in found if stream in (None, direction))

    def _toxic(self, kind, attributes, streams):
        names = []
        for stream in streams:
            name = f"{kind}-{stream}-{next(_number)}"
            wanted = {"name": name, "type": kind, "stream": stream, "attributes": attributes}
            call("POST", f"/proxies/{self.name}/toxics", wanted)
            names.append(name)
        return _Fault(self, names)

    def _enable(self, on):
        call("POST", f"/proxies/{self.name}", {"enabled": on})

class _Fault(contextlib.AbstractContextManager):
    """A fault that goes on; ends with the `with`, or by end()."""

    def __init__(self, proxy, names):
        self.proxy, self.names = proxy, names

    def __exit__(self, *exc):
        self.end()

    def end(self):
        there = {toxic["name"] for toxic in self.proxy.toxics()}
        for name in self.names:
            if name in there:
                call("DELETE", f"/proxies/{self.proxy.name}/toxics/{name}")
        self.names = []


def kafka():
    """The stack's broker through a proxy: clients that begin at its port stay on it."""
    proxied = servers.procs("kafka")[0].ports["proxied"]
    return Proxy(proxied, servers.INSTANCE.port(server_toxiproxy.KAFKA_PORT))


class Group:
    """Proxies of one cluster, broken and healed together; `nodes` has them one by one."""

    def __init__(self, nodes):
        self.nodes = nodes

    def each(self, fault, *args, **options):
        """The same fault on all: each("latency", 200). Returns a context manager that ends it."""
        stack = contextlib.ExitStack()
        for node in self.nodes:
            stack.enter_context(getattr(node, fault)(*args, **options))
        return stack

    def cut(self):
        for node in self.nodes:
            node.cut()

    def enable(self):
        for node in self.nodes:
            node.enable()

    def heal(self):
        for node in self.nodes:
            node.heal()

    @property
    def addresses(self):
        return [node.address for node in self.nodes]


@contextlib.contextmanager
def redis_cluster(name):
    """A Redis Cluster of the stack behind proxies: its nodes tell clients the proxies' addresses.

    Everybody who asks the cluster where its nodes are is sent there, for as long as it lasts, also
    after a node was started again.
    """
    procs = servers.procs(name)
    with contextlib.ExitStack() as stack:
        group = Group([stack.enter_context(Proxy(proc.ports["redis"])) for proc in procs])
        stack.callback(_announce, procs, [proc.ports["redis"] for proc in procs], 0)
        _announce(procs, [node.port for node in group.nodes], None)
        yield group


def _announce(procs, ports, value):
    """Sets what each node tells of itself (value 0: its own port), until all nodes tell it."""
    password = servers.INSTANCE.secret("redis")
    with contextlib.ExitStack() as stack:
        nodes = []
        for proc, port in zip(procs, ports):
            node = Connection(proc.ports["redis"], password)
            stack.callback(node.close)
            announced = port if value is None else value
            node.call("CONFIG", "SET", "cluster-announce-port", announced)
            servers.EXTRA_ARGS[proc.name] = ["--cluster-announce-port", str(announced)]
            nodes.append(node)

        def told():
            for node in nodes:
                known = node.call("CLUSTER", "NODES")
                if not all(f" 127.0.0.1:{port}@" in known for port in ports):
                    return False
                if " disconnected" in known or node.cluster_trouble():
                    return False
            return True

        wait_until(told, f"all nodes to tell the ports {ports}", 20)
