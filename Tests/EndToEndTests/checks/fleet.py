"""Members that a check starts itself, each in its own process with its own configuration, and what it says of them line by line."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "ops"))
from playground import Cluster, Failure  # noqa: E402

began = time.monotonic()
rows = []


def say(text):
    print(f"{time.monotonic() - began:7.1f} s  {text}", flush=True)


def check(name, holds, otherwise=""):
    rows.append(bool(holds))
    say(f"{'ok  ' if holds else 'FAIL'}  {name}" + ("" if holds else f": {otherwise}"))


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Member:
    """`settings` are lines of its own in its configuration, from its next start on; `environment` is what it is started with."""

    def __init__(self, fleet, name, directory=None, settings=""):
        self.fleet, self.name, self.settings, self.environment = fleet, name, settings, {}
        self.directory = os.path.join(fleet.directory, directory or name)
        self.operations, self.pairing, self.api, self.peer = free_ports(4)
        self.socket = os.path.join(fleet.directory, f"{name}.sock")
        self.log = os.path.join(fleet.directory, f"{name}.log")
        self.process = None

    @property
    def address(self):
        return f"127.0.0.1:{self.peer}"

    def start(self):
        configuration = os.path.join(self.fleet.directory, f"{self.name}.conf")
        with open(configuration, "w") as file:
            file.write("projection = off\n" + self.fleet.settings + self.settings)
        with open(self.log, "a") as file:
            self.process = subprocess.Popen(
                [self.fleet.ced, "serve", "--directory", self.directory, "--config", configuration,
                 *(word for option in ("operations", "pairing", "api", "peer")
                   for word in (f"--{option}", f"127.0.0.1:{getattr(self, option)}")), "--socket", self.socket],
                stdin=subprocess.DEVNULL, stdout=file, stderr=file, env={**os.environ, **self.environment})
        self.fleet.processes.append(self.process)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.ended()

    def said(self):
        with open(self.log) as file:
            return file.read()

    def ended(self, seconds=30):
        try:
            return self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            return None


class Fleet:
    """`settings` are lines in everybody's configuration."""

    def __init__(self, binaries, directory, settings=""):
        self.ced = os.path.join(os.path.abspath(binaries), "ced")
        self.directory = os.path.abspath(directory)
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        self.settings = settings
        self.members = {}
        # Every process that was ever started, whoever has forgotten it since.
        self.processes = []
        self.identity = os.path.join(self.directory, "operator")

    def run(self, *arguments, through=None, json_=True):
        """Exit code, JSON (or text) and standard error; through these members' public ports, or those of all."""
        members = through or list(self.members.values())
        endpoints = ",".join(f"127.0.0.1:{member.operations}" for member in members)
        command = [self.ced, *arguments, *(["--json"] if json_ else []), "--endpoints", endpoints, "--identity", self.identity]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)
        return done.returncode, json.loads(done.stdout) if json_ and done.stdout.strip() else done.stdout, done.stderr

    def local(self, member, *arguments):
        done = subprocess.run([self.ced, *arguments, "--socket", member.socket], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=90)
        return done.returncode, done.stdout, done.stderr

    def status(self):
        return self.run("cluster", "status")[1] or {}

    def standing(self):
        return {row["member"]: row["standing"] for row in self.status().get("members", [])}

    def leader(self):
        found = []

        def look():
            found[:] = [self.status().get("leader")]
            return found[0] in self.members
        Cluster.wait(look, 20, "there is no leader")
        return found[0]

    def invite(self, name, address):
        code, answer, error = self.run("cluster", "invite", name, "--address", address)
        if code != 0:
            raise Failure(f"{name} was not invited: {code} {error}")
        return answer["token"]

    def use(self, token, directory):
        """What `ced cluster join` makes of it: exit code and what it says."""
        done = subprocess.run([self.ced, "cluster", "join", token, "--dir", os.path.join(self.directory, directory)],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=90)
        return done.returncode, done.stderr.strip()

    def join(self, name, directory=None):
        member = Member(self, name, directory)
        token = self.invite(name, member.address)
        code, error = self.use(token, member.directory)
        if code != 0:
            raise Failure(f"{name} did not join: {code} {error}")
        member.start()
        Cluster.wait(lambda: self.standing().get(name) == "voter", 30, lambda: f"{name} does not vote: {self.standing()}")
        self.members[name] = member
        say(f"      {name} joined and votes; {self.survival()}")
        return token

    def remove(self, name, how="remove"):
        member = self.members.pop(name)
        was_leader = self.status().get("leader") == name
        runs = member.process.poll() is None
        code, answer, error = self.run("cluster", "remove", name, through=list(self.members.values()))
        check(f"{how}: {name} is removed{' while it leads' if was_leader else ''}", code == 0 and answer.get("gone"), f"{code} {answer} {error}")
        if runs:
            ended = member.ended()
            check(f"{how}: {name} is told, and ends with 78", ended == 78, f"{ended} {member.said()[-400:]}")
            lines = [line for line in member.said().splitlines() if f"member {name} was removed from the cluster" in line]
            check(f"{how}: in one line", len(lines) == 1, lines)
        say(f"      {self.survival()}")
        return member

    def survival(self):
        code, text, _ = self.run("cluster", "status", json_=False)
        return next((line for line in text.splitlines() if "needed" in line), f"status {code}")

    def end(self):
        running = [process for process in self.processes if process.poll() is None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
