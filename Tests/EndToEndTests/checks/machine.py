"""A machine with a systemd of its own: `systemd-nspawn --boot` on an overlay of this host's root directory, with loopback as its only network or in
a network namespace that was made for it (hosts.py).

Everything happens in a mount and a process namespace that end with the check, however it ends: mounts are gone with the one, processes with
the other. What is written lands in memory.
"""
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import sys
import time

INSIDE = "CED_CHECK_INSIDE"
libc = ctypes.CDLL(None, use_errno=True)


def not_run(reason):
    """Never passes silently: CI counts it as failed (CED_CI=1)."""
    required = os.environ.get("CED_CI") == "1"
    print(f"NOT RUN: {reason}" + (" (CED_CI=1: that is a failure)" if required else ""), flush=True)
    sys.exit(1 if required else 0)


def enter_namespaces():
    """Goes on in namespaces of its own; returns there and only there."""
    if os.environ.get(INSIDE):
        return
    if os.getuid() != 0:
        not_run("booting a systemd needs root")
    for tool in ["unshare", "nsenter", "systemd-nspawn", "systemd-analyze"]:
        if not shutil.which(tool):
            not_run(f"{tool} is not installed (ops/bootstrap installs it)")
    groups = own_groups()

    def prepare():
        libc.prctl(1, signal.SIGKILL, 0, 0, 0)  # PR_SET_PDEATHSIG: if this process dies, so does all below
        for group in groups:
            with open(os.path.join(group, "cgroup.procs"), "w") as file:
                file.write("0")
    try:
        child = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc",
             sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"}, preexec_fn=prepare)
        for number in [signal.SIGTERM, signal.SIGINT]:
            signal.signal(number, lambda *_: child.kill())
        code = child.wait()
    finally:
        for group in groups:
            remove_group(group)
    sys.exit(code if code >= 0 else 1)


def own_groups():
    """A control group for this check in each hierarchy that a systemd uses, so that none of its groups is left where ours is."""
    with open("/proc/self/mountinfo") as file:
        mounts = [line.split(" - ") for line in file]
    roots = {}
    for left, right in mounts:
        kind, _, options = right.split()[:3]
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options.split(",")):
            roots["" if kind == "cgroup2" else "name=systemd"] = left.split()[4]
    groups = []
    with open("/proc/self/cgroup") as file:
        for line in file:
            _, name, path = line.strip().split(":", 2)
            if name in roots:
                group = os.path.join(roots[name] + path, f"ced-check-{os.getpid()}")
                with contextlib.suppress(OSError):
                    os.mkdir(group)
                    groups.append(group)
    return groups


def remove_group(group):
    deadline = time.monotonic() + 10
    while os.path.isdir(group) and time.monotonic() < deadline:
        for path, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(OSError):
                os.rmdir(path)
        time.sleep(0.05)


