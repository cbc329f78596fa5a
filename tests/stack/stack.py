#!/usr/bin/env python3
"""The local stack: every server that lockstep talks to, as real processes on loopback.

Reached by `./dev stack`; `./dev help stack` explains the commands.
"""

import argparse
import json
import os
import resource
import sys
import time

import server_tls
from instance import Instance, StackError
from process import stop_all
from server_elastic import Elasticsearch
from server_kafka import Brokers, Kafka
from server_mariadb import MariaDB
from server_redis import RedisCluster
from server_toxiproxy import Toxiproxy
from up import Up

OPEN_FILES = 65536  # MariaDB keeps 1024 tables open
WIPE_TIMEOUT_S = 5.0  # nothing of what a server would still write is kept
MIB = 1024 * 1024


def make_servers(instance: Instance) -> list:
    """What a plain `up` starts, in the order in which it is shown."""
    return [
        Kafka(instance),
        *(MariaDB(instance, name) for name in MariaDB.BASE_PORTS),
        *(RedisCluster(instance, name) for name in RedisCluster.BASE_PORTS),
        *(Elasticsearch(instance, name) for name in Elasticsearch.BASE_PORTS),
    ]


def make_extras(instance: Instance) -> list:
    """What only starts by name: for faults that need more servers, or a link that can be broken."""
    return [
        Toxiproxy(instance),
        Brokers(instance),
        *(MariaDB(instance, name) for name in MariaDB.EXTRA_PORTS),
        *(RedisCluster(instance, name) for name in RedisCluster.EXTRA_PORTS),
        *(Elasticsearch(instance, name) for name in Elasticsearch.EXTRA_PORTS),
        *server_tls.make_servers(instance),
    ]


def make_all(instance: Instance) -> list:
    return make_servers(instance) + make_extras(instance)


def choose(instance: Instance, names: list, unnamed: list) -> list:
    """(server, procs) by name, or those of `unnamed`; nodes of a cluster have names of their own."""
    if not names:
        return [(server, server.procs) for server in unnamed]
    chosen = []
    servers = make_all(instance)
    for name in names:
        for server in servers:
            procs = [p for p in server.procs if name in (server.name, p.name)]
            if procs:
                chosen.append((server, procs))
                break
        else:
            known = ", ".join(server.name for server in servers)
            raise StackError(f"no server is called '{name}': {known}")
    return chosen


