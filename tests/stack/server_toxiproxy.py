"""toxiproxy: what the fault tests put between the program and a server, to slow, cut or silence the
link (tests/faults/proxy.py). Started only by name; it has no data, and no proxies until asked.
"""

import hashlib
import http.client
from pathlib import Path

from instance import HERE, Instance, StackError
from process import Proc

# Where clients find Kafka when it is proxied: a broker tells its address, so that must be known
# before there is a proxy (server_kafka.py).
KAFKA_PORT = 19095


def binary(instance: Instance) -> Path:
    """Where ./dev deps put it: the name holds the hash of the versions it was built from."""
    digest = hashlib.sha256()
    for name in ("go.mod", "go.sum"):
        digest.update((HERE / "toxiproxy" / name).read_bytes())
    path = instance.cache / f"toxiproxy-{digest.hexdigest()[:12]}" / "toxiproxy"
    if not path.exists():
        raise StackError(f"toxiproxy is not in {path.parent}: run ./dev deps")
    return path


class Toxiproxy:
    name = "toxiproxy"

    def __init__(self, instance: Instance):
        self.instance = instance
        self.port = instance.port(18474)
        self.where = f"127.0.0.1:{self.port}"
        ports = {"api": self.port, "kafka's proxy": instance.port(KAFKA_PORT)}
        self.proc = Proc(self.name, instance, ports, instance.sub("data", self.name))
        self.procs = [self.proc]

    def prepare(self) -> None:
        self.proc.data_dir.mkdir(parents=True, exist_ok=True)
        self.proc.argv = [
            *(str(binary(self.instance)), "-host", "127.0.0.1", "-port", str(self.port)),
            "-proxy-metrics",  # bytes received and sent, which tell what was cut
        ]

    def probe(self, proc: Proc) -> str:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            link.request("GET", "/version")
            status = link.getresponse().status
        except OSError as error:
            return f"no answer yet ({error})"
        finally:
            link.close()
        return "" if status == 200 else f"answers {status}"

    def ready(self) -> str:
        return self.probe(self.proc)
