"""A machine with nothing but Debian: a root folder made by debootstrap, entered in namespaces of its own.

Mirror and release are those that this system's apt uses, also its certificates, names and cargo's registry: they are
copied when the root is made. The network is this system's. What is absent on purpose: a kernel of its own, systemd as
the first process, and anything that the caller did not name."""

import os
import pathlib
import platform
import shutil
import subprocess
import time

# A user without rights, as most readers of the manual are.
USER, USER_ID = "reader", 1000
HOME = pathlib.Path("/home") / USER

NAMESPACES = ("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child")
MOUNT = r"""
set -eu
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --bind -o ro "$root/proc/sys" "$root/proc/sys"
mount --rbind /sys "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
for name in null zero full random urandom tty; do touch "$root/dev/$name"; mount --bind "/dev/$name" "$root/dev/$name"; done
ln -s pts/ptmx "$root/dev/ptmx"; ln -s /proc/self/fd "$root/dev/fd"
# The root becomes the first of its namespace: in a chroot the kernel refuses namespaces to users without rights.
enter() { cd "$root"; pivot_root . mnt; umount --lazy /mnt; cd /; }
"""
ENTER = MOUNT + r"""
for n in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${n%:*}" "$root/dev/${n#*:}"; done
user=$1; shift
while [ "$1" != -- ]; do mkdir -p "$root$2"; mount --bind -o ro "$1" "$root$2"; shift 2; done; shift
enter
exec setpriv --reuid="$user" --regid="$user" --clear-groups "$@"
"""


def missing():
    """Why no root can be made here, or None."""
    if os.geteuid() != 0:
        return "debootstrap needs root"
    if not shutil.which("debootstrap"):
        return "there is no debootstrap (Debian: debootstrap)"
    if subprocess.run([*NAMESPACES, "true"], capture_output=True).returncode:
        return "the kernel grants no namespaces"
    if not mirror():
        return "this system's apt has no mirror of a Debian release"
    return None


def mirror():
    """The address and the release that this system's apt uses for most packages, or None."""
    made = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)"],
                          capture_output=True, text=True)
    for line in made.stdout.splitlines():
        address, codename, component, *origin = line.split()
        if component == "main" and origin == ["Debian"] and codename == release():
            return address, codename
    return None


def release():
    """The code name of this system's release, as /etc/os-release has it."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


class Root:
    """A root folder. `made_s` is how long debootstrap took, None where an archive of the same packages was there."""

    def __init__(self, folder, packages, archives=None):
        self.folder = pathlib.Path(folder).resolve()
        began_s = time.monotonic()
        archive = archives and pathlib.Path(archives) / ("-".join(["root", release(), *sorted(packages)]) + ".tar")
        self.made_s = None
        if archive and archive.exists():
            self.folder.mkdir(parents=True)
            checked("tar", "--extract", "--numeric-owner", f"--file={archive}", f"--directory={self.folder}")
        else:
            self._bootstrap(packages)
            self.made_s = time.monotonic() - began_s
            if archive:
                archive.parent.mkdir(parents=True, exist_ok=True)
                checked("tar", "--create", "--numeric-owner", f"--file={archive}", f"--directory={self.folder}", ".")
        self._take_from_this_system()

    def _bootstrap(self, packages):
        address, codename = mirror()
        include = [f"--include={','.join(packages)}"] if packages else []
        checked("debootstrap", "--variant=minbase", *include, codename, str(self.folder), address)
        checked("chroot", str(self.folder), "useradd", "--create-home", f"--uid={USER_ID}", "--shell=/bin/bash", USER)

    def _take_from_this_system(self):
        """Names, certificates and cargo's registry: what a network demands of its users."""
        for path in ("/etc/resolv.conf", "/etc/hosts"):
            shutil.copyfile(path, self.folder / path.lstrip("/"))
        self.environment = {name: value for name, value in os.environ.items()
                            if name.lower() in ("http_proxy", "https_proxy", "no_proxy") or name.startswith("CARGO_REGISTRIES_")}
        if certificates := os.environ.get("SSL_CERT_FILE"):
            self.environment |= dict.fromkeys(("SSL_CERT_FILE", "CARGO_HTTP_CAINFO"), "/etc/ssl/of-this-system.crt")
            shutil.copyfile(certificates, self.folder / "etc/ssl/of-this-system.crt")
        configuration = pathlib.Path(os.environ.get("CARGO_HOME", pathlib.Path.home() / ".cargo")) / "config.toml"
        if configuration.exists():
            target = self.folder / str(HOME).lstrip("/") / ".cargo"
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(configuration, target / "config.toml")
            self.give(target)

    def give(self, folder):
        """Makes a folder the user's."""
        checked("chown", "--recursive", f"{USER_ID}:{USER_ID}", str(folder))

    def inside(self, path):
        """The path from outside of what is `path` in the root."""
        return self.folder / str(path).lstrip("/")

    def install(self, *packages):
        """Installs packages of Debian with apt, and nothing that they only recommend."""
        self.run("apt-get update -qq && apt-get install -y -qq --no-install-recommends " + " ".join(packages),
                 user=0, environment={"DEBIAN_FRONTEND": "noninteractive"}, is_checked=True)

    def run(self, script, user=USER_ID, directory=HOME, path=(), mounts=(), environment=None, timeout_s=300,
            output=subprocess.PIPE, is_checked=False):
        """Runs bash in the root. `path` is looked in before /usr/bin; `mounts` are pairs of a folder of this system and
        one of the root, where it can be read."""
        ordinary = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
        variables = {"HOME": str(HOME) if user else "/root", "PATH": ":".join(map(str, [*path, *ordinary])), "LANG": "C.UTF-8",
                     "TERM": "xterm", **self.environment, **(environment or {})}
        binds = [str(part) for pair in mounts for part in pair]
        command = [*NAMESPACES, "bash", "-c", ENTER, "enter", str(self.folder), str(user), *binds, "--",
                   "bash", "-c", f"cd {directory} || exit 1\n{script}"]
        done = subprocess.run(command, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                              text=True, timeout=timeout_s)
        if is_checked and done.returncode:
            raise SystemExit(f"in {self.folder.name}, {script!r} ended with {done.returncode}:\n{(done.stdout or '')[-3000:]}")
        return done


def checked(*command):
    """Runs a command of this system; its failure ends the script."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout


def used_bytes(*folders):
    """What folders take on the disk, the same file counted once."""
    made = checked("du", "--summarize", "--total", "--block-size=1", "--one-file-system", *map(str, folders))
    return int(made.splitlines()[-1].split()[0])
