"""A cluster of real processes for the demo and the benches: starts `ced dev`, runs `ced`, kills and restarts members.

Everything it starts it ends, and it writes only below the directory that it is given.
"""
import http.client
import json
import os
import queue
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time


class Failure(Exception):
    """Something did not happen; the text says what, to a person."""


class Cluster:
    def __init__(self, binaries, directory, members=3, agents=3):
        self.ced = os.path.abspath(os.path.join(binaries, "ced"))
        self.directory = os.path.abspath(directory)
        self.members, self.agents = members, agents
        self.restarted = {}

    def __enter__(self):
        shutil.rmtree(self.directory, ignore_errors=True)
        os.makedirs(self.directory)
        self.log = open(os.path.join(self.directory, "dev.log"), "w")
        self.dev = subprocess.Popen(
            [self.ced, "dev", "--members", str(self.members), "--agents", str(self.agents), "--dir",
             os.path.join(self.directory, "cluster"), "--json-events"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.log, text=True)
        self.events, lines = [], queue.Queue()
        threading.Thread(target=lambda: [lines.put(line) for line in self.dev.stdout] + [lines.put(None)], daemon=True).start()
        deadline = time.monotonic() + 120
        while not any(event["event"] == "ready" for event in self.events):
            try:
                line = lines.get(timeout=max(0.1, deadline - time.monotonic()))
            except queue.Empty:
                line = None
            if line is None:
                self.close()
                raise Failure(f"the cluster did not start; see {self.log.name}")
            self.events.append(json.loads(line))
        with open(os.path.join(self.directory, "cluster", "cluster.json")) as file:
            self.description = json.load(file)
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for process in self.restarted.values():
            if process.poll() is None:
                process.terminate()
        if self.dev.poll() is None:
            self.dev.send_signal(signal.SIGTERM)
        for process in [*self.restarted.values(), self.dev]:
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def member(self, name):
        return next(member for member in self.description["members"] if member["id"] == name)

    @property
    def names(self):
        return [member["id"] for member in self.description["members"]]

    def rows(self, through=None):
        """Each member's row of the status. A member that was not heard in time has a row too, with what the others know of it alone."""
        return {row["member"]: row for row in self.run("cluster", "status", through=through)[0]["members"]}

    def reports(self, through=None):
        """The same, or None unless every member has answered for itself."""
        rows = self.rows(through)
        return rows if len(rows) == len(self.names) and all(row["reachable"] for row in rows.values()) else None

    def endpoint(self, name):
        port = self.member(name)["ports"]["operations"]
        return f"127.0.0.1:{port}" if isinstance(port, int) else port

    def run(self, *arguments, through=None, seconds=15, check=True):
        """Runs `ced ARGUMENTS --json` through the named members' public ports, in that order, and gives its JSON and its seconds."""
        endpoints = ",".join(self.endpoint(name) for name in (through or self.names))
        position = arguments.index("--") if "--" in arguments else len(arguments)
        command = [self.ced, *arguments[:position], "--json", "--endpoints", endpoints, "--identity", self.description["identity"],
                   *arguments[position:]]
        start = time.monotonic()
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + 60)
        took = time.monotonic() - start
        if check and done.returncode != 0:
            raise Failure(f"`{' '.join(arguments)}` ended with {done.returncode}: {(done.stderr or done.stdout).strip()[:300]}")
        try:
            answer = json.loads(done.stdout) if done.stdout.strip() else {}
        except json.JSONDecodeError:
            raise Failure(f"`{' '.join(arguments)}` did not print pure JSON: {done.stdout[:200]!r}")
        return answer, took, done.returncode

    def request(self, name, method, path, body=None, headers=None):
        """One request to a member's public port with the operator's identity, without `ced`: its status and JSON."""
        identity = self.description["identity"]
        context = ssl.create_default_context(cafile=os.path.join(identity, "ca.crt"))
        context.check_hostname = False
        context.load_cert_chain(os.path.join(identity, "operator.crt"), os.path.join(identity, "operator.key"))
        host, port = self.endpoint(name).rsplit(":", 1)
        connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=15)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers or {})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def health(self, name, path):
        """The status of a health route, without a certificate; 0 if nobody answers."""
        port = self.member(name)["ports"]["api"]
        address = f"127.0.0.1:{port}" if isinstance(port, int) else port
        done = subprocess.run(
            [sys.executable, "-c",
             "import sys,urllib.request,urllib.error\n"
             "try: print(urllib.request.urlopen(sys.argv[1],timeout=1).status)\n"
             "except urllib.error.HTTPError as e: print(e.code)\n"
             "except OSError: print(0)", f"http://{address}{path}"], capture_output=True, text=True)
        return int(done.stdout or 0)

    def leader(self, seconds=10, beside=()):
        """The member whose /leader is 200."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for name in self.names:
                if name not in beside and self.health(name, "/leader") == 200:
                    return name
        raise Failure(f"no member says 200 on /leader within {seconds} s")

    def pid(self, name):
        return self.restarted[name].pid if name in self.restarted else self.member(name)["pid"]

    def kill(self, name):
        os.kill(self.pid(name), signal.SIGKILL)
        if name in self.restarted:
            self.restarted.pop(name).wait()

    def restart(self, name, seconds=20):
        self.launch(name)
        self.wait(lambda: self.health(name, "/ready") == 200, seconds, f"member {name} is not ready again within {seconds} s")

    def launch(self, name):
        log = open(os.path.join(self.directory, f"{name}-restarted.log"), "a")
        self.restarted[name] = subprocess.Popen(self.member(name)["command"], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    @staticmethod
    def wait(condition, seconds, otherwise):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                # Words that look at how things stand are made when it is known that they are needed.
                raise Failure(otherwise() if callable(otherwise) else otherwise)
            time.sleep(0.02)
