"""TLS and passwords, against real servers: the right ones work from end to end; a wrong password, a
certificate of an unknown authority, an expired one and one of another host halt the sink (or the
command) with a text that says so, nothing goes to the quarantine, and once it is mended on the
server's side the sink goes on by itself.
"""

import contextlib
import ctypes
import itertools
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import confluent_kafka
from confluent_kafka.admin import AdminClient, ScramCredentialInfo, ScramMechanism
from confluent_kafka.admin import UserScramCredentialDeletion, UserScramCredentialUpsertion

import certificates
import harness
import servers
from harness import wait_until
from server_redis import Connection
from support import Story

EVENTS, MEMBERS = 400, 200
WRONG = "of-somebody-else"
HALT_S = 60
TIMEOUT_S = 30
SCRAM_VERSION = 0x02060100  # of librdkafka, from which on it is right
_seed = itertools.count(1)


def install(server, kind, ready=True):
    """The server shows this kind of certificate from now on; connections are made anew."""
    certificates.install(servers.INSTANCE, server, kind)
    servers.restart(server, ready)


def show_good(server):
    """Whatever a run that was interrupted has left; for a server that is not running yet."""
    certificates.prepare(servers.INSTANCE)
    certificates.install(servers.INSTANCE, server, "good")


@contextlib.contextmanager
def restarted_with_another_password(name):
    """The server takes another password than the file tells; started again with that one after."""
    path = certificates.password_file(servers.INSTANCE)
    before = path.read_text(encoding="ascii")
    path.write_text(f"{WRONG}\n", encoding="ascii")
    servers.restart(name)
    path.write_text(before, encoding="ascii")
    try:
        yield
    finally:
        servers.restart(name)


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

    def other_password(self):
        return restarted_with_another_password("es-tls")

    def encrypted(self):
        """httpd's log of requests has the protocol that each came by."""
        return servers.log("es-tls").count("TLSv1.3 POST")


class LogBehindTls:
    """Here the log itself is behind TLS, so what is wrong is told by the command, and by the
    worker's own log and not through Kafka."""

    sink = "redis-a"
    entity = None
    mechanism = "PLAIN"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        show_good("kafka-tls")
        cls.enterClassContext(servers.running(cls.sink, "kafka-tls"))
        cls.story = cls.enterClassContext(Story(cls.entity, cls.entity, [cls.sink], cls.configure))

    @classmethod
    def configure(cls, config, protocol="SASL_SSL", mechanism=None):
        port = servers.procs("kafka-tls")[0].ports[protocol.lower()]
        config["kafka"] = {
            "brokers": f"127.0.0.1:{port}",
            "properties": {
                "security.protocol": protocol,
                "ssl.ca.location": str(certificates.authority(servers.INSTANCE)),
            },
        }
        if protocol == "SASL_SSL":
            login = {
                "sasl.mechanisms": mechanism or cls.mechanism,
                "sasl.username": "lockstep",
                "sasl.password_file": str(certificates.password_file(servers.INSTANCE)),
            }
            config["kafka"]["properties"].update(login)

    def publish(self, config=None, expect=0):
        lines = harness.generate(MEMBERS, EVENTS, seed=next(_seed))
        words = ("publish", "--entity", self.story.entity, "-")
        path = config or self.story.config
        return harness.lockstep(*words, config=path, stdin=lines, expect=expect)

    def works(self, name, *login):
        """From end to end, with this protocol and mechanism."""
        config = self.story.variant(name, lambda config: self.configure(config, *login))
        self.publish(config)
        with self.story.worker(config=config):
            now = self.story.settle()[self.sink]
        self.assertGreater(now["applied"], 0)

    def is_told(self, config, *texts):
        """A command says at once what is wrong, and where to mend it."""
        told = harness.lockstep("topics", "check", config=config, expect=None)
        self.assertEqual(told.returncode, 2, told)
        for text in (*texts, "kafka.properties"):
            self.assertIn(text, told.stderr.splitlines()[-1])

    def is_refused_and_heals(self, trouble, *texts):
        """A worker that has met the trouble goes on when it is mended."""
        self.publish()
        with trouble:
            self.is_told(self.story.config, *texts)
            refused = self.publish(expect=2).stderr.decode()
            self.assertIn(texts[0], refused)
            worker = self.enterContext(self.story.worker())
            worker.wait_for_log(texts[0])
            self.assertIsNone(worker.process.poll())
        now = self.story.settle()[self.sink]
        self.assertEqual((now["poison"], now["quarantined"]), (0, 0), now)
        self.assertNotIn(WRONG, worker.log())
        self.assertEqual(worker.stop(), 0)


class KafkaTls(LogBehindTls, unittest.TestCase):
    entity = "tlskafka"
    PROTOCOLS = ("SSL", "SASL_SSL")

    def other_password(self):
        return restarted_with_another_password("kafka-tls")

    @contextlib.contextmanager
    def certificate(self, kind):
        install("kafka-tls", kind)
        try:
            yield
        finally:
            install("kafka-tls", "good")

    def test_the_right_certificate_and_password_work_from_end_to_end(self):
        for protocol in self.PROTOCOLS:
            with self.subTest(protocol):
                self.works(protocol.lower(), protocol)

    def test_a_wrong_password_is_told_until_it_is_mended(self):
        self.is_refused_and_heals(self.other_password(), "SASL authentication error", "password")

    def test_a_certificate_of_an_unknown_authority_is_told_until_it_is_mended(self):
        self.is_refused_and_heals(self.certificate("foreign"), "certificate")

    def test_an_expired_certificate_is_told_until_it_is_mended(self):
        self.is_refused_and_heals(self.certificate("expired"), "certificate")

    def test_a_certificate_of_another_host_is_told_until_it_is_mended(self):
        self.is_refused_and_heals(self.certificate("elsewhere"), "certificate")


