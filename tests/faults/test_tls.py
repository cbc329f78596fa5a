"""TLS and passwords, against real servers: the right ones work from end to end; a wrong password, a
certificate of an unknown authority, an expired one and one of another host halt the sink (or the
command) with a text that says so, nothing goes to the quarantine, and once it is mended on the
server's side the sink goes on by itself.
"""

import contextlib
import itertools
import subprocess
import unittest

import certificates
import harness
import servers
from harness import wait_until
from server_redis import Connection
from support import Story

EVENTS, MEMBERS = 400, 200
WRONG = "of-somebody-else"
HALT_S = 60
_seed = itertools.count(1)


def install(server, kind, ready=True):
    """The server shows this kind of certificate from now on; connections are made anew."""
    certificates.install(servers.INSTANCE, server, kind)
    servers.restart(server, ready)


def show_good(server):
    """Whatever a run that was interrupted has left; for a server that is not running yet."""
    certificates.prepare(servers.INSTANCE)
    certificates.install(servers.INSTANCE, server, "good")


class Tls:
    """What is the same for every store. One worker lives through all tests of a class."""

    sink = None
    server = None  # of the stack, which shows the certificate
    needs = ()
    texts = {}  # what the reason must hold, by trouble
    tunnelled = False  # the certificate is looked at before lockstep

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        show_good(cls.server)
        cls.enterClassContext(servers.running(*cls.needs, cls.server))
        entity = f"tls{cls.sink.replace('-', '')}"
        cls.story = cls.enterClassContext(Story(entity, entity, [cls.sink], cls.configure))
        cls.worker = cls.enterClassContext(cls.story.worker())

    @classmethod
    def configure(cls, config):
        """Points the sink at the server with TLS."""
        raise NotImplementedError

    def setUp(self):
        self.story.publish(MEMBERS, EVENTS, seed=next(_seed))
        self.story.wait_caught_up()

    @contextlib.contextmanager
    def trouble(self, kind):
        """A server with this trouble; mended after it."""
        if kind == "password":
            with self.other_password():
                yield
            return
        install(self.server, kind, ready=not self.tunnelled)
        try:
            yield
        finally:
            install(self.server, "good")

    def other_password(self):
        raise NotImplementedError

    def encrypted(self):
        """How many connections the server itself says it has encrypted."""
        raise NotImplementedError

    def halts_and_heals(self, kind):
        with self.trouble(kind):
            self.story.publish(MEMBERS, EVENTS, seed=next(_seed))

            def halted(now):
                return now["state"] == "HALTED" and now["lag"] > 0

            told = self.story.wait_status(self.sink, "halts", halted, HALT_S)
            for text in self.texts[kind]:
                self.assertIn(text, told["reason"])
            self.assertNotIn(WRONG, self.worker.log())
        now = self.story.settle()[self.sink]
        self.assertEqual((now["poison"], now["quarantined"]), (0, 0), now)

    def test_the_right_certificate_and_password_work_from_end_to_end(self):
        now = self.story.settle()[self.sink]
        self.assertGreater(now["applied"], 0)
        self.assertGreater(self.encrypted(), 0)

    def test_a_wrong_password_halts_the_sink_until_it_is_mended(self):
        self.halts_and_heals("password")

    def test_a_certificate_of_an_unknown_authority_halts_the_sink_until_it_is_mended(self):
        self.halts_and_heals("foreign")

    def test_an_expired_certificate_halts_the_sink_until_it_is_mended(self):
        self.halts_and_heals("expired")

    def test_a_certificate_of_another_host_halts_the_sink_until_it_is_mended(self):
        self.halts_and_heals("elsewhere")


