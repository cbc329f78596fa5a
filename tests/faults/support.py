"""What the fault tests share: marks on tests, an entity of a test's own, and the two things that
every one of them ends with: the verdicts add up, and every store is equal to the log.

    class KilledMaster(unittest.TestCase):
        @quick
        def test_…(self):
            with Story("killed", "k", ["redis-a"]) as story:
                story.publish(members=300, events=900, seed=1)
                with story.worker():
                    …
                    story.settle()

An entity of a test's own has schema, topics, tables, indices and keys of its own, so tests on one
stack do not disturb each other; the servers they do share, and what is done to those is undone
(servers.py and proxy.py clean up by themselves where used with `with`).
"""

import contextlib
import json

import yaml

import harness
from harness import lockstep

FINAL = ("applied", "stale", "superseded", "poison")


def quick(test):
    """Marks a test, or all of a class, as one that `./dev test` runs without --full."""
    test.quick = True
    return test


def is_quick(test):
    """Whether a unittest's test is marked; a module that can't even be imported counts as such."""
    if type(test).__name__ == "_FailedTest":
        return True
    method = getattr(test, getattr(test, "_testMethodName", ""), None)
    return getattr(method, "quick", False) or getattr(test, "quick", False)


class Story(contextlib.ExitStack):
    """An entity of the test's own in some sinks of the stack, made empty; a context manager.

    `change(config)` may alter the configuration before it is written: a sink's ports, timeouts.
    `apply` says whether topics and schema are made at once. After the `with`, `config` is gone;
    what the stores hold stays until the stack is wiped.
    """

    def __init__(self, entity, prefix, sinks, change=None, apply=True):
        super().__init__()
        self.entity, self.prefix, self.sinks = entity, prefix, list(sinks)
        self._change, self._apply = change, apply
        self.config = None

    def __enter__(self):
        super().__enter__()
        own = harness.own_entity(self.entity, self.prefix, self.sinks)

        def change(config, folder):
            own(config, folder)
            if self._change:
                self._change(config)

        self.config = self.enter_context(harness.configuration(change))
        if self._apply:
            self.make()
        return self

    def make(self):
        self.lockstep("topics", "create")
        self.lockstep("schema", "apply")

    def lockstep(self, *args, **options):
        return lockstep(*args, config=self.config, **options)

    def publish(self, members=300, events=900, seed=1):
        """Made-up members; returns how many events were published."""
        lines = harness.generate(members, events, seed)
        told = self.lockstep("publish", "--entity", self.entity, "-", stdin=lines).stderr
        if f"{events} published, 0 rejected".encode() not in told:
            raise AssertionError(f"not all of {events} events were published: {told}")
        return events

    def publish_lines(self, lines):
        return self.lockstep("publish", "--entity", self.entity, "-", stdin=lines)

    def variant(self, name, change):
        """The story's configuration as change(config) alters it, in a file of its own beside it."""
        config = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        change(config)
        path = self.config.with_name(f"{name}.yaml")
        path.write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")
        return path

    def worker(self, *args, config=None):
        """`lockstep run` of all sinks of the story, or with these arguments."""
        return harness.Worker(*(args or ["--all"]), config=config or self.config)

    def status(self, sink=None):
        """By sink; with a name, only that one's."""
        now = harness.status(self.config)
        return now[sink] if sink else now

    def wait_status(self, sink, what, condition, timeout_s=60):
        """Until condition(status of the sink) holds; returns that status."""
        last = {}

        def there():
            last.clear()
            last.update(self.status(sink))
            return condition(last)

        try:
            harness.wait_until(there, f"{sink}: {what}", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\nlast seen: {json.dumps(last)[:2000]}") from None
        return dict(last)

    def wait_caught_up(self, *sinks, timeout_s=120):
        harness.wait_caught_up(list(sinks) or self.sinks, config=self.config, timeout_s=timeout_s)

    def verdicts_add_up(self, *sinks):
        """Of workers that run; returns the status by sink."""
        now = self.status()
        for name in sinks or self.sinks:
            counted = sum(now[name][verdict] for verdict in FINAL)
            if counted != now[name]["consumed"]:
                consumed = now[name]["consumed"]
                raise AssertionError(f"{name}: {counted} verdicts of {consumed} records")
        return now

    def verify(self, *sinks, expect=0):
        """Ledger against stores; 0 is equal everywhere. Returns the report."""
        named = [word for name in sinks for word in ("--sink", name)]
        done = self.lockstep("verify", "--json", *named, expect=None)
        if done.returncode != expect:
            told = f"verify: exit code {done.returncode}, not {expect}"
            raise AssertionError(f"{told}: {done.stdout}")
        return json.loads(done.stdout)

    def settle(self, *sinks, timeout_s=120):
        """What a test ends with while its worker runs: caught up, verdicts add up, all equal.

        Returns the status by sink."""
        self.wait_caught_up(*sinks, timeout_s=timeout_s)
        now = self.verdicts_add_up(*sinks)
        self.verify(*sinks)
        return now
