"""A Metronome under test: one server, its agents, benchctl; plain or with TLS, on ports that the system chooses.

Each process is started here and ended here, by its own handle; a server that was upgraded is ended by its id."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import threading

from torturing import processes

END_S = 20


class System:
    """A server on ports of its own. A context: whatever was started in it ends with it.

    With `certificates` the gRPC port has TLS, and unless `is_open` it wants a certificate of its clients. `flags` are
    further ones of the server, `environment` further variables of all processes."""

    def __init__(self, executables, folder, flags=(), certificates=None, is_open=False, environment=None, http=False):
        self.executables, self.folder = pathlib.Path(executables), pathlib.Path(folder)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("METRONOME_", "OTEL_"))}
        self.environment = {**kept, "NO_COLOR": "1", "METRONOME_LOG": "info", **(environment or {})}
        self.processes, self.certificates = [], certificates
        self.scheme = "https" if certificates else "http"
        parts = ["--port", "0", "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0" if http else "off"]
        parts += ["--database", str(self.folder / "runs.sqlite"), "--max-clients", "200", *flags]
        if certificates:
            parts += ["--tls-cert", certificates.file("server.pem"), "--tls-key", certificates.file("server.key")]
            parts += [] if is_open else ["--tls-client-ca", certificates.file("ca.pem")]
            self.client_flags = ["--tls-ca", certificates.file("ca.pem"), "--tls-cert", certificates.file("client.pem"),
                                 "--tls-key", certificates.file("client.key")]
            names = zip(("METRONOME_TLS_CA", "METRONOME_TLS_CERT", "METRONOME_TLS_KEY"), self.client_flags[1::2])
            self.client_environment = {**self.environment, **dict(names)}
        else:
            self.client_environment = self.environment
        self.server, ready = self.start("server", [str(self.executables / "metronome-server"), *parts])
        words = ready.split()
        self.grpc, self.data = words[words.index("grpc") + 1], words[words.index("data") + 1]
        self.http = words[words.index("http") + 1] if http else None
        # The process that serves: another one after an upgrade.
        self.master = self.server.pid

    def start(self, name, command, environment=None, ready="ready"):
        """Starts a process, waits for the line with its `ready`, and returns both. Its standard error is NAME.log."""
        log = open(self.folder / f"{name}.log", "ab")
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True,
                                   env=environment or self.environment, stdin=subprocess.DEVNULL)
        self.processes.append(process)
        line = processes.next_line(process, processes.DEADLINE_S)
        if ready not in line:
            self.__exit__()
            raise SystemExit(f"{name} did not start: {(self.folder / f'{name}.log').read_text(errors='replace')[-1000:]}")
        return process, line

    def start_agent(self, name, server=None, environment=None):
        """Starts an agent, by another address of the server where one is given."""
        command = [str(self.executables / "metronome-agent"), "--server", f"{self.scheme}://{server or self.grpc}", "--name", name]
        process, _ = self.start(name, command, {**self.client_environment, **(environment or {})})
        self.wait_for_agents(name)
        return process

    def wait_for_agents(self, *names):
        """Waits until the server lists the agents."""
        processes.wait_until(f"{names} are listed", lambda: set(names) <= {agent["name"] for agent in self.ask("agents")["agents"]})

    def benchctl(self, *arguments, server=None, environment=None):
        """Starts benchctl, with another address or URL of the server where one is given; both of its texts are pipes."""
        url = server if server and "://" in server else f"{self.scheme}://{server or self.grpc}"
        command = [str(self.executables / "benchctl"), "--server", url, "-o", "json", "--quiet"]
        return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env={**self.client_environment, **(environment or {})})

    def ask(self, *arguments, server=None, codes=(0,)):
        """Runs benchctl, which must end with one of `codes`, and returns the object that it prints."""
        process = self.benchctl(*arguments, server=server)
        out, error = process.communicate(timeout=processes.DEADLINE_S)
        if process.returncode not in codes:
            raise SystemExit(f"benchctl {' '.join(arguments)} ended with {process.returncode}: {(out or error)[:1000]}")
        return json.loads(out)

    def resident_kib(self):
        """The memory of the server and its workers, KiB."""
        total = 0
        for pid in (self.master, *processes.children(self.master)):
            try:
                lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
            except OSError:
                continue  # A worker that ended meanwhile.
            total += sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
        return total

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.processes and self.master != self.processes[0].pid:
            end_other(self.master)
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()


def free_addresses(count):
    """Addresses of loopback on which nothing listens now, for programs that cannot be given port 0."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def end_other(pid):
    """Ends a process that is no child of this one, such as an upgraded server, and waits for its end."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        processes.wait_until(f"process {pid} ended", lambda: not pathlib.Path(f"/proc/{pid}").exists() or processes.is_zombie(pid))
    finally:
        os.close(descriptor)


class Load:
    """A run that goes on beside something else, started by benchctl. `finish` has its object."""

    def __init__(self, system, *flags, clients=4, rate=500, seconds=3, server=None, environment=None):
        self.scheduled = clients * rate * seconds
        load = ["start", "--clients", str(clients), "--rate", str(rate), "--duration", f"{seconds}s", "--no-default-objectives"]
        self.process = system.benchctl(*load, *flags, server=server, environment=environment)
        self.texts = None
        # The pipes are read all the time, so that benchctl never waits for this script.
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        self.texts = self.process.communicate()

    def has_ended(self):
        return self.texts is not None

    def finish(self):
        """Waits for the end; returns the exit code and the object."""
        self.reader.join(2 * processes.DEADLINE_S)
        if self.reader.is_alive():
            self.process.kill()
            raise SystemExit("a run did not end")
        out, error = self.texts
        return self.process.returncode, json.loads(out) if out else {"error": error}

    def expect_exact(self, trial, what, codes=(0, 4)):
        """Records that each packet was counted once: a busy machine may send late (exit code 4), and no more."""
        code, run = self.finish()
        trial.holds(f"{what}: exit code in {codes}", code in codes, f"{code} {run.get('failure')} {run.get('error')}")
        counts = run.get("counts") or {}
        seen = tuple(counts.get(name) for name in ("scheduled", "sent", "received", "lost", "skipped", "corrupt"))
        trial.equal(f"{what}: scheduled = sent = received", seen, (*[self.scheduled] * 3, 0, 0, 0))
        laws = (run.get("verdict") or {}).get("laws") or []
        # On a busy machine it may not be proved that agent and server read one clock.
        of_clocks = [law for law in laws if law["code"] == "READ_BEFORE_WRITTEN" and law["status"] == "not_checkable"]
        broken = [law for law in laws if law["status"] != "holds" and law not in of_clocks]
        trial.holds(f"{what}: all laws hold", laws and not broken, broken or "no laws")
        return run


class Certificates:
    """A CA, and a server's and a client's certificate for the names of loopback, made by openssl as in docs/security.md."""

    def __init__(self, openssl, folder):
        self.folder = pathlib.Path(folder)
        new = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc", "-days", "365"]
        self._make([*new, "-subj", "/CN=peers CA", "-keyout", "ca.key", "-out", "ca.pem"])
        for name in ("server", "client"):
            self._make([*new, "-CA", "ca.pem", "-CAkey", "ca.key", "-subj", f"/CN={name}", "-keyout", f"{name}.key",
                        "-out", f"{name}.pem", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                        "-addext", "basicConstraints=critical,CA:FALSE"])
        # HAProxy wants both in one file.
        (self.folder / "server.both").write_text((self.folder / "server.pem").read_text() + (self.folder / "server.key").read_text())

    def _make(self, command):
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)

    def file(self, name):
        return str(self.folder / name)