def sql(statement):
    """As the server's root, by its socket."""
    done = subprocess.run(
        [
            *("mariadb", "--no-defaults", "--user=root", "--batch", "--skip-column-names"),
            f"--socket={servers.chosen('mysql-tls')[0].socket}",
            f"--execute={statement}",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


class MysqlTls(Tls, unittest.TestCase):
    sink, server = "mysql", "mysql-tls"
    texts = {
        "password": ["Access denied for user 'lockstep'", "1045", "check user and password"],
        "foreign": ["certificate", "ca"],
        "expired": ["certificate", "expired"],
        "elsewhere": ["certificate", "host"],
    }

    @classmethod
    def configure(cls, config):
        sink = config["sinks"]["mysql"]
        [first, *_] = sink["servers"]
        sink["servers"] = [{**first, "port": servers.port("mysql-tls"), "partitions": "0-7"}]
        sink["tls"] = {"ca": str(certificates.authority(servers.INSTANCE))}

    @contextlib.contextmanager
    def other_password(self):
        before = servers.INSTANCE.secret("mysql")
        user = "'lockstep'@'127.0.0.1'"
        sql(f"ALTER USER {user} IDENTIFIED BY '{WRONG}'; KILL USER lockstep")
        try:
            yield
        finally:
            sql(f"ALTER USER {user} IDENTIFIED BY '{before}'")

    def encrypted(self):
        return int(sql("SHOW GLOBAL STATUS LIKE 'Ssl_finished_accepts'").split()[1])


class RedisTls(Tls, unittest.TestCase):
    """This build's client has no TLS: stunnel on loopback speaks it, and checks the certificate."""

    sink, server = "redis-a", "redis-tls"
    texts = {"password": ["password", "redis"]}
    tunnelled = True
    refused = {  # by the tunnel
        "foreign": "unable to get local issuer certificate",
        "expired": "certificate has expired",
        "elsewhere": "CERT: Subject checks failed",
    }

    @classmethod
    def configure(cls, config):
        tunnel = servers.chosen("redis-tls")[0]
        config["sinks"]["redis-a"]["nodes"] = [f"127.0.0.1:{port}" for port in tunnel.ports]

    @contextlib.contextmanager
    def other_password(self):
        with contextlib.ExitStack() as stack:
            for port in servers.chosen("redis-tls")[0].ports:
                node = Connection(port, servers.INSTANCE.secret("redis"))
                stack.callback(node.close)
                stack.callback(self.set_password, node, servers.INSTANCE.secret("redis"))
                self.set_password(node, WRONG)
                node.call("CLIENT", "KILL", "USER", "lockstep", "SKIPME", "yes")
            yield

    @staticmethod
    def set_password(node, password):
        node.call("ACL", "SETUSER", "lockstep", "resetpass", f">{password}")

    def encrypted(self):
        port = servers.chosen("redis-tls")[0].ports[0]
        node = Connection(port, servers.INSTANCE.secret("redis"))
        try:
            return int(node.info("stats")["total_connections_received"])
        finally:
            node.close()

    def halts_and_heals(self, kind):
        """The tunnel refuses the node's certificate, and says why in its log; to the sink that is a
        store that is away."""
        if kind == "password":
            super().halts_and_heals(kind)
            return
        with self.trouble(kind):
            self.story.publish(MEMBERS, EVENTS, seed=next(_seed))

            def retrying(now):
                return now["state"] == "RETRYING" and now["lag"] > 0

            self.story.wait_status(self.sink, "retries", retrying, HALT_S)
            text = self.refused[kind]
            wait_until(lambda: text in servers.log("redis-tunnel"), f"the tunnel says: {text}")
        now = self.story.settle()[self.sink]
        self.assertEqual((now["poison"], now["quarantined"]), (0, 0), now)


class ElasticsearchTls(Tls, unittest.TestCase):
    sink, server, needs = "es-primary", "es-tls", ("es-primary",)
    texts = {
        "password": ["401", "password"],
        "foreign": ["certificate", "issuer"],
        "expired": ["certificate", "expired"],
        "elsewhere": ["certificate", "127.0.0.1"],
    }

    @classmethod
    def configure(cls, config):
        sink = config["sinks"]["es-primary"]
        sink["urls"] = [f"https://127.0.0.1:{servers.port('es-tls')}"]
        sink["tls"] = {"ca": str(certificates.authority(servers.INSTANCE))}
        sink["user"] = "lockstep"
        sink["password_file"] = str(certificates.password_file(servers.INSTANCE))

    @contextlib.contextmanager
    def other_password(self):
        path = certificates.password_file(servers.INSTANCE)
        before = path.read_text(encoding="ascii")
        path.write_text(f"{WRONG}\n", encoding="ascii")
        servers.restart("es-tls")
        path.write_text(before, encoding="ascii")
        try:
            yield
        finally:
            servers.restart("es-tls")

    def encrypted(self):
        """httpd's log of requests has the protocol that each came by."""
        return servers.log("es-tls").count("TLSv1.3 POST")


class KafkaTls(unittest.TestCase):
    """Here the log itself is behind TLS, so what is wrong is told by the command, and by the
    worker's own log and not through Kafka."""

    sink = "redis-a"
    PROTOCOLS = ("SSL", "SASL_SSL")

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        show_good("kafka-tls")
        cls.enterClassContext(servers.running("redis-a", "kafka-tls"))
        cls.story = cls.enterClassContext(Story("tlskafka", "tlskafka", [cls.sink], cls.configure))

    @classmethod
    def configure(cls, config, protocol="SASL_SSL", **more):
        port = servers.procs("kafka-tls")[0].ports[protocol.lower()]
        config["kafka"] = {
            "brokers": f"127.0.0.1:{port}",
            "properties": {
                "security.protocol": protocol,
                "ssl.ca.location": str(certificates.authority(servers.INSTANCE)),
                **more,
            },
        }
        if protocol == "SASL_SSL":
            login = {
                "sasl.mechanisms": "PLAIN",
                "sasl.username": "lockstep",
                "sasl.password_file": str(certificates.password_file(servers.INSTANCE)),
            }
            config["kafka"]["properties"].update(login)

    def publish(self, config=None, expect=0):
        lines = harness.generate(MEMBERS, EVENTS, seed=next(_seed))
        words = ("publish", "--entity", self.story.entity, "-")
        path = config or self.story.config
        return harness.lockstep(*words, config=path, stdin=lines, expect=expect)

    def test_the_right_certificate_and_password_work_from_end_to_end(self):
        for protocol in self.PROTOCOLS:
            with self.subTest(protocol):
                config = self.story.variant(
                    protocol.lower(), lambda config, name=protocol: self.configure(config, name)
                )
                self.publish(config)
                with self.story.worker(config=config):
                    now = self.story.settle()[self.sink]
                self.assertGreater(now["applied"], 0)

    def is_refused_and_heals(self, kind, *texts):
        """The command says what is wrong and how to mend it, at once; a worker goes on when it is."""
        self.publish()
        with self.trouble(kind):
            told = harness.lockstep("topics", "check", config=self.story.config, expect=None)
            self.assertEqual(told.returncode, 2, told)
            for text in (*texts, "kafka.properties"):
                self.assertIn(text, told.stderr.splitlines()[-1])
            refused = self.publish(expect=2).stderr.decode()
            self.assertIn(texts[0], refused)
            worker = self.story.worker()
            self.addCleanup(worker.__exit__)
            worker.wait_for_log(texts[0])
            self.assertIsNone(worker.process.poll())
        now = self.story.settle()[self.sink]
        self.assertEqual((now["poison"], now["quarantined"]), (0, 0), now)

    @contextlib.contextmanager
    def trouble(self, kind):
        if kind == "password":
            path = certificates.password_file(servers.INSTANCE)
            before = path.read_text(encoding="ascii")
            path.write_text(f"{WRONG}\n", encoding="ascii")
            servers.restart("kafka-tls")
            path.write_text(before, encoding="ascii")
            try:
                yield
            finally:
                servers.restart("kafka-tls")
            return
        install("kafka-tls", kind)
        try:
            yield
        finally:
            install("kafka-tls", "good")

    def test_a_wrong_password_is_told_until_it_is_mended(self):
        self.is_refused_and_heals("password", "SASL authentication error", "password")

    def test_a_certificate_of_an_unknown_authority_is_told_until_it_is_mended(self):
        self.is_refused_and_heals("foreign", "certificate")

    def test_an_expired_certificate_is_told_until_it_is_mended(self):
        self.is_refused_and_heals("expired", "certificate")

    def test_a_certificate_of_another_host_is_told_until_it_is_mended(self):
        self.is_refused_and_heals("elsewhere", "certificate")


if __name__ == "__main__":
    unittest.main()
