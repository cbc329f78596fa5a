"""A network of the program's own, in which the kernel drops packets: a worker in a network
namespace, joined to ours by a pair of virtual links, with nftables inside.

    with Namespace(servers.port("kafka"), servers.port("mysql-1")) as net:
        with net.worker(config):
            with net.dropping(servers.port("mysql-1"), percent=30) as rule:
                ...
            rule.dropped                  # packets, as the kernel counts them

A proxy (proxy.py) closes one connection and opens another. Here the two ends of one connection
never hear of each other: no FIN, no RST; the kernel sends again, or gives up. The program finds the
servers where its configuration has them: what goes to these ports of its loopback is led to a relay
at our end of the link, since the stack's servers listen on our loopback only.
"""

import contextlib
import itertools
import json
import os
import shutil
import socket
import subprocess
import threading

import harness
import relay

_number = itertools.count(1)
TABLE = "lockstep_drops"


def run(*words):
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, words))}: {done.stderr.strip()}")
    return done.stdout


def why_not():
    """What is missing here; "" where a namespace can be made and packets be dropped in it."""
    for name in ("ip", "nft", "unshare"):
        if shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
            return f"{name} is not installed: ./dev deps"
    if os.geteuid() != 0:
        return "a pair of links into a namespace takes root"
    rules = "add table inet t; add chain inet t c { type filter hook output priority 0; };"
    rules += "add rule inet t c numgen random mod 100 < 30 counter drop"
    tried = subprocess.run(
        ["unshare", "--net", "nft", rules], capture_output=True, text=True, check=False
    )
    return f"this kernel does not do it: {tried.stderr.strip()}" if tried.returncode else ""


class Rule:
    """What drops packets; how many, once it is over."""

    def __init__(self):
        self.dropped = 0


class Relay:
    """A port of our end of the link that leads to a port of loopback."""

    def __init__(self, address, port):
        self.target = port
        self.listener = socket.create_server((address, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def _accept(self):
        for client in relay.clients(self.listener):
            server = socket.create_connection(("127.0.0.1", self.target))
            relay.join(client, server)


class Namespace(contextlib.ExitStack):
    """The machine must be one of which why_not() says nothing; ports are those of our loopback that
    the program may reach."""

    def __init__(self, *ports):
        super().__init__()
        self.ports = ports

    def __enter__(self):
        super().__enter__()
        number = next(_number)
        self.name = f"ls{os.getpid()}n{number}"
        subnet = f"10.{200 + os.getpid() % 50}.{os.getpid() // 50 % 250}.{4 * number}"
        base = subnet.rpartition(".")[0]
        self.address, inner = f"{base}.{4 * number + 1}", f"{base}.{4 * number + 2}"
        ours, theirs = f"v{self.name}"[:14], f"w{self.name}"[:14]
        run("ip", "netns", "add", self.name)
        self.callback(run, "ip", "netns", "delete", self.name)  # and the links with it
        run("ip", "link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", self.name)
        run("ip", "address", "add", f"{self.address}/30", "dev", ours)
        run("ip", "link", "set", ours, "up")
        for words in (
            ("address", "add", f"{inner}/30", "dev", theirs),
            ("link", "set", theirs, "up"),
            ("link", "set", "lo", "up"),
        ):
            run("ip", "-n", self.name, *words)
        # what comes from loopback may leave the machine, and the answers may come back to it
        run("ip", "netns", "exec", self.name, "sysctl", "-q", "net.ipv4.conf.all.route_localnet=1")
        self.nft("add table ip lead")
        self.nft("add chain ip lead out { type nat hook output priority -100; }")
        self.nft("add chain ip lead last { type nat hook postrouting priority 100; }")
        self.nft(f"add rule ip lead last oif {theirs} masquerade")
        for port in self.ports:
            relay = Relay(self.address, port)
            self.callback(relay.close)
            to = f"dnat to {self.address}:{relay.port}"
            self.nft(f"add rule ip lead out ip daddr 127.0.0.1 tcp dport {port} {to}")
        self.nft(f"add table inet {TABLE}")
        for hook in ("input", "output"):
            self.nft(f"add chain inet {TABLE} {hook} {{ type filter hook {hook} priority 0; }}")
        return self

    def nft(self, *words):
        return run("ip", "netns", "exec", self.name, "nft", *words)

    @contextlib.contextmanager
    def dropping(self, port, percent=100, hooks=("input", "output")):
        """Packets of connections to this port: what the program sends (output), is sent (input)."""
        rule = Rule()
        chance = f"numgen random mod 100 < {percent}" if percent < 100 else ""
        for hook in hooks:
            match = f"meta l4proto tcp ct original proto-dst {port} {chance}"
            self.nft(f"add rule inet {TABLE} {hook} {match} counter drop")
        try:
            yield rule
        finally:
            rule.dropped = self._dropped()
            self.nft(f"flush table inet {TABLE}")

    def _dropped(self):
        listed = json.loads(self.nft("--json", "list", "table", "inet", TABLE))["nftables"]
        rules = [item["rule"]["expr"] for item in listed if "rule" in item]
        return sum(e["counter"]["packets"] for expr in rules for e in expr if "counter" in e)

    def worker(self, config):
        """`lockstep run --all` in there."""
        return harness.Worker("--all", config=config, within=("ip", "netns", "exec", self.name))
