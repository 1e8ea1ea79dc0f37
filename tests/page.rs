//! The page and its JSON on real processes: who is answered, and that the answers are those of
//! benchctl. tests/browser/check looks at them in a browser.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod common;

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use common::{Server, read_to_end};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// An answer: its first line and headers in lower case, and its body.
struct Answer {
    head: String,
    body: String,
}

/// Asks the HTTP port of a server, which names itself as `host`.
fn ask(server: &Server, method: &str, target: &str, host: Option<&str>) -> Answer {
    let http = server.process.ready_word("http");
    let address = http.replace("0.0.0.0", "127.0.0.1");
    let mut stream = TcpStream::connect(&address).unwrap();
    let host = host.unwrap_or(&address);
    let request = format!("{method} {target} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let all = String::from_utf8(read_to_end(&mut stream)).unwrap();
    let (head, body) = all.split_once("\r\n\r\n").unwrap();
    Answer {
        head: head.to_lowercase(),
        body: body.into(),
    }
}

#[track_caller]
fn json(server: &Server, target: &str) -> Value {
    let answer = ask(server, "GET", target, None);
    assert!(answer.head.contains(" 200 "), "{target}: {}", answer.head);
    serde_json::from_str(&answer.body).unwrap()
}

fn local(flags: &[&str]) -> Server {
    Server::start(&[&["--http", "127.0.0.1:0"], flags].concat())
}

#[test]
fn what_the_page_reads_is_what_benchctl_prints() {
    let server = local(&[]);
    let _agent = server.agent("a1");
    let run = ["--clients", "2", "--rate", "100", "--duration", "2s"];
    let (first, _) = server.run(&run);
    let (second, _) = server.run(&run);
    let id = second["run_id"].as_str().unwrap();
    for (target, arguments) in [
        (format!("/api/v1/runs/{id}/clients"), vec!["show", id]),
        (
            format!("/api/v1/runs/{id}/series"),
            vec!["show", id, "--series"],
        ),
        ("/api/v1/runs".into(), vec!["runs"]),
        (
            "/api/v1/runs?order=oldest&filter=state+%3D+ended".into(),
            vec!["runs", "--order", "oldest"],
        ),
        ("/api/v1/agents".into(), vec!["agents"]),
    ] {
        let (printed, _) = server.json(&arguments);
        assert_eq!(json(&server, &target), printed, "{target}");
    }
    let mut without_clients = second.clone();
    without_clients["clients"] = Value::Null;
    assert_eq!(
        json(&server, &format!("/api/v1/runs/{id}")),
        without_clients
    );
    assert_eq!(
        json(&server, "/api/v1/server")["workers"]
            .as_array()
            .unwrap()
            .len(),
        server.workers().len()
    );

    let page = ask(&server, "GET", "/api/v1/runs?page_size=1", None);
    let (_, next) = page.head.split_once("link: <").unwrap();
    let (next, _) = next.split_once(">; rel=\"next\"").unwrap();
    assert_eq!(json(&server, next)["runs"][0]["run_id"], first["run_id"]);

    let report = ask(
        &server,
        "GET",
        &format!("/api/v1/runs/{id}/report.html"),
        None,
    );
    assert!(report.body.starts_with("<!doctype html>"));
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    let output = server
        .benchctl(&["report", id, "--file", path])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let (one, other) = (fs::read_to_string(path).unwrap(), report.body);
    // They differ in the instant that is packed in them.
    let document = |html: &str| html.split("id=\"data\"").next().unwrap().to_owned();
    assert_eq!(document(&one), document(&other));
}

#[test]
fn what_cannot_be_had_is_an_object_with_its_cause() {
    let server = local(&[]);
    for (target, status, code) in [
        ("/api/v1/runs/0000000000000001", " 404 ", "RUN_UNKNOWN"),
        ("/api/v1/runs/x", " 400 ", "FIELD_OUT_OF_RANGE"),
        (
            "/api/v1/runs?filter=nonsense",
            " 400 ",
            "FIELD_OUT_OF_RANGE",
        ),
        ("/api/v1/runs?page_size=201", " 400 ", "FIELD_OUT_OF_RANGE"),
        ("/api/v1/runs?other=1", " 400 ", "FIELD_OUT_OF_RANGE"),
    ] {
        let answer = ask(&server, "GET", target, None);
        assert!(answer.head.contains(status), "{target}: {}", answer.head);
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["error"]["code"], code, "{target}");
    }
}

