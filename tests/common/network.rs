//! Scripts of bash in a network of their own, so that default ports are free, and with a home of
//! their own. When one ends, all that it started ends.
//!
//! A script may be one of two hosts: A, 10.77.0.1, and B, 10.77.0.2, each a network, joined by a
//! veth pair; or far from each other, joined by the path emulator with 50 ms each way. B has a
//! clock of its own, as another host has.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

/// What a script may use beyond our own executables and the usual tools of a system.
const TOOLS: [&str; 6] = ["unshare", "ip", "jq", "openssl", "nc", "sqlite3"];

/// A busy machine may send late (4) or read late (99), and may not be fit to measure (doctor: 1):
/// no fault of the script.
const PRELUDE: &str = r#"
set -eu
ip link set lo up
benchctl() {
    local code=0
    command benchctl "$@" || code=$?
    case "$code $1" in 0\ * | 4\ * | 99\ * | "1 doctor") ;; *) return "$code" ;; esac
}
metronome-agent() {
    local code=0
    command metronome-agent "$@" || code=$?
    [ "$code" = 0 ] || [ "$code" = 4 ]
}
"#;

/// Starts the shells of A and B, which do what comes on their pipes, and joins their networks.
/// `scp` between them copies between their folders.
const HOSTS: &str = r#"
export ROOT=$PWD
mkdir A B
mkfifo to-A to-B from
exec 9<>from
scp() {
    local to=${!#}
    set -- "${@:1:$#-1}"
    case "$to" in
        10.77.0.1:) cp "$@" "$ROOT/A" ;;
        10.77.0.2:) cp "$@" "$ROOT/B" ;;
        *) return 1 ;;
    esac
}
export -f benchctl metronome-agent scp
(cd A && HOME=$PWD exec bash -s < ../to-A) &
exec 6< /proc/self/ns/net
(cd B && HOME=$PWD exec unshare --net --time --monotonic 100000 --fork bash -c \
    "${BEFORE_B:-}
    exec bash -s" < ../to-B) &
exec 7> to-A 8> to-B
# A shell writes that it has done its part, or that it has ended.
await() {
    local word
    read -r word <&9
    [ "$word" = "$1" ] || { echo "host $2 has failed"; exit 1; }
}
echo 'trap "echo ended > $ROOT/from" EXIT; set -eu' | tee to-A >&8
echo 'echo $$ > "$ROOT/pid"; echo done > "$ROOT/from"' >&8
await done B
"#;

/// Joins the two by a veth pair.
const NEAR: &str = r#"
ip link add name veth-a type veth peer name veth-b
ip link set veth-b netns "$(cat pid)"
echo 'ip link set lo up; ip link set veth-b up; ip address add 10.77.0.2/24 dev veth-b
    echo done > "$ROOT/from"' >&8
await done B
ip address add 10.77.0.1/24 dev veth-a
ip link set veth-a up
"#;

/// The same by a path that takes 50 ms each way. The emulator is a process of B that B's shell,
/// whose jobs are those of the script, has not started; it ends with its input.
const FAR: &str = r#"
BEFORE_B='{ printf "set near-to-far delay_us=50000\nset far-to-near delay_us=50000\n"
    exec sleep infinity; } | path_emulator tun-b tun-a /dev/fd/6 1 > "$ROOT/path" &'
"#;

/// Gives the devices of the path their addresses when it is there.
const FAR_ADDRESSES: &str = r#"
until [ "$(grep -c done path 2> log)" = 2 ]; do sleep 0.1; done
echo 'ip link set lo up; ip link set tun-b txqueuelen 10000 up
    ip address add 10.77.0.2/24 dev tun-b; echo done > "$ROOT/from"' >&8
await done B
ip address add 10.77.0.1/24 dev tun-a
ip link set tun-a txqueuelen 10000 up
"#;

/// A network and a process table of its own, both gone with the script.
const NAMESPACE: [&str; 7] = [
    "unshare",
    "--user",
    "--map-root-user",
    "--net",
    "--pid",
    "--fork",
    "--kill-child",
];

/// Longer than any script takes on a busy machine.
const SECONDS_MAX: &str = "240";

