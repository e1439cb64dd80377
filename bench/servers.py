"""The servers that are measured: how to start one, and how to reach it."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NCHAN_MODULES = [
    Path("/usr/lib/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/share/nginx/modules/ngx_nchan_module.so"),
    Path("/usr/lib64/nginx/modules/ngx_nchan_module.so"),
]
START_SECONDS = 10


class CannotStart(Exception):
    pass


def pin(cpu):
    """What a child does before it becomes a program that runs on one core."""
    return lambda: os.sched_setaffinity(0, {cpu})


class Printed:
    """A server that prints `listening on http://HOST:PORT` when it is ready."""

    def __init__(self, command, cpu):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdout=subprocess.PIPE,
            stderr=self.log,
            preexec_fn=pin(cpu),
        )
        line = self.process.stdout.readline().decode()
        if not line.startswith("listening on http://"):
            self.stop()
            raise CannotStart(f"{command[0]}: {line.strip()} {self.said()}")
        self.port = int(line.rsplit(":", 1)[1])
        self.pid = self.process.pid

    def said(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-500:]

    def died(self):
        """Why it is not running any more, or None."""
        if self.process.poll() is None:
            return None
        return f"ended with {self.process.returncode}: {self.said()}"

    def stop(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Nchan:
    """nginx with nchan and one worker; `pid` is the worker's."""

    def __init__(self, nginx, module, cpu):
        self.dir = Path(tempfile.mkdtemp(prefix="bench-nchan-"))
        self.port = free_port()
        conf = (HERE / "nchan.conf.in").read_text()
        for name, value in {
            "MODULE": module,
            "DIR": self.dir,
            "PORT": self.port,
            "USER": "root" if os.geteuid() == 0 else "nobody",
            "FILES": os.sysconf("SC_OPEN_MAX"),
        }.items():
            conf = conf.replace(f"@{name}@", str(value))
        (self.dir / "nginx.conf").write_text(conf)
        self.process = subprocess.Popen(
            [
                nginx,
                "-p",
                self.dir,
                "-c",
                self.dir / "nginx.conf",
                "-e",
                self.dir / "error.log",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=pin(cpu),
        )
        self.pid = self.wait_for_worker()

    def wait_for_worker(self):
        master = self.process.pid
        children = Path(f"/proc/{master}/task/{master}/children")
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and not self.died():
            workers = children.read_text().split()
            if workers and answers(self.port):
                return int(workers[0])
            time.sleep(0.01)
        said = self.said()
        self.stop()
        raise CannotStart(f"nginx: {said}")

    def said(self):
        log = self.dir / "error.log"
        return log.read_text(errors="replace")[-500:] if log.exists() else ""

    def died(self):
        if self.process.poll() is None:
            return None
        return f"ended with {self.process.returncode}: {self.said()}"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(START_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def find_nchan():
    """Where nginx and its nchan module are, or None."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    module = next((m for m in NCHAN_MODULES if m.exists()), None)
    return (nginx, module) if nginx and module else None


class Servers:
    """Starts the servers by name: `raw`, `nchan`, `ours`."""

    def __init__(self, build, cpu):
        self.raw = build / "bench" / "raw"
        self.ours = build / "bin" / "sse-server"
        self.nchan = find_nchan()
        self.cpu = cpu

    def missing(self):
        """A line for each server that cannot be measured, and why."""
        lines = {}
        if not self.raw.exists():
            lines["raw"] = f"raw: {self.raw} is not built"
        if not self.nchan:
            lines["nchan"] = "nchan: apt-get install nginx libnginx-mod-nchan"
        if not self.ours.exists():
            lines["ours"] = f"ours: {self.ours} is not built"
        return lines

    def start(
        self,
        name,
        join=False,
        log_events=1_000_000,
        log_bytes=256 << 20,
        heartbeat_ms=15000,
    ):
        if name == "raw":
            return Printed([self.raw] + ["--join"] * join, self.cpu)
        if name == "nchan":
            return Nchan(*self.nchan, self.cpu)
        return Printed(
            [
                self.ours,
                "--port",
                0,
                "--log-events",
                log_events,
                "--log-bytes",
                log_bytes,
                "--heartbeat-ms",
                heartbeat_ms,
            ],
            self.cpu,
        )

    def nchan_version(self):
        if not self.nchan:
            return None
        out = subprocess.run(
            [self.nchan[0], "-v"], capture_output=True, text=True
        ).stderr
        return out.strip().rsplit("/", 1)[-1]
