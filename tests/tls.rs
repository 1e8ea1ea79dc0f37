//! The gRPC port with TLS: who is let in, who is not, and which message each gets.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use common::{Running, Server, assert_exact, command, json_of};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;

const LOAD: [&str; 7] = [
    "start",
    "--clients",
    "4",
    "--rate",
    "1000",
    "--duration",
    "500ms",
];

/// A CA that has signed a certificate for the server, named `bench1`, and one for all who dial.
struct Authority {
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut own = CertificateParams::new(Vec::new()).unwrap();
        own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(own, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        for name in ["bench1", "operator"] {
            let key = KeyPair::generate().unwrap();
            let certificate = CertificateParams::new([name.to_owned()])
                .unwrap()
                .signed_by(&key, &issuer)
                .unwrap();
            fs::write(folder.path().join(format!("{name}.pem")), certificate.pem()).unwrap();
            let path = folder.path().join(format!("{name}.key"));
            fs::write(&path, key.serialize_pem()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self { folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A server that admits every client with a certificate of this CA.
    fn server(&self) -> Server {
        let flag =
            |name: &str, file: &str| [name.to_owned(), self.file(file).display().to_string()];
        let flags: Vec<_> = [
            ("--tls-cert", "bench1.pem"),
            ("--tls-key", "bench1.key"),
            ("--tls-client-ca", "ca.pem"),
        ]
        .into_iter()
        .flat_map(|(name, file)| flag(name, file))
        .collect();
        let flags: Vec<_> = flags
            .iter()
            .map(String::as_str)
            .chain(["--http", "127.0.0.1:0"])
            .collect();
        Server::start(&flags)
    }

    /// A command that dials as an operator of this CA.
    fn dialling(&self, name: &str, server: &str) -> Command {
        let mut command = command(name);
        command
            .env("METRONOME_SERVER", server)
            .env("METRONOME_TLS_NAME", "bench1");
        command.env("METRONOME_TLS_CA", self.file("ca.pem"));
        command.env("METRONOME_TLS_CERT", self.file("operator.pem"));
        command.env("METRONOME_TLS_KEY", self.file("operator.key"));
        command.stdin(Stdio::null()).stderr(Stdio::null());
        command
    }
}

fn assert_exit(output: &Output, code: i32, expected: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains(expected),
        "{said:?} should contain {expected:?}"
    );
    assert_eq!(output.status.code(), Some(code), "{said}");
}

#[test]
fn who_has_a_certificate_measures_and_who_has_none_is_refused() {
    let authority = Authority::new();
    let server = authority.server();
    let agent = Running::start(authority.dialling("metronome-agent", &server.grpc()));
    assert!(
        agent.ready_word("server").starts_with("https://"),
        "{}",
        agent.ready
    );
    let mut start = authority.dialling("benchctl", &server.grpc());
    let (result, _) = json_of(start.args(["-o", "json"]).args(LOAD).output().unwrap());
    assert_exact(&result, 2_000);
    // The URL and flags behind the subcommand do as well as the environment.
    let mut agents = authority.dialling("benchctl", &format!("https://{}", server.grpc()));
    agents
        .env_remove("METRONOME_TLS_CA")
        .args(["agents", "-o", "json", "--tls-ca"])
        .arg(authority.file("ca.pem"));
    assert_eq!(
        json_of(agents.output().unwrap()).0["agents"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let strange = Authority::new();
    let ask = |changes: &[(&str, Option<PathBuf>)]| {
        let mut command = authority.dialling("benchctl", &server.grpc());
        for (variable, value) in changes {
            match value {
                Some(value) => command.env(variable, value),
                None => command.env_remove(variable),
            };
        }
        command
            .arg("server")
            .stderr(Stdio::piped())
            .output()
            .unwrap()
    };
    let (ca, cert, key) = (
        "METRONOME_TLS_CA",
        "METRONOME_TLS_CERT",
        "METRONOME_TLS_KEY",
    );
    assert_exit(&ask(&[]), 0, "");
    assert_exit(&ask(&[(ca, Some(strange.file("ca.pem")))]), 1, "--tls-ca");
    assert_exit(
        &ask(&[("METRONOME_TLS_NAME", Some("bench2".into()))]),
        1,
        "--tls-name",
    );
    assert_exit(
        &ask(&[
            (cert, Some(strange.file("operator.pem"))),
            (key, Some(strange.file("operator.key"))),
        ]),
        1,
        "--tls-cert",
    );
    assert_exit(&ask(&[(cert, None), (key, None)]), 1, "--tls-cert");
    assert_exit(
        &ask(&[("METRONOME_SERVER", Some("http://127.0.0.1:1".into()))]),
        2,
        "https://",
    );
    assert_exit(&server.benchctl(&["server"]).output().unwrap(), 1, "TLS");
}

/// What benchctl reports of a server in whose certificate `change` has changed something, dialled
/// with the CA of `trusted`.
fn words_for(change: impl FnOnce(&mut CertificateParams), trusts_it: bool, name: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut own = CertificateParams::new(Vec::new()).unwrap();
    own.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(own, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["bench1".to_owned()]).unwrap();
    change(&mut params);
    let certificate = params.signed_by(&key, &issuer).unwrap();
    fs::write(path("cert.pem"), certificate.pem()).unwrap();
    fs::write(path("key.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(path("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    let trusted = if trusts_it {
        issuer.pem()
    } else {
        fs::read_to_string(Authority::new().file("ca.pem")).unwrap()
    };
    fs::write(path("ca.pem"), trusted).unwrap();
    let text = |name: &str| path(name).display().to_string();
    let server = Server::start(&[
        "--tls-cert",
        &text("cert.pem"),
        "--tls-key",
        &text("key.pem"),
    ]);
    words_of(&server.grpc(), &path("ca.pem"), name)
}

fn words_of(address: &str, ca: &Path, name: &str) -> String {
    let mut command = command("benchctl");
    command
        .env("METRONOME_SERVER", address)
        .env("METRONOME_TLS_CA", ca);
    let output = command
        .env("METRONOME_TLS_NAME", name)
        .arg("server")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stderr).unwrap();
    let is_debug = |word: &&str| ["UnknownIssuer", "NotValid", "Expired", "Invalid"].contains(word);
    let found = words.split(|c: char| !c.is_alphanumeric()).find(is_debug);
    assert_eq!(found, None, "{words}");
    words
}

#[test]
fn what_is_wrong_with_a_certificate_is_reported_in_plain_words() {
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2001, 1, 1);
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(3001, 1, 1);
    let same = |_: &mut CertificateParams| {};
    let has = |words: String, part: &str| assert!(words.contains(part), "{words}");
    has(
        words_for(expired, true, "bench1"),
        "its certificate has expired",
    );
    has(
        words_for(early, true, "bench1"),
        "its certificate is not valid yet",
    );
    has(
        words_for(same, false, "bench1"),
        "signed by none that this end trusts",
    );
    has(words_for(same, true, "bench2"), "not for the name bench2");
    let authority = Authority::new();
    let plain = Server::start(&[]);
    let words = words_of(&plain.grpc(), &authority.file("ca.pem"), "bench1");
    has(words, "what it answers is not TLS");
    let asks = authority.server();
    let words = words_of(&asks.grpc(), &authority.file("ca.pem"), "bench1");
    has(words, "asks for a certificate of this end");
}

#[test]
fn a_health_check_needs_no_certificate() {
    let authority = Authority::new();
    let server = authority.server();
    let check = |http: &str| {
        let mut healthcheck = command("metronome-server");
        healthcheck
            .env("METRONOME_TLS_CERT", authority.file("bench1.pem"))
            .args(["healthcheck", "--http", http]);
        healthcheck.output().unwrap()
    };
    assert_exit(&check(&server.process.ready_word("http")), 0, "");
    assert_exit(&check("127.0.0.1:1"), 1, "--http 127.0.0.1:1");
    assert_exit(&check("off"), 1, "--http off");
    let mut http = TcpStream::connect(server.process.ready_word("http")).unwrap();
    http.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    let (mut answer, grpc) = (String::new(), server.grpc());
    http.read_to_string(&mut answer).unwrap();
    let port = grpc.rsplit(':').next().unwrap();
    assert!(
        answer.contains(&format!("metronome-grpc-port: {port}\r\n")),
        "{answer}"
    );
    assert!(
        answer.contains("connection: close\r\n"),
        "one answer a connection: {answer}"
    );
}

#[test]
fn start_brings_up_its_own_server_whatever_tls_the_environment_asks_for() {
    let authority = Authority::new();
    let mut start = authority.dialling("benchctl", "");
    start
        .env_remove("METRONOME_SERVER")
        .env("METRONOME_DATABASE", authority.file("runs.sqlite"));
    let (result, _) = json_of(start.args(["-o", "json"]).args(LOAD).output().unwrap());
    assert_exact(&result, 2_000);
}

#[test]
fn files_that_cannot_be_used_are_refused_before_anything_is_opened() {
    let authority = Authority::new();
    let serve = |cert: &Path, key: &Path| {
        let mut server = command("metronome-server");
        server
            .args(["--port", "0", "--grpc", "127.0.0.1:0", "--tls-cert"])
            .arg(cert)
            .arg("--tls-key")
            .arg(key);
        server.output().unwrap()
    };
    assert_exit(
        &serve(&authority.file("absent.pem"), &authority.file("bench1.key")),
        2,
        "--tls-cert",
    );
    assert_exit(
        &serve(
            &authority.file("bench1.pem"),
            &authority.file("operator.key"),
        ),
        2,
        "--tls-key",
    );
    let mut agent = authority.dialling("metronome-agent", "127.0.0.1:1");
    let output = agent
        .env_remove("METRONOME_TLS_KEY")
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert_exit(&output, 2, "both or neither");
}