/// One of the two hosts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Host {
    A,
    B,
}

/// The script of one host.
pub(crate) fn on_one_host(text: &str) -> String {
    format!("{PRELUDE}\n{text}\n")
}

/// The script of two hosts that do `blocks` in turn. All blocks of a host are one shell's.
pub(crate) fn between_hosts(blocks: &[(Host, String)]) -> String {
    joined(blocks, &format!("{PRELUDE}\n{HOSTS}{NEAR}"))
}

/// The same of two hosts that are far from each other.
pub(crate) fn between_far_hosts(blocks: &[(Host, String)]) -> String {
    joined(blocks, &format!("{PRELUDE}\n{FAR}{HOSTS}{FAR_ADDRESSES}"))
}

fn joined(blocks: &[(Host, String)], before: &str) -> String {
    let mut script = before.to_owned();
    for (index, (host, text)) in blocks.iter().enumerate() {
        let pipe = match host {
            Host::A => 7,
            Host::B => 8,
        };
        let _ = write!(
            script,
            "cat > block-{index} <<'END OF BLOCK'\n{text}\nEND OF BLOCK\n\
             echo '. \"$ROOT/block-{index}\" < /dev/null; echo done > \"$ROOT/from\"' >&{pipe}\n\
             await done {host:?}\n"
        );
    }
    script
}

/// What keeps the script from being run here.
pub(crate) fn missing(script: &str) -> Option<String> {
    if let Some(tool) = TOOLS
        .iter()
        .find(|tool| uses(script, tool) && !is_installed(tool))
    {
        return Some(format!("{tool} is not installed"));
    }
    let is_far = script.contains(FAR);
    if is_far && !executables().join("examples/path_emulator").is_file() {
        return Some("cargo build -p metronome-os --example path_emulator was not run".into());
    }
    let is_of_two = script.contains(HOSTS);
    let probe = if is_far {
        "ip tuntap add probe mode tun && : <> /dev/net/tun &&
        unshare --net --time --monotonic 100000 --fork true"
    } else if is_of_two {
        "ip link add name veth-a type veth peer name veth-b &&
        unshare --net --time --monotonic 100000 --fork true"
    } else {
        "true"
    };
    let granted = Command::new(NAMESPACE[0])
        .args(&NAMESPACE[1..])
        .args(["bash", "-c", probe])
        .stderr(Stdio::null())
        .status();
    (!granted.is_ok_and(|status| status.success())).then(|| {
        let what = if is_of_two { "no two hosts" } else { "none" };
        format!("of namespaces this system grants {what}")
    })
}

pub(crate) fn is_installed(tool: &str) -> bool {
    env::split_paths(&env::var_os("PATH").unwrap_or_default())
        .any(|folder| folder.join(tool).is_file())
}

/// The folder of our own executables.
fn executables() -> PathBuf {
    let test = env::current_exe().unwrap();
    test.parent().unwrap().parent().unwrap().to_owned()
}

fn uses(script: &str, tool: &str) -> bool {
    script
        .split(|c: char| !(c.is_alphanumeric() || c == '-' || c == '_'))
        .any(|word| word == tool)
}

/// Runs a script to its end. An error has all that it wrote, and so has what is returned.
pub(crate) fn run(script: &str) -> Result<String, String> {
    let home = tempfile::TempDir::new().unwrap();
    let own = [executables(), executables().join("examples")];
    let old = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(own.into_iter().chain(env::split_paths(&old))).unwrap();
    let file = home.path().join("script.sh");
    fs::write(&file, script).unwrap();
    let mut command = Command::new("timeout");
    command
        .arg(SECONDS_MAX)
        .args(NAMESPACE)
        .arg("bash")
        .arg(&file);
    for (name, _) in env::vars_os().filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.starts_with("METRONOME_") || name.starts_with("OTEL_")
    }) {
        command.env_remove(name);
    }
    command
        .env("PATH", path)
        .env("HOME", home.path())
        .env_remove("XDG_STATE_HOME")
        .current_dir(home.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    match output.status.success() {
        true => Ok(said),
        false => Err(format!("{}\n{script}\n-- it wrote:\n{said}", output.status)),
    }
}
