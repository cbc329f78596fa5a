"""Servers that want TLS and a password, only by name: kafka-tls, mysql-tls, redis-tls and es-tls.

Where the server has TLS of its own, it is that: MariaDB, Kafka (SSL, and SASL_SSL with a password)
and Redis. This Elasticsearch has none (server_elastic.py), so es-tls is Apache's httpd in front of
es-primary, which asks for a user and password too. Redis clients without TLS go through stunnel:
its nodes tell clients stunnel's addresses. Certificates: certificates.py.
"""

import base64
import ssl
import urllib.error
import urllib.request
from pathlib import Path

import certificates
import server_kafka
from instance import Instance, write_atomically
from process import Proc, program
from server_elastic import Elasticsearch
from server_mariadb import USER, MariaDB
from server_redis import BUS_DISTANCE, RedisCluster

APACHE_MODULES = Path("/usr/lib/apache2/modules")


def tls_file(instance: Instance, name: str, end: str) -> Path:
    return certificates.folder(instance) / f"{name}.{end}"


class MariaTls(MariaDB):
    """mysql-tls: takes no connection without TLS."""

    EXTRA_PORTS = {"mysql-tls": 13310}

    @property
    def replicated(self) -> bool:
        return False

    def prepare(self) -> None:
        certificates.prepare(self.instance, self.name)
        super().prepare()

    def _options(self, init: Path) -> str:
        return f"""{super()._options(init)}
require-secure-transport
ssl-ca={certificates.authority(self.instance)}
ssl-cert={tls_file(self.instance, self.name, "pem")}
ssl-key={tls_file(self.instance, self.name, "key")}
"""

    def client_options(self) -> list:
        return ["--ssl"]  # not verified: a bad certificate does not make a server less ready


class KafkaTls:
    """kafka-tls: SSL, and SASL_SSL with PLAIN and SCRAM; what is not encrypted is for tests that look
    on. PLAIN has one user; those of SCRAM are the broker's own records, and a test's to make."""

    name = "kafka-tls"
    PORTS = {"ssl": 19120, "sasl_ssl": 19121, "plain": 19122, "controller": 19123}

    def __init__(self, instance: Instance):
        self.instance = instance
        ports = {purpose: instance.port(base) for purpose, base in self.PORTS.items()}
        self.where = f"127.0.0.1:{ports['ssl']} SSL, {ports['sasl_ssl']} SASL_SSL"
        self.proc = Proc(self.name, instance, ports, instance.sub("data", self.name))
        self.procs = [self.proc]

    def prepare(self) -> None:
        certificates.prepare(self.instance, self.name)
        self.proc.data_dir.mkdir(parents=True, exist_ok=True)
        text = self._properties()
        self.proc.argv = server_kafka.command(self.instance, self.name, text, "200m", self.name)
        self.instance.sub("etc", f"{self.name}.properties").chmod(0o600)  # it holds the password

    def _properties(self) -> str:
        ports = self.proc.ports
        listeners = ",".join(
            f"{name.upper()}://127.0.0.1:{ports[name]}" for name in ("ssl", "sasl_ssl", "plain")
        )
        modules = "org.apache.kafka.common.security"
        login = f"{modules}.plain.PlainLoginModule required"
        scram = f"{modules}.scram.ScramLoginModule required;"
        password = certificates.password(self.instance)  # hexadecimal: nothing to quote
        return f"""\
# Written by ./dev stack up; changes are overwritten.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{ports["controller"]}
listeners={listeners},CONTROLLER://127.0.0.1:{ports["controller"]}
advertised.listeners={listeners}
listener.security.protocol.map=SSL:SSL,SASL_SSL:SASL_SSL,PLAIN:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAIN
log.dirs={self.proc.data_dir}/log
ssl.keystore.type=PEM
ssl.keystore.location={tls_file(self.instance, self.name, "both.pem")}
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.sasl_ssl.plain.sasl.jaas.config={login} user_{USER}="{password}";
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config={scram}
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={scram}
{server_kafka.copies(1, in_sync=1)}

{server_kafka.COMMON}"""

    def probe(self, proc: Proc) -> str:
        known, reason = server_kafka.brokers_known(self.proc.ports["plain"])
        return reason if known is None or known == [1] else "the broker is not in its metadata yet"

    def ready(self) -> str:
        return self.probe(self.proc)


