"""What is needed beside our own executables: C programs that are built here, and Debian packages."""

import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = {"gcc": ["gcc", "libc6-dev"], "iperf3": ["iperf3"], "sockperf": ["sockperf"], "liburing": ["liburing-dev"]}
# Packages without a program, and the file that shows that they are installed.
HEADERS = {"liburing": pathlib.Path("/usr/include/liburing.h")}
# Programs that are built here, and the libraries of each.
PROGRAMS = {"floor": [], "reader": [], "uring": ["-luring"]}


def install(needed):
    """Installs what is missing; exits with a message where that is impossible."""
    missing = [tool for tool in needed if not (HEADERS[tool].exists() if tool in HEADERS else shutil.which(tool))]
    if not missing:
        return
    packages = [package for tool in missing for package in PACKAGES[tool]]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"{', '.join(missing)} is missing: install the Debian packages {' '.join(packages)}, or run this as root")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        if subprocess.run(["apt-get", *command], stdout=sys.stderr, env=environment).returncode != 0:
            sys.exit(f"apt-get {command[0]} failed: install the Debian packages {' '.join(packages)} by hand")


def build(folder, names):
    """Builds programs into a folder."""
    for name in names:
        command = ["gcc", "-O2", "-Wall", "-Wextra", "-o", str(folder / name), str(HERE / f"{name}.c"), *PROGRAMS[name]]
        if subprocess.run(command).returncode != 0:
            sys.exit(f"{name}.c could not be built: see the messages of gcc")
