"""Elasticsearch: four single-node clusters, run from the jars alone (java/ElasticNode.java), and two
more by name: es-spare, whose data a test may throw away, and es-small, which takes one write at a
time and lets one wait.

Without the archive's extra modules there is no security, licence, painless or reindex: none of
them is used here.
"""

import json
import os
import shutil
import threading
import urllib.error
import urllib.request

import jvm
from instance import HERE, Instance
from process import Proc

PROCESSORS_MAX = 4  # thread pools and their memory grow with it
_HOME_LOCK = threading.Lock()  # all four nodes share one home


class Elasticsearch:
    BASE_PORTS = {
        "es-primary": (19200, 19300),
        "es-backup": (19201, 19301),
        "es-marketing": (19202, 19302),
        "es-fallback": (19203, 19303),
    }
    EXTRA_PORTS = {"es-spare": (19204, 19304), "es-small": (19205, 19305)}

    def __init__(self, instance: Instance, name: str):
        self.instance = instance
        self.name = name
        base_http, base_transport = {**self.BASE_PORTS, **self.EXTRA_PORTS}[name]
        self.port = instance.port(base_http)
        self.transport_port = instance.port(base_transport)
        self.url = f"http://127.0.0.1:{self.port}"
        self.where = f"127.0.0.1:{self.port}"
        ports = {"http": self.port, "transport": self.transport_port}
        self.archive = instance.sub("tmp", "elasticsearch.jsa") if name == "es-primary" else None
        data = instance.sub("data", name)
        self.proc = Proc(name, instance, ports, data, self._keep_archive, jvm.ARCHIVING_TIMEOUT_S)
        self.procs = [self.proc]

    def prepare(self) -> None:
        self.proc.data_dir.mkdir(parents=True, exist_ok=True)
        home = self._home()
        options = [
            *("-Xms128m", "-Xmx400m", "-XX:MaxDirectMemorySize=64m", "-Xss512k"),
            f"-Des.path.home={home}",
        ]
        self.proc.argv = jvm.command(
            self.instance, "elasticsearch", "ElasticNode", options, self.archive
        )
        self.proc.argv += [f"{name}={value}" for name, value in self._settings(home).items()]

    def _settings(self, home) -> dict:
        settings = {
            "path.home": home,
            "path.data": self.proc.data_dir,
            "path.logs": self.instance.sub("log"),
            "cluster.name": f"lockstep-{self.instance.name}-{self.name}",
            "node.name": self.name,
            "node.processors": min(os.cpu_count() or 1, PROCESSORS_MAX),
            "discovery.type": "single-node",
            "network.host": "127.0.0.1",
            "http.port": self.port,
            "transport.port": self.transport_port,
            # a misspelt index must fail, not appear with a guessed mapping
            "action.auto_create_index": "false",
            # a developer's full disk must not turn the indices read-only
            "cluster.routing.allocation.disk.threshold_enabled": "false",
        }
        if self.name == "es-small":
            settings |= {"thread_pool.write.size": 1, "thread_pool.write.queue_size": 1}
        return settings

    def _home(self):
        """The directory a node takes for its installation: logging's settings and one module."""
        home = self.instance.sub("etc", "elasticsearch")
        with _HOME_LOCK:
            module = home / "modules" / "transport-netty4"
            (home / "config").mkdir(parents=True, exist_ok=True)
            module.mkdir(parents=True, exist_ok=True)
            source = HERE / "elasticsearch"
            shutil.copy(source / "log4j2.properties", home / "config")
            shutil.copy(source / "plugin-descriptor.properties", module)
            jars = jvm.jars_dir(self.instance) / "elasticsearch" / "transport-netty4"
            for jar in jars.glob("*.jar"):
                if not (module / jar.name).exists():
                    shutil.copy(jar, module)
        return home

    def _keep_archive(self) -> None:
        if self.archive:
            jvm.keep_archive(self.instance, "elasticsearch", self.archive)

    def probe(self, proc: Proc) -> str:
        """Empty once the cluster's health is yellow or green, else what it is."""
        try:
            with urllib.request.urlopen(f"{self.url}/_cluster/health", timeout=2) as reply:
                status = json.load(reply)["status"]
        except (OSError, ValueError, urllib.error.URLError) as error:
            return f"no health yet ({error})"
        return "" if status in ("green", "yellow") else f"health is {status}"

    def ready(self) -> str:
        return self.probe(self.proc)