class Machine:
    def __init__(self, directory, name="ced-check", namespace=None):
        """Without a network namespace it also covers this namespace's /run, in which nspawn leaves things; with one that was done."""
        self.name, self.namespace = name, namespace
        self.directory = os.path.abspath(directory)
        self.root = os.path.join(self.directory, "root")

    def __enter__(self):
        os.makedirs(self.directory, exist_ok=True)
        self.mount("tmpfs", self.directory, "-o", "mode=755")
        if not self.namespace:
            self.mount("tmpfs", "/run", "-o", "mode=755")
        for name in ["upper", "work", "root"]:
            os.mkdir(os.path.join(self.directory, name))
        self.mount("overlay", self.root, "-o",
                   f"lowerdir=/,upperdir={self.directory}/upper,workdir={self.directory}/work")
        # A host's own units are none of this check's business.
        for path in ["etc/systemd/system", "etc/credstore", "etc/credstore.encrypted", "var/lib/ctrl-exec", "etc/ctrl-exec"]:
            shutil.rmtree(os.path.join(self.root, path), ignore_errors=True)
        os.makedirs(os.path.join(self.root, "etc/systemd/system"))
        return self

    def __exit__(self, *_):
        # The namespaces end everything; this only makes it orderly.
        if getattr(self, "process", None) and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    @staticmethod
    def mount(kind, target, *options):
        done = subprocess.run(["mount", "-t", kind, kind, target, *options], capture_output=True, text=True)
        if done.returncode != 0:
            not_run(f"cannot mount {kind} on {target}: {done.stderr.strip()}")

    def path(self, path):
        return os.path.join(self.root, path.lstrip("/"))

    def write(self, path, text, mode=0o644):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        with open(self.path(path), "w") as file:
            file.write(text)
        os.chmod(self.path(path), mode)

    def install(self, source, path, mode=0o644):
        os.makedirs(os.path.dirname(self.path(path)), exist_ok=True)
        shutil.copyfile(source, self.path(path))
        os.chmod(self.path(path), mode)

    def install_program(self, source, path):
        """With the libraries that lie where a service does not see them (ProtectHome=, PrivateTmp=)."""
        self.install(source, path, 0o755)
        for line in subprocess.run(["ldd", source], capture_output=True, text=True).stdout.splitlines():
            library = line.split("=>")[-1].split("(")[0].strip()
            if library.startswith(("/home/", "/root/", "/run/user/", "/tmp/", "/var/tmp/")):
                self.install(library, "/usr/lib/" + os.path.basename(library), 0o755)

    def boot(self):
        self.begin_boot()
        self.wait_for_boot()

    def begin_boot(self):
        network = f"--network-namespace-path={self.namespace}" if self.namespace else "--private-network"
        self.console = open(os.path.join(self.directory, "console.log"), "w")
        self.process = subprocess.Popen(
            ["systemd-nspawn", "--quiet", f"--directory={self.root}", f"--machine={self.name}", "--register=no", "--keep-unit",
             network, "--link-journal=no", "--console=pipe", "--boot", "systemd.unit=basic.target"],
            stdin=subprocess.DEVNULL, stdout=self.console, stderr=self.console)

    def wait_for_boot(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if self.find_first() and self.run("systemctl", "is-system-running", check=False).stdout.strip() in ("running", "degraded"):
                return
            time.sleep(0.1)
        with open(self.console.name) as file:
            not_run("systemd-nspawn does not boot here: " + " ".join(file.read().split())[-600:])

    def find_first(self):
        """The machine's first process, as this namespace numbers it."""
        with contextlib.suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children") as file:
                self.first = int(file.read().split()[0])
            with open(f"/proc/{self.first}/comm") as file:
                return file.read().strip() == "systemd"
        return False

    def command(self, *arguments):
        return ["nsenter", "--target", str(self.first), "--all", "--", *arguments]

    def run(self, *arguments, check=True, seconds=60, **keywords):
        """Runs a program in the machine as root."""
        done = subprocess.run(self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, **keywords)
        if check and done.returncode != 0:
            raise RuntimeError(f"`{' '.join(arguments)}` ended with {done.returncode}: {(done.stderr or done.stdout).strip()[:600]}")
        return done

    def start(self, *arguments, **keywords):
        return subprocess.Popen(self.command(*arguments), stdin=subprocess.DEVNULL, text=True, **keywords)

    def show(self, unit, name):
        return self.run("systemctl", "show", "--value", "--property", name, unit).stdout.strip()

    def journal(self, *arguments):
        lines = self.run("journalctl", "--quiet", "--all", "--output=json", "--no-pager", *arguments).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def pid(self, unit):
        """Of the unit's main process, as this namespace numbers it; 0 if there is none."""
        inside = self.show(unit, "MainPID")
        if inside == "0":
            return 0
        for entry in os.listdir("/proc"):
            with contextlib.suppress(OSError):
                if entry.isdigit():
                    with open(f"/proc/{entry}/status") as file:
                        numbers = next(line.split()[1:] for line in file if line.startswith("NSpid:"))
                    # Ours, then the machine's.
                    if len(numbers) == 2 and numbers[1] == inside:
                        return int(entry)
        return 0


class StoppedThread:
    """One thread of a process is stopped, as a disk that never returns would stop it; the others go on."""
    SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17

    def __init__(self, process, name):
        self.thread = next(int(entry) for entry in os.listdir(f"/proc/{process}/task") if self.called(process, entry) == name)

    @staticmethod
    def called(process, thread):
        with open(f"/proc/{process}/task/{thread}/comm") as file:
            return file.read().strip()

    def __enter__(self):
        self.ask(self.SEIZE)
        self.ask(self.INTERRUPT)
        os.waitpid(self.thread, 0x40000000)  # __WALL: it has stopped
        return self

    def reap(self):
        """Once its process was killed: until its tracer has seen it end, nobody else hears that the process has."""
        with contextlib.suppress(OSError):
            os.waitpid(self.thread, 0x40000000 | os.WNOHANG)

    def __exit__(self, *_):
        with contextlib.suppress(OSError):  # it is gone with its process
            self.ask(self.DETACH)

    def ask(self, request):
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        if libc.ptrace(request, self.thread, None, None) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"ptrace {request:#x}: {os.strerror(number)}")
