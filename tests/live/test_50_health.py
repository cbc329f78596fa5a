"""What a worker tells of itself: its pages for Prometheus and for whoever restarts it, its log, and
the alerts that a person is woken by, fired by Debian's prometheus."""

import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from pathlib import Path

import requests
import yaml
from confluent_kafka import Producer

import harness
import stores
import wire
from harness import wait_until
from own import free_port
from support import Story

MONITORING = harness.ROOT / "docs" / "monitoring"
SINK = "redis-a"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lockstep"
SAMPLE = re.compile(r"^([a-z_]+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def program(name):
    """Debian's, as ./dev deps leaves it."""
    places = f"{os.environ.get('LOCKSTEP_CACHE') or CACHE}/bin:{os.environ['PATH']}"
    found = shutil.which(name, path=places)
    if found is None:
        raise AssertionError(f"{name} is not there: ./dev deps")
    return found


def url_of(worker):
    """Where the worker says that it serves."""
    worker.wait_for_log("serves metrics and health")
    return "http://" + re.search(r"listen\"?[=:]\"?([0-9.:]+)", worker.log()).group(1)


class Metrics(dict):
    """A scrape: {(name, frozenset of labels): value}."""

    def __init__(self, text):
        super().__init__()
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            name, labels, value = SAMPLE.match(line).groups()
            self[name, frozenset(LABEL.findall(labels or ""))] = float(value)
        self.names = {name for name, _ in self}

    def of(self, name, **labels):
        """Values of the samples that have these labels."""
        wanted = set(labels.items())
        return [value for (n, have), value in self.items() if n == name and wanted <= have]

    def one(self, name, **labels):
        (value,) = self.of(name, **labels)
        return value


def scrape(url):
    answer = requests.get(f"{url}/metrics", timeout=10)
    answer.raise_for_status()
    return Metrics(answer.text)


def story_name(part):
    return f"{part}_{os.getpid()}"


def remove_redis_keys(prefix):
    client = stores.redis_client(harness.CONFIG["sinks"][SINK])
    for key in client.scan_iter(f"{prefix}:*"):
        client.delete(key)
    client.close()


class Pages(unittest.TestCase):
    def test_metrics_agree_with_what_was_done(self):
        self.addCleanup(remove_redis_keys, "hm")
        with Story(story_name("metrics"), "hm", [SINK]) as story:
            events = story.publish(members=200, events=1000, seed=50)
            poison = self.publish_poison(story.entity, 3)
            with story.worker("--all", "--listen", "127.0.0.1:0") as worker:
                url = url_of(worker)
                story.wait_caught_up()
                wait_until(
                    lambda: scrape(url).one("lockstep_records_consumed_total") == events + poison,
                    "the metrics of all records",
                )
                text = requests.get(f"{url}/metrics", timeout=10).text
                self.check_with_promtool(text)
                self.check_numbers(Metrics(text), events, poison)
                self.check_names(Metrics(text).names)
                self.check_answers(url)
                self.check_taken_port(story, url)
                self.assertEqual(worker.stop(), 0)

    def publish_poison(self, entity, n):
        producer = Producer({"bootstrap.servers": stores.BROKERS})
        for number in range(n):
            key = f"poison-{number}"
            partition = wire.partition_of(key, stores.PARTITIONS)
            producer.produce(f"{entity}.state.1", b"\xc1garbage", key, partition)
        self.assertEqual(producer.flush(30), 0)
        return n

    def check_with_promtool(self, text):
        done = subprocess.run(
            [program("promtool"), "check", "metrics"], input=text, capture_output=True, text=True
        )
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def check_numbers(self, now, events, poison):
        verdicts = {
            verdict: now.one("lockstep_records_total", verdict=verdict)
            for verdict in ("applied", "stale", "superseded", "poison")
        }
        self.assertEqual(sum(verdicts.values()), events + poison, verdicts)
        self.assertEqual(verdicts["poison"], poison)
        self.assertEqual(now.one("lockstep_sink_state", state="running"), 1)
        self.assertEqual(sum(now.of("lockstep_sink_state")), 1)
        self.assertEqual(now.of("lockstep_lag_records"), [0] * stores.PARTITIONS)
        self.assertEqual(now.of("lockstep_behind_seconds"), [0] * stores.PARTITIONS)
        self.assertEqual(now.one("lockstep_partitions_owned"), stores.PARTITIONS)
        self.assertEqual(now.one("lockstep_publish_to_applied_seconds_count"), verdicts["applied"])
        self.assertEqual(now.one("lockstep_batch_records_sum"), events + poison)
        self.assertGreater(now.one("lockstep_store_request_seconds_count"), 0)
        self.assertGreater(now.one("lockstep_looks_total"), 0)
        self.assertEqual(now.one("lockstep_quarantine_open_records"), poison)
        self.assertEqual(now.one("lockstep_failures_total", **{"class": "poison"}), poison)
        self.assertLess(now.one("lockstep_progress_age_seconds"), 5)
        self.assertEqual(now.one("lockstep_records_in_flight"), 0)
        self.assertEqual(
            now.one("lockstep_flow_limit_records"), now.one("lockstep_flow_max_records")
        )

    def check_names(self, names):
        """What alerts and dashboard ask for is there to be had."""
        for file in ("alerts.yaml", "dashboard.json"):
            used = set(re.findall(r"\b(?:lockstep|process)_[a-z_]+\b", (MONITORING / file).read_text()))
            self.assertGreater(len(used), 5)
            self.assertEqual(used - names, set(), file)

    def check_answers(self, url):
        self.assertEqual(requests.get(f"{url}/healthz", timeout=10).status_code, 200)
        ready = requests.get(f"{url}/readyz", timeout=10)
        self.assertEqual((ready.status_code, ready.text), (200, f"{SINK}: RUNNING\n"))
        head = requests.head(f"{url}/metrics", timeout=10)
        self.assertEqual((head.status_code, head.content), (200, b""))
        self.assertEqual(requests.get(f"{url}/other", timeout=10).status_code, 404)
        for method in ("POST", "PUT", "DELETE"):
            refused = requests.request(method, f"{url}/metrics", data="x" * 1000, timeout=10)
            self.assertEqual((refused.status_code, refused.headers["Allow"]), (405, "GET, HEAD"))

    def check_taken_port(self, story, url):
        taken = url.removeprefix("http://")
        done = story.lockstep("run", "--all", "--listen", taken, expect=2)
        self.assertIn("another process listens there", done.stderr)

    def test_more_connections_than_are_served_do_no_harm(self):
        with Story(story_name("crowd"), "hc", [SINK]) as story:
            self.addCleanup(remove_redis_keys, "hc")
            with story.worker("--all", "--listen", "127.0.0.1:0") as worker:
                url = url_of(worker)
                host, port = url.removeprefix("http://").split(":")
                with contextlib.ExitStack() as crowd:
                    for _ in range(200):
                        idle = crowd.enter_context(socket.socket())
                        idle.setblocking(False)
                        idle.connect_ex((host, int(port)))
                    story.publish(members=50, events=100, seed=51)
                    story.wait_caught_up()
                wait_until(lambda: self.answers(url), "an answer after the crowd has gone")
                self.assertLess(scrape(url).one("process_open_fds"), 100)

    def answers(self, url):
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{url}/healthz", timeout=5).status_code == 200
        return False


class Log(unittest.TestCase):
    def test_json_lines_name_the_record_that_failed_once(self):
        self.addCleanup(remove_redis_keys, "hj")
        with Story(story_name("jsonlog"), "hj", [SINK]) as story:
            poison = 40
            Pages.publish_poison(self, story.entity, poison)
            with story.worker("--all", "--log-format", "json") as worker:
                wait_until(
                    lambda: story.status(SINK)["poison"] == poison, "all poison is quarantined"
                )
                worker.stop()
                lines = [json.loads(line) for line in worker.log().splitlines()]
            failures = [line for line in lines if line["message"] == "failure"]
            # a line without a place only tells what was counted since
            told = sum("offset" in line for line in failures)
            self.assertEqual(told + sum(int(line.get("repeats", 0)) for line in failures), poison)
            self.assertLess(len(failures), 5)
            first = failures[0]
            self.assertEqual(first["sink"], SINK)
            self.assertEqual(first["topic"], f"{story.entity}.state.1")
            self.assertEqual(first["class"], "poison")
            self.assertEqual(first["reject"], "undecodable")
            self.assertRegex(first["key"], "^poison-[0-9]+$")
            key = wire.partition_of(first["key"], stores.PARTITIONS)
            self.assertEqual(int(first["partition"]), key)
            self.assertGreaterEqual(int(first["offset"]), 1)

    def test_a_log_that_nobody_reads_holds_up_nothing(self):
        self.addCleanup(remove_redis_keys, "hl")
        with Story(story_name("nolog"), "hl", [SINK]) as story:
            events = story.publish(members=50, events=200, seed=52)
            port, (reader, writer) = free_port(), os.pipe()
            size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
            os.write(writer, b"." * size)  # full before the worker begins
            worker = subprocess.Popen(
                [str(harness.BIN), "run", "--all", "--listen", f"127.0.0.1:{port}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=writer,
                env={**os.environ, "LOCKSTEP_CONFIG": str(story.config)},
            )
            try:
                os.close(writer)
                url = f"http://127.0.0.1:{port}"
                wait_until(lambda: self.consumed(url) == events, "all was applied")
                dropped = scrape(url).one("lockstep_log_lines_dropped_total")
                self.assertGreater(dropped, 0)
                os.read(reader, size)
                worker.send_signal(signal.SIGTERM)
                self.assertEqual(worker.wait(60), 0)
                rest = os.read(reader, size).decode()
                self.assertRegex(rest, rf"log lines were dropped lines={dropped:.0f}\n")
            finally:
                os.close(reader)
                if worker.poll() is None:
                    worker.kill()
                    worker.wait()

    def consumed(self, url):
        with contextlib.suppress(requests.RequestException):
            return scrape(url).one("lockstep_records_consumed_total")
        return None


class Alerts(unittest.TestCase):
    def test_the_rules_are_sound_and_each_has_a_test_of_its_own(self):
        for check in (["check", "rules", "alerts.yaml"], ["check", "config", "prometheus.yaml"]):
            done = subprocess.run(
                [program("promtool"), *check], cwd=MONITORING, capture_output=True, text=True
            )
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        done = subprocess.run(
            [program("promtool"), "test", "rules", "alerts_test.yaml"],
            cwd=MONITORING,
            capture_output=True,
            text=True,
        )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
        tests = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
        fired = {
            case["alertname"]
            for test in tests
            for case in test["alert_rule_test"]
            if case["exp_alerts"]
        }
        self.assertEqual({rule["alert"] for rule in rules}, fired)
        readme = (MONITORING / "README.md").read_text()
        for rule in rules:
            self.assertIn(f"| {rule['alert']} | {rule['labels']['severity']} |", readme)

    def test_alerts_that_silence_others_are_alerts_that_there_are(self):
        rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
        example = yaml.safe_load((MONITORING / "alertmanager.yaml").read_text())
        named = set()
        for rule in example["inhibit_rules"]:
            sides = [rule["source_matchers"], rule["target_matchers"]]
            source, target = (set(re.findall(r"Lockstep\w+", " ".join(side))) for side in sides)
            self.assertTrue(source and target and not source & target, rule)
            named |= source | target
        self.assertLessEqual(named, {rule["alert"] for rule in rules})

    def test_every_panel_of_the_dashboard_asks_what_prometheus_understands(self):
        dashboard = json.loads((MONITORING / "dashboard.json").read_text())
        asked = [
            target["expr"].replace("$__rate_interval", "1m")
            for panel in dashboard["panels"]
            for target in panel.get("targets", [])
        ]
        self.assertGreater(len(asked), 15)
        rules = [{"record": f"panel_{n}", "expr": asked[n]} for n in range(len(asked))]
        with tempfile.NamedTemporaryFile("w", prefix="lockstep-panels.", suffix=".yaml") as file:
            yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}, file)
            file.flush()
            done = subprocess.run(
                [program("promtool"), "check", "rules", file.name], capture_output=True, text=True
            )
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_a_sink_that_halts_fires_the_alert_until_it_is_mended(self):
        self.addCleanup(remove_redis_keys, "ha")
        entity = story_name("halts")
        with Story(entity, "ha", [SINK]) as story:
            client = stores.redis_client(harness.CONFIG["sinks"][SINK])
            self.addCleanup(client.close)
            client.set("ha:{stranger}", "data that no mark stands for")
            with (
                story.worker("--all", "--listen", "127.0.0.1:0") as worker,
                self.prometheus(url_of(worker)) as alerts,
            ):
                fired = wait_until(
                    lambda: alerts("LockstepSinkHalted", "firing"), "the alert that it halted"
                )
                self.assertEqual([alert["labels"]["sink"] for alert in fired], [SINK])
                self.assertEqual([alert["labels"]["entity"] for alert in fired], [entity])
                url = url_of(worker)
                ready = requests.get(f"{url}/readyz", timeout=10)
                self.assertEqual(ready.status_code, 503)
                self.assertIn(f"{SINK}: HALTED: the store has data but no mark", ready.text)
                self.assertEqual(requests.get(f"{url}/healthz", timeout=10).status_code, 200)
                client.delete("ha:{stranger}")
                wait_until(lambda: not alerts("LockstepSinkHalted"), "the alert's end")
                wait_until(
                    lambda: requests.get(f"{url}/readyz", timeout=10).status_code == 200, "ready"
                )

    @contextlib.contextmanager
    def prometheus(self, url):
        """Debian's, which reads this worker every 200 ms, with the rules but for their patience.
        Gives a function that returns the alerts of a name, in any or that state."""
        with tempfile.TemporaryDirectory(prefix="lockstep-prometheus.") as folder:
            rules = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
            for rule in rules["groups"][0]["rules"]:
                rule["for"] = "0s"
            config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
            config["global"] = {"scrape_interval": "200ms", "evaluation_interval": "200ms"}
            targets = config["scrape_configs"][0]["static_configs"][0]
            targets["targets"] = [url.removeprefix("http://")]
            Path(folder, "alerts.yaml").write_text(yaml.safe_dump(rules))
            Path(folder, "prometheus.yaml").write_text(yaml.safe_dump(config))
            address = f"127.0.0.1:{free_port()}"
            with open(f"{folder}/log", "wb") as log:
                server = subprocess.Popen(
                    [
                        program("prometheus"),
                        f"--config.file={folder}/prometheus.yaml",
                        f"--storage.tsdb.path={folder}/data",
                        f"--web.listen-address={address}",
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

            def alerts(name, state=None):
                if server.poll() is not None:
                    raise AssertionError(f"prometheus ended: {Path(folder, 'log').read_text()}")
                try:
                    answer = requests.get(f"http://{address}/api/v1/alerts", timeout=10)
                except requests.ConnectionError:
                    return []  # it does not listen yet
                if answer.status_code == 503:
                    return []  # it reads its storage
                return [
                    alert
                    for alert in answer.json()["data"]["alerts"]
                    if alert["labels"]["alertname"] == name and state in (None, alert["state"])
                ]

            try:
                yield alerts
            finally:
                server.kill()
                server.wait()


if __name__ == "__main__":
    unittest.main()
