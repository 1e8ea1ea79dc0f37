"""The programs of others: where each is found, where it is to be had, and its version.

A program is looked for on the PATH and in the folder of tests/peers/build. Nothing is installed here."""

import dataclasses
import os
import pathlib
import shutil
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@dataclasses.dataclass(frozen=True)
class Program:
    # The names that it has, the first one that is there being used.
    names: tuple
    # Where it is to be had: a package of Debian, or a Go module with its version.
    debian: str = ""
    module: str = ""
    # The flags that print its version, and where in that text it is: the number of a word.
    version: tuple = ("--version",)

    def source(self):
        return f"apt-get install {self.debian}" if self.debian else f"tests/peers/build, which compiles {self.module}"

    def is_compiled(self):
        """Whether it must be compiled: CI has it only where it is already there."""
        return bool(self.module)


ALL = {
    "go": Program(("go",), debian="golang-go", version=("version",)),
    "node": Program(("node",), debian="nodejs"),
    "npm": Program(("npm",), debian="npm"),
    "openssl": Program(("openssl",), debian="openssl", version=("version",)),
    "curl": Program(("curl",), debian="curl"),
    "iperf": Program(("iperf",), debian="iperf"),
    "iperf3": Program(("iperf3",), debian="iperf3"),
    "netcat": Program(("nc.openbsd", "nc"), debian="netcat-openbsd", version=("-h",)),
    "socat": Program(("socat",), debian="socat", version=("-V",)),
    "nping": Program(("nping",), debian="nmap"),
    "haproxy": Program(("haproxy", "/usr/sbin/haproxy"), debian="haproxy", version=("-v",)),
    "nginx": Program(("nginx", "/usr/sbin/nginx"), debian="nginx libnginx-mod-stream", version=("-v",)),
    "testssl": Program(("testssl", "testssl.sh"), debian="testssl.sh"),
    "prometheus": Program(("prometheus",), debian="prometheus"),
    "alertmanager": Program(("prometheus-alertmanager", "alertmanager"), debian="prometheus-alertmanager"),
    "grpcurl": Program(("grpcurl",), module="github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"),
    "grpc-health-probe": Program(("grpc-health-probe", "grpc_health_probe"),
                                 module="github.com/grpc-ecosystem/grpc-health-probe@v0.4.40"),
    "h2spec": Program(("h2spec",), module="github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"),
    "ghz": Program(("ghz",), module="github.com/bojand/ghz/cmd/ghz@v0.121.0"),
    "protoc-gen-go": Program(("protoc-gen-go",), module="google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.10"),
    "protoc-gen-go-grpc": Program(("protoc-gen-go-grpc",), module="google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1"),
    "jaeger": Program(("jaeger",), module="github.com/jaegertracing/jaeger/cmd/jaeger@v1.76.0"),
}


def folder():
    """Where tests/peers/build puts what it compiles."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return pathlib.Path(os.environ.get("METRONOME_PEERS", target / "peers"))


def find(name):
    """The path of a program, or None where it is not there."""
    for candidate in ALL[name].names:
        if found := shutil.which(candidate) or shutil.which(folder() / candidate):
            return found
    return None


def version(name):
    """The line in which a program has its version, at most 100 characters; empty where it has none."""
    answer = subprocess.run([find(name), *ALL[name].version], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    lines = [line.strip() for line in (answer.stdout + answer.stderr).splitlines()]
    return next((line for line in lines if any(character.isdigit() for character in line)), "")[:100]