def client_version():
    """Of the librdkafka that programs of this machine get."""
    return ctypes.CDLL("librdkafka.so.1").rd_kafka_version()


@contextlib.contextmanager
def client_at(folder):
    """Programs look for librdkafka in this folder first."""
    before = os.environ.get("LD_LIBRARY_PATH")
    os.environ["LD_LIBRARY_PATH"] = folder
    try:
        yield
    finally:
        del os.environ["LD_LIBRARY_PATH"]
        if before is not None:
            os.environ["LD_LIBRARY_PATH"] = before


@contextlib.contextmanager
def newer_client():
    """Debian's librdkafka is too old for SCRAM at this Kafka (pipeline/kafka_refusal.c); the one that
    the tests' Python package brings along is not."""
    (bundled,) = Path(confluent_kafka.__path__[0] + ".libs").glob("librdkafka-*.so.1")
    with tempfile.TemporaryDirectory(prefix="lockstep-librdkafka.") as folder:
        Path(folder, "librdkafka.so.1").symlink_to(bundled)
        with client_at(folder):
            yield


class KafkaScram(LogBehindTls, unittest.TestCase):
    """Users of SCRAM are the broker's own records: a password is changed while it runs, by an
    administrator, and counts from the next connection on."""

    entity = "scramkafka"
    USER = "lockstep"
    MECHANISMS = {
        "SCRAM-SHA-256": ScramMechanism.SCRAM_SHA_256,
        "SCRAM-SHA-512": ScramMechanism.SCRAM_SHA_512,
    }
    mechanism = "SCRAM-SHA-512"
    iterations = itertools.count(4096)  # each password has a number of its own, to know it by

    @classmethod
    def setUpClass(cls):
        cls.enterClassContext(newer_client())
        show_good("kafka-tls")
        cls.enterClassContext(servers.running("kafka-tls"))
        for mechanism in cls.MECHANISMS:
            cls.set_password(mechanism, certificates.password(servers.INSTANCE))
        super().setUpClass()

    @classmethod
    def alter(cls, alteration, mechanism, iterations):
        """Until the broker itself knows of it; None: has none."""
        port = servers.procs("kafka-tls")[0].ports["plain"]
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
        admin.alter_user_scram_credentials([alteration])[cls.USER].result(TIMEOUT_S)

        def known():
            asked = admin.describe_user_scram_credentials([cls.USER])[cls.USER]
            infos = asked.result(TIMEOUT_S).scram_credential_infos
            numbers = {info.mechanism: info.iterations for info in infos}
            return numbers.get(cls.MECHANISMS[mechanism]) == iterations

        wait_until(known, f"the broker knows the user's new {mechanism}")

    @classmethod
    def set_password(cls, mechanism, password):
        number = next(cls.iterations)
        info = ScramCredentialInfo(cls.MECHANISMS[mechanism], number)
        cls.alter(UserScramCredentialUpsertion(cls.USER, info, password.encode()), mechanism, number)

    @classmethod
    def take_password(cls, mechanism):
        alteration = UserScramCredentialDeletion(cls.USER, cls.MECHANISMS[mechanism])
        cls.alter(alteration, mechanism, None)

    @contextlib.contextmanager
    def other_password(self, mechanism):
        self.set_password(mechanism, WRONG)
        try:
            yield
        finally:
            self.set_password(mechanism, certificates.password(servers.INSTANCE))

    def test_the_right_password_works_from_end_to_end_with_each_digest(self):
        for mechanism in self.MECHANISMS:
            with self.subTest(mechanism):
                self.works(mechanism.lower(), "SASL_SSL", mechanism)

    def test_a_wrong_password_is_told_until_it_is_mended_without_a_restart(self):
        trouble = self.other_password(self.mechanism)
        self.is_refused_and_heals(trouble, "SASL authentication error", self.mechanism)

    def test_the_other_digest_has_a_password_of_its_own(self):
        other = "SCRAM-SHA-256"
        config = self.story.variant("other", lambda config: self.configure(config, mechanism=other))
        with self.other_password(other):
            self.is_told(config, "SASL authentication error", other)
            harness.lockstep("topics", "check", config=self.story.config)

    @unittest.skipUnless(client_version() < SCRAM_VERSION, "this machine's librdkafka knows SCRAM")
    def test_a_client_that_is_too_old_for_scram_says_so(self):
        """Whose password is right, and refused all the same."""
        with client_at(""):
            self.is_told(self.story.config, "SASL authentication error", "needs librdkafka 2.6.1")
        harness.lockstep("topics", "check", config=self.story.config)

    def test_a_user_without_a_password_for_the_digest_is_told(self):
        self.take_password(self.mechanism)
        try:
            self.is_told(self.story.config, "SASL authentication error", self.mechanism)
        finally:
            self.set_password(self.mechanism, certificates.password(servers.INSTANCE))


if __name__ == "__main__":
    unittest.main()
