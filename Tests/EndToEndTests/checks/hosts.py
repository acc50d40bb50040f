"""Hosts on a network of their own: a network namespace each, joined by a bridge in another, and rules of nft that cut one off.

Call `machine.enter_namespaces()` first: what is made here is below its /run and is gone with it.
"""
import http.client
import json
import os
import signal
import socket
import subprocess

from machine import Machine, not_run


def run(*command, text=None):
    return subprocess.run(command, input=text, capture_output=True, text=True)


class Network:
    """Hosts 10.77.0.1, 10.77.0.2 and so on, in the order of their names."""

    def __init__(self, *names):
        Machine.mount("tmpfs", "/run", "-o", "mode=755")
        self.make("netns", "add", "switch")
        self.make("-n", "switch", "link", "add", "bridge", "type", "bridge")
        self.make("-n", "switch", "link", "set", "bridge", "up")
        self.hosts = {name: Host(self, name, f"10.77.0.{number}") for number, name in enumerate(names, 1)}

    def __getitem__(self, name):
        return self.hosts[name]

    @staticmethod
    def make(*arguments):
        done = run("ip", *arguments)
        if done.returncode != 0:
            not_run(f"`ip {' '.join(arguments)}` fails here: {done.stderr.strip()}")

    def end(self):
        for host in self.hosts.values():
            host.end()


class Host:
    def __init__(self, network, name, address):
        self.network, self.name, self.address = network, name, address
        self.processes = []
        make = network.make
        make("netns", "add", name)
        make("-n", "switch", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
        make("-n", "switch", "link", "set", f"to-{name}", "master", "bridge")
        make("-n", "switch", "link", "set", f"to-{name}", "up")
        make("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        make("-n", name, "link", "set", "eth0", "up")
        make("-n", name, "link", "set", "lo", "up")

    @property
    def namespace(self):
        return f"/run/netns/{self.name}"

    def command(self, *arguments):
        return ["nsenter", f"--net={self.namespace}", "--", *arguments]

    def start(self, log, *arguments):
        with open(log, "a") as file:
            process = subprocess.Popen(self.command(*arguments), stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        self.processes.append(process)
        return process

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # What the rules say is counted, so that a cut that cut nothing is seen.

    def cut(self, others, incoming=True, outgoing=True):
        addresses = ", ".join(self.network[name].address for name in others)
        rules = ""
        if incoming:
            rules += f"chain incoming {{ type filter hook input priority 0; ip saddr {{ {addresses} }} counter drop; }}\n"
        if outgoing:
            rules += f"chain outgoing {{ type filter hook output priority 0; ip daddr {{ {addresses} }} counter drop; }}\n"
        done = run(*self.command("nft", "-f", "-"), text=f"table inet cut {{\n{rules}}}\n")
        if done.returncode != 0:
            not_run(f"nft makes no rules here: {done.stderr.strip()}")

    def dropped(self):
        """Packets, by chain."""
        done = run(*self.command("nft", "-j", "list", "table", "inet", "cut"))
        if done.returncode != 0:
            raise RuntimeError(f"the cut of {self.name} is not there: {done.stderr.strip()}")
        rules = [item["rule"] for item in json.loads(done.stdout)["nftables"] if "rule" in item]
        return {rule["chain"]: part["counter"]["packets"] for rule in rules for part in rule["expr"] if "counter" in part}

    def heal(self):
        """Ends the cut and says how many packets it has dropped, by chain."""
        dropped = self.dropped()
        done = run(*self.command("nft", "delete", "table", "inet", "cut"))
        if done.returncode != 0:
            raise RuntimeError(f"the cut of {self.name} cannot be ended: {done.stderr.strip()}")
        return dropped


class LocalConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("local", timeout=15)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(15)
        self.sock.connect(self.path)


class Member:
    """A member on a host of its own, and the ways to ask it."""

    def __init__(self, host, directory, ced, bundle, configuration=""):
        self.host, self.name, self.ced = host, host.name, ced
        self.directory = os.path.join(directory, host.name)
        self.socket = os.path.join(self.directory, "ced.sock")
        self.log = os.path.join(directory, f"member-{host.name}.log")
        self.state = os.path.join(self.directory, "state")
        os.makedirs(self.directory, exist_ok=True)
        done = run(ced, "cluster", "install", bundle, "--directory", self.state)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        self.configuration = os.path.join(self.directory, "ced.conf")
        lines = [f"{key}_listen = {host.address}:{port}" for key, port in
                 (("operations", 7443), ("pairing", 7444), ("api", 7445), ("peer", 7446))]
        with open(self.configuration, "w") as file:
            file.write("\n".join([f"cluster_directory = {self.state}", f"control_socket = {self.socket}", f"runs_directory = {self.directory}/runs",
                                  "projection = off", *lines, configuration, ""]))

    def start(self):
        self.process = self.host.start(self.log, self.ced, "serve", "--config", self.configuration)

    def stop(self):
        self.process.terminate()
        return self.process.wait(timeout=30)

    def ask(self, method, path, body=None, headers=None):
        """Over the control socket: status, headers (in lower case), JSON; status 0 if nobody listens."""
        connection = LocalConnection(self.socket)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers or {})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, json.loads(answer.read() or b"{}")
        except OSError:
            return 0, {}, {}
        finally:
            connection.close()

    def says(self, path):
        return self.ask("GET", path)[0] == 200

    def run(self, *arguments):
        """`ced ARGUMENTS --json` over the control socket: exit code, JSON, standard error."""
        position = arguments.index("--") if "--" in arguments else len(arguments)
        done = run(self.ced, *arguments[:position], "--json", "--socket", self.socket, *arguments[position:])
        try:
            return done.returncode, json.loads(done.stdout) if done.stdout.strip() else None, done.stderr
        except json.JSONDecodeError:
            raise RuntimeError(f"`{' '.join(arguments)}` did not print pure JSON: {done.stdout[:200]!r}")