#[test]
fn another_host_is_not_served_and_nothing_is_changed() {
    let server = local(&[]);
    let port = server.process.ready_word("http");
    let (_, port) = port.rsplit_once(':').unwrap();
    for target in ["/", "/assets/app.js", "/api/v1/runs", "/api/v1/events"] {
        let evil = format!("evil.example:{port}");
        let refused = ask(&server, "GET", target, Some(&evil));
        assert!(refused.head.contains(" 421 "), "{target}: {}", refused.head);
        assert!(!refused.head.contains("access-control"), "{}", refused.head);
        for method in ["POST", "PUT", "DELETE"] {
            let refused = ask(&server, method, target, None);
            assert!(refused.head.contains(" 405 "), "{method} {target}");
        }
    }
    for target in ["/", "/assets/app.js", "/api/v1/runs"] {
        let host = format!("localhost:{port}");
        let answer = ask(&server, "HEAD", target, Some(&host));
        assert!(answer.head.contains(" 200 "), "{target}: {}", answer.head);
        assert!(answer.body.is_empty());
        for header in [
            "content-security-policy: default-src 'none'; script-src 'self'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cross-origin-resource-policy: same-origin",
        ] {
            assert!(answer.head.contains(header), "{target}: {}", answer.head);
        }
    }
    // Prometheus may ask by any name.
    let scrape = ask(&server, "GET", "/metrics", Some("bench1:9464"));
    assert!(scrape.head.contains(" 200 "), "{}", scrape.head);
}

#[test]
fn where_others_reach_the_port_the_page_takes_a_flag() {
    let everywhere = ["--http", "0.0.0.0:0"];
    let closed = Server::start(&everywhere);
    for target in ["/", "/assets/app.js", "/api/v1/runs", "/api/v1/events"] {
        let refused = ask(&closed, "GET", target, None);
        assert!(refused.head.contains(" 403 "), "{target}: {}", refused.head);
        assert!(refused.body.contains("--page"), "{}", refused.body);
    }
    assert!(ask(&closed, "GET", "/healthz", None).head.contains(" 200 "));
    let open = Server::start(&[&everywhere[..], &["--page"]].concat());
    assert!(ask(&open, "GET", "/", None).head.contains(" 200 "));
    assert!(
        json(&open, "/api/v1/runs")["runs"]
            .as_array()
            .unwrap()
            .is_empty()
    );
}

#[test]
fn events_of_a_run_that_has_ended_are_given_out_in_turn() {
    /// From one answer to the next.
    const EVERY: Duration = Duration::from_millis(5);
    const ASKED_BY_EACH: u32 = 25;
    let server = local(&[]);
    let _agent = server.agent("a1");
    let (run, _) = server.run(&["--clients", "1", "--rate", "10", "--duration", "1s"]);
    let target = format!("/api/v1/events?run={}", run["run_id"].as_str().unwrap());
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..ASKED_BY_EACH {
                    let answer = ask(&server, "GET", &target, None);
                    assert!(answer.head.contains(" 200 "), "{}", answer.head);
                    assert!(answer.body.contains("event: run_ended"), "{}", answer.body);
                }
            });
        }
    });
    let least = EVERY * (8 * ASKED_BY_EACH - 1);
    assert!(begun.elapsed() >= least, "{:?}", begun.elapsed());
}

