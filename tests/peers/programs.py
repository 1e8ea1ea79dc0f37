"""The programs of others: where each is found, and where it is to be had.

A program is looked for on the PATH and in the folder of tests/peers/build. Nothing is installed here."""

import dataclasses
import os
import pathlib
import shutil

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@dataclasses.dataclass(frozen=True)
class Program:
    # The names that it has, the first one that is there being used.
    names: tuple
    # Where it is to be had: a package of Debian, or a Go module with its version.
    debian: str = ""
    module: str = ""
    # Whether .ci/run installs it. What must be compiled, and large toolchains, it uses only where they are already there.
    is_in_ci: bool = True

    def source(self):
        return f"apt-get install {self.debian}" if self.debian else f"tests/peers/build, which compiles {self.module}"


def compiled(name, module):
    """A program that tests/peers/build compiles."""
    return Program((name, name.replace("-", "_")), module=module, is_in_ci=False)


ALL = {
    "go": Program(("go",), debian="golang-go", is_in_ci=False),
    "node": Program(("node",), debian="nodejs", is_in_ci=False),
    "npm": Program(("npm",), debian="npm", is_in_ci=False),
    "openssl": Program(("openssl",), debian="openssl"),
    "curl": Program(("curl",), debian="curl"),
    "iperf": Program(("iperf",), debian="iperf"),
    "iperf3": Program(("iperf3",), debian="iperf3"),
    "netcat": Program(("nc.openbsd", "nc"), debian="netcat-openbsd"),
    "socat": Program(("socat",), debian="socat"),
    "nping": Program(("nping",), debian="nmap"),
    "haproxy": Program(("haproxy", "/usr/sbin/haproxy"), debian="haproxy"),
    "nginx": Program(("nginx", "/usr/sbin/nginx"), debian="nginx libnginx-mod-stream"),
    "testssl": Program(("testssl", "testssl.sh"), debian="testssl.sh"),
    "prometheus": Program(("prometheus",), debian="prometheus"),
    "alertmanager": Program(("prometheus-alertmanager", "alertmanager"), debian="prometheus-alertmanager"),
    "grpcurl": compiled("grpcurl", "github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3"),
    "grpc-health-probe": compiled("grpc-health-probe", "github.com/grpc-ecosystem/grpc-health-probe@v0.4.40"),
    "h2spec": compiled("h2spec", "github.com/summerwind/h2spec/cmd/h2spec@v2.2.1+incompatible"),
    "ghz": compiled("ghz", "github.com/bojand/ghz/cmd/ghz@v0.121.0"),
    "protoc-gen-go": compiled("protoc-gen-go", "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.10"),
    "protoc-gen-go-grpc": compiled("protoc-gen-go-grpc", "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1"),
    "etcd": Program(("etcd",), debian="etcd-server", is_in_ci=False),
    "kubectl": compiled("kubectl", "k8s.io/kubernetes/cmd/kubectl@v1.37.2"),
    "kube-apiserver": compiled("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver@v1.37.2"),
    "jaeger": compiled("jaeger", "github.com/jaegertracing/jaeger/cmd/jaeger@v1.76.0"),
}


def folder():
    """Where tests/peers/build puts what it compiles."""
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return pathlib.Path(os.environ.get("METRONOME_PEERS", target / "peers")).resolve()


def find(name):
    """The path of a program, or None where it is not there."""
    for candidate in ALL[name].names:
        if found := shutil.which(candidate) or shutil.which(folder() / candidate):
            return found
    return None
