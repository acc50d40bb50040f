"""Concurrent `issue-operator` through all members, each request repeated under its id until it is answered."""
import os
import threading
import time


class Load:
    """Issues operators from several threads until it is stopped; remembers what was acknowledged, and what failed at the first attempt."""

    def __init__(self, cluster, threads=3, attempts=40):
        self.cluster, self.attempts = cluster, attempts
        self.acknowledged, self.repeated, self.lost = {}, [], []
        self.stopping = False
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.issue, args=(number,)) for number in range(threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stopping = True
        for thread in self.threads:
            thread.join()

    def issue(self, number):
        count = 0
        while not self.stopping:
            count += 1
            name = f"load-{number}-{count}"
            names = self.cluster.names
            start = (number + count) % len(names)
            out = os.path.join(self.cluster.directory, "operators", name)
            for attempt in range(self.attempts):
                # One endpoint at a time, so that retries visibly go through other members.
                through = [names[(start + attempt) % len(names)]]
                answer, _, code = self.cluster.run("issue-operator", name, "--out", out, "--request-id", f"request-{name}",
                                                   "--timeout", "2", through=through, check=False)
                if code == 0:
                    with self.lock:
                        self.acknowledged[name] = answer["serial"]
                    break
                with self.lock:
                    self.repeated.append((name, through[0], code))
                time.sleep(0.05)
            else:
                with self.lock:
                    self.lost.append(name)


def recorded(cluster, through):
    """Operators as a member has them: name to serials."""
    status, answer = cluster.request(through, "GET", "/v1/operators")
    if status != 200:
        return {}
    found = {}
    for row in answer["operators"]:
        found.setdefault(row["name"], []).append(row["serial"].lower())
    return found


def judge(cluster, load):
    """What must hold after a load: nobody lost, every serial distinct, everything acknowledged recorded once on every member."""
    problems = [f"{name} was never answered" for name in load.lost]
    serials = list(load.acknowledged.values())
    if len(set(serials)) != len(serials):
        problems.append("a serial was issued twice")
    for member in cluster.names:
        found = recorded(cluster, member)
        every = [serial for group in found.values() for serial in group]
        if len(set(every)) != len(every):
            problems.append(f"member {member} recorded a serial twice")
        for name, serial in load.acknowledged.items():
            if found.get(name) != [serial.lower()]:
                problems.append(f"member {member} has {found.get(name)} for {name}, acknowledged with {serial}")
    return problems