class RedisTls(RedisCluster):
    """redis-tls: three masters that take only TLS, and redis-tunnel, the stunnel in front of them.

    Among themselves they speak without: a bad certificate is for clients to refuse."""

    EXTRA_PORTS = {"redis-tls": (16391, 16392, 16393)}
    TUNNEL_PORTS = (16394, 16395, 16396)

    def __init__(self, instance: Instance, name: str = "redis-tls"):
        super().__init__(instance, name)
        self.nodes, self.node_ports = self.procs, self.ports
        self.ports = [instance.port(base) for base in self.TUNNEL_PORTS]  # where it is spoken to
        self.tunnel = Proc(
            "redis-tunnel",
            instance,
            {f"node {i}": port for i, port in enumerate(self.ports, start=1)},
            instance.sub("data", "redis-tunnel"),
        )
        self.procs = [*self.nodes, self.tunnel]
        self.where = ", ".join(f"127.0.0.1:{port}" for port in self.ports)

    def prepare(self) -> None:
        certificates.prepare(self.instance, self.name)
        self.procs = self.nodes
        super().prepare()
        self.procs = [*self.nodes, self.tunnel]
        self.tunnel.data_dir.mkdir(parents=True, exist_ok=True)
        settings = self.instance.sub("etc", "redis-tunnel.conf")
        write_atomically(settings, self._tunnel_settings())
        self.tunnel.argv = [program("stunnel"), str(settings)]

    def _options(self, proc: Proc, users) -> str:
        port = proc.ports["redis"]
        tunnel = self.ports[self.nodes.index(proc)]
        return super()._options(proc, users).replace(f"\nport {port}\n", "\nport 0\n") + f"""
tls-port {port}
tls-auth-clients no
tls-ca-cert-file "{certificates.authority(self.instance)}"
tls-cert-file "{tls_file(self.instance, self.name, "pem")}"
tls-key-file "{tls_file(self.instance, self.name, "key")}"
cluster-announce-port {tunnel}
"""

    def _tunnel_settings(self) -> str:
        nodes = "".join(
            f"[node-{i}]\naccept = 127.0.0.1:{accept}\nconnect = 127.0.0.1:{connect}\n"
            for i, (accept, connect) in enumerate(zip(self.ports, self.node_ports), start=1)
        )
        return f"""\
; Written by ./dev stack up; changes are overwritten.
foreground = yes
pid =
client = yes
verifyChain = yes
checkIP = 127.0.0.1
CAfile = {certificates.authority(self.instance)}
TIMEOUTclose = 0

{nodes}"""

    def bus_port(self, port: int) -> int:
        """Of the node behind a tunnel's port."""
        return self.node_ports[self.ports.index(port)] + BUS_DISTANCE

    def probe(self, proc: Proc) -> str:
        return self.ready()


class ElasticTls:
    """es-tls: Apache's httpd, TLS and a password in front of es-primary, which must run too."""

    name = "es-tls"

    def __init__(self, instance: Instance):
        self.instance = instance
        self.port = instance.port(19210)
        self.behind = Elasticsearch(instance, "es-primary").port
        self.where = f"https://127.0.0.1:{self.port}"
        self.proc = Proc(self.name, instance, {"https": self.port}, instance.sub("data", self.name))
        self.procs = [self.proc]

    def authorization(self) -> str:
        login = f"{USER}:{certificates.password(self.instance)}".encode()
        return "Basic " + base64.b64encode(login).decode()

    def prepare(self) -> None:
        certificates.prepare(self.instance, self.name)
        self.proc.data_dir.mkdir(parents=True, exist_ok=True)
        settings = self.instance.sub("secrets", "es-tls.conf")
        write_atomically(settings, self._settings(), 0o600)
        self.proc.argv = [program("apache2"), "-f", str(settings), "-DFOREGROUND"]

    def _settings(self) -> str:
        modules = ("mpm_event", "authz_core", "headers", "rewrite", "ssl")
        modules += ("proxy", "proxy_http")
        loaded = "".join(
            f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so\n" for name in modules
        )
        # httpd's children run as another user, who could not read a file of passwords in here
        return f"""\
# Written by ./dev stack up; changes are overwritten.
{loaded}
ServerName 127.0.0.1
Listen 127.0.0.1:{self.port}
ServerRoot {self.proc.data_dir}
DefaultRuntimeDir {self.proc.data_dir}
PidFile {self.proc.data_dir}/pid
Mutex pthread
ErrorLog {self.proc.log_file}
CustomLog {self.proc.log_file} "%t %{{SSL_PROTOCOL}}x %m %U %>s"
User www-data
Group www-data
StartServers 1
ServerLimit 1
ThreadsPerChild 25
MaxRequestWorkers 25
KeepAlive On
MaxKeepAliveRequests 0
SSLEngine on
SSLCertificateFile {tls_file(self.instance, self.name, "pem")}
SSLCertificateKeyFile {tls_file(self.instance, self.name, "key")}
Header always set WWW-Authenticate 'Basic realm="elasticsearch"'
RewriteEngine on
RewriteCond "%{{HTTP:Authorization}}" "!=${{login}}"
RewriteRule "" "-" [R=401,L]
ProxyPass / http://127.0.0.1:{self.behind}/
""".replace("${login}", self.authorization())

    def probe(self, proc: Proc) -> str:
        context = ssl.create_default_context()
        context.check_hostname = False  # a bad certificate does not make it less ready
        context.verify_mode = ssl.CERT_NONE
        request = urllib.request.Request(
            f"{self.where}/_cluster/health", headers={"Authorization": self.authorization()}
        )
        try:
            with urllib.request.urlopen(request, timeout=2, context=context):
                return ""
        except (OSError, urllib.error.URLError) as error:
            return f"no health through it yet ({error})"

    def ready(self) -> str:
        return self.probe(self.proc)


def make_servers(instance: Instance) -> list:
    maria = MariaTls(instance, "mysql-tls")
    return [KafkaTls(instance), maria, RedisTls(instance), ElasticTls(instance)]