#[test]
fn a_run_that_is_deleted_meanwhile_is_answered_whole_or_not_at_all() {
    let server = local(&[]);
    let _agent = server.agent("a1");
    for _ in 0..4 {
        let (run, _) = server.run(&["--clients", "3", "--rate", "100", "--duration", "1s"]);
        let id = run["run_id"].as_str().unwrap();
        let of = |part: &str| ask(&server, "GET", &format!("/api/v1/runs/{id}/{part}"), None);
        let is_there = |answer: &Answer| {
            let is_unknown = answer.head.contains(" 404 ");
            assert!(
                is_unknown || answer.head.contains(" 200 "),
                "{}",
                answer.head
            );
            !is_unknown
        };
        let rows = |part: &str, list: &str| {
            while let Some(answer) = Some(of(part)).filter(is_there) {
                let body: Value = serde_json::from_str(&answer.body).unwrap();
                assert!(!body[list].as_array().unwrap().is_empty(), "{part}");
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| rows("clients", "clients"));
            scope.spawn(|| rows("series", "points"));
            scope.spawn(|| {
                while let Some(answer) = Some(of("report.html")).filter(is_there) {
                    assert!(answer.body.ends_with("</html>\n"));
                }
            });
            let deleted = server.benchctl(&["delete", id]).output().unwrap();
            assert!(deleted.status.success(), "{deleted:?}");
        });
    }
}

/// The whole of a connection's life on the HTTP port, where nothing happens on it.
const AGE_MAX: Duration = Duration::from_secs(10);

/// A connection whose kernel takes little of what its program has not read.
fn slow_line(server: &Server, request: &str) -> TcpStream {
    let address: SocketAddr = server.process.ready_word("http").parse().unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4 << 10).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

#[test]
fn a_long_answer_arrives_whole_over_a_slow_line_and_who_takes_none_of_it_is_cut_off() {
    let server = local(&[]);
    let _agent = server.agent("a1");
    let (run, _) = server.run(&["--clients", "2", "--rate", "100", "--duration", "1s"]);
    let target = format!(
        "/api/v1/runs/{}/report.html",
        run["run_id"].as_str().unwrap()
    );
    let whole = ask(&server, "GET", &target, None);
    let host = server.process.ready_word("http");
    let request = format!("GET {target} HTTP/1.0\r\nHost: {host}\r\n\r\n");
    thread::scope(|scope| {
        let slow = scope.spawn(|| {
            let (mut line, begun) = (slow_line(&server, &request), Instant::now());
            let mut read = Vec::new();
            let mut part = [0; 4 << 10];
            let line_takes = AGE_MAX + Duration::from_secs(4);
            loop {
                let bytes = line.read(&mut part).unwrap();
                if bytes == 0 {
                    break;
                }
                read.extend(&part[..bytes]);
                let share = read.len() as f64 / whole.body.len() as f64;
                thread::sleep(line_takes.mul_f64(share).saturating_sub(begun.elapsed()));
            }
            assert!(begun.elapsed() > AGE_MAX, "{:?}", begun.elapsed());
            let read = String::from_utf8(read).unwrap();
            let (_, body) = read.split_once("\r\n\r\n").unwrap();
            assert!(body.ends_with("</html>\n"), "{} bytes", body.len());
            assert!(
                body.len().abs_diff(whole.body.len()) < 100,
                "only its instant differs"
            );
        });
        // One never reads, one never comes to the end of its request.
        let endless = format!("GET {target} HTTP/1.0\r\nHost: {host}\r\nEndless: ");
        let idle = [request.clone(), endless].map(|request| {
            let server = &server;
            scope.spawn(move || {
                let mut line = slow_line(server, &request);
                // It is seen to be cut off when nothing can be sent to it any more.
                let mut probe = line.try_clone().unwrap();
                let begun = Instant::now();
                while probe.write(b"a").is_ok() && begun.elapsed() < 3 * AGE_MAX {
                    thread::sleep(Duration::from_millis(200));
                }
                assert!(begun.elapsed() < 3 * AGE_MAX, "{:?}", begun.elapsed());
                read_to_end(&mut line).len()
            })
        });
        for idle in idle {
            let read = idle.join().unwrap();
            assert!(read < whole.body.len(), "{read} bytes");
        }
        slow.join().unwrap();
    });
}