def raise_open_files() -> None:
    """For this process, and so for the servers that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def command_up(instance: Instance, options) -> int:
    raise_open_files()
    instance.create()
    with instance.locked():
        up = Up(instance, choose(instance, options.name, make_servers(instance)))
        try:
            return up.run()
        except KeyboardInterrupt:
            up.stop_started()
            return 130


def command_down(instance: Instance, options) -> int:
    if not instance.exists:
        print(f"stack '{instance.name}': nothing is running")
        return 0
    with instance.locked():
        return _stop(instance, options.name)


def _stop(instance: Instance, names: list, timeout_s: float = None) -> int:
    begin = time.monotonic()
    procs = [proc for _, procs in choose(instance, names, make_all(instance)) for proc in procs]
    running = [proc for proc in procs if proc.pid() is not None]
    outcomes = stop_all(procs, timeout_s)
    for proc, outcome in zip(procs, outcomes):
        if timeout_s is None and outcome not in ("stopped", "was not running"):
            print(f"  {proc.name}: {outcome}", file=sys.stderr)
    print(
        f"stack '{instance.name}': {len(running)} process{'' if len(running) == 1 else 'es'} stopped "
        f"in {time.monotonic() - begin:.1f} s"
    )
    return 0


def command_wipe(instance: Instance, options) -> int:
    if not instance.dir.exists():
        print(f"stack '{instance.name}': {instance.dir} is not there")
        return 0
    if instance.exists:
        with instance.locked():
            _stop(instance, [], WIPE_TIMEOUT_S)
            instance.remove()
    else:
        instance.remove()  # if it is empty; else it says why not
    print(f"removed {instance.dir}")
    return 0


def command_status(instance: Instance, options) -> int:
    if not instance.exists:
        if options.json:
            print(json.dumps({"stack": instance.name, "running": False, "servers": []}))
        else:
            print(f"stack '{instance.name}' is not there yet: ./dev stack up")
        return 1
    usual = {server.name for server in make_servers(instance)}
    rows = [
        _row(server, proc)
        for server, proc in _procs(instance)
        if server.name in usual or proc.pid() is not None
    ]
    running = all(row["state"] == "running" for row in rows)
    if options.json:
        report = {
            "stack": instance.name,
            "running": running,
            "port_offset": instance.offset,
            "directory": str(instance.dir),
            "config": str(instance.config_file),
            "servers": rows,
        }
        print(json.dumps(report, indent=2))
    else:
        _print_table(instance, rows)
    return 0 if running else 1


def _procs(instance: Instance) -> list:
    return [(server, proc) for server in make_all(instance) for proc in server.procs]


def _row(server, proc) -> dict:
    pid = proc.pid()
    main_port, *other_ports = proc.ports.values()
    if pid is None:
        state = "stopped"
    else:
        state = "not answering" if server.probe(proc) else "running"
    return {
        "name": proc.name,
        "server": server.name,
        "state": state,
        "port": main_port,
        "other_ports": other_ports,
        "pid": pid,
        "rss_bytes": proc.rss_bytes(),
        "data_dir": str(proc.data_dir),
        "log": str(proc.log_file),
    }


def _print_table(instance: Instance, rows: list) -> None:
    print(f"stack '{instance.name}', port offset {instance.offset}, {instance.dir}")
    layout = "{:<13} {:<14} {:>6} {:>8} {:>9}  {}"
    print(layout.format("server", "state", "port", "pid", "memory", "data"))
    for row in rows:
        memory = f"{row['rss_bytes'] / MIB:.0f} MiB" if row["pid"] else "-"
        data = os.path.relpath(row["data_dir"], instance.dir)
        print(layout.format(row["name"], row["state"], row["port"], row["pid"] or "-", memory, data))
    total = sum(row["rss_bytes"] for row in rows) / MIB
    print(layout.format("in all", "", "", "", f"{total:.0f} MiB", ""))


def command_logs(instance: Instance, options) -> int:
    by_name = {proc.name: proc for _, proc in _procs(instance)} if instance.exists else {}
    proc = by_name.get(options.name)
    if proc is None:
        known = ", ".join(by_name) or "none, as the stack is not there yet"
        raise StackError(f"no log of '{options.name}'; there are: {known}")
    if not proc.log_file.exists():
        raise StackError(f"{proc.name} has not been started yet: no {proc.log_file}")
    tail = ["tail", "-n", str(options.lines), *(["-F"] if options.follow else []), str(proc.log_file)]
    os.execvp("tail", tail)


def parse(argv: list):
    parser = argparse.ArgumentParser(prog="./dev stack", description="The local stack.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, function, text: str):
        command = commands.add_parser(name, help=text, description=text)
        command.set_defaults(function=function)
        return command

    for name, function, text in (
        ("up", command_up, "start what is not running, and wait until it answers"),
        ("down", command_down, "stop what the stack has started; the data stays"),
    ):
        add(name, function, text).add_argument("name", nargs="*", help="only these servers")
    add("wipe", command_wipe, "down, then remove the stack's directory with all its data")
    status = add("status", command_status, "what runs where; exit code 0 only if all of it runs")
    status.add_argument("--json", action="store_true", help="for programs")
    logs = add("logs", command_logs, "the end of a server's log")
    logs.add_argument("name", help="a server, as status names it")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as it grows")
    logs.add_argument("-n", "--lines", type=int, default=50, help="how many (default 50)")
    return parser.parse_args(argv)


def main(argv: list) -> int:
    options = parse(argv)
    try:
        instance = Instance(os.environ.get("LOCKSTEP_STACK") or "local")
        return options.function(instance, options)
    except StackError as error:
        print(f"stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing to flush at exit
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
