//! Where a run was measured: a line for each host, with the priority of the threads that measured.
//!
//! Processes of one boot of a kernel that have the same to show share a line. What is not known is
//! left out, and of a server of an earlier version that is all.

use metronome_proto::v1::{Environment, EnvironmentRole, ThreadPriority};

use super::figures;

/// More hosts than this are a number.
const HOSTS_MAX: usize = 3;

/// The lines, of at most `width` characters unless a text alone is longer. Empty when nothing is
/// known. One host stands for all of the run only where none of its `agents` is missing.
pub(super) fn lines(environments: &[Environment], agents: usize, width: usize) -> Vec<String> {
    let mut hosts: Vec<Vec<&Environment>> = Vec::new();
    for of in environments {
        match hosts.iter_mut().find(|host| are_one(host[0], of)) {
            Some(host) => host.push(of),
            None => hosts.push(vec![of]),
        }
    }
    let with_role = |role| {
        environments
            .iter()
            .filter(move |of| of.role() == role)
            .count()
    };
    let is_only = hosts.len() == 1
        && with_role(EnvironmentRole::Server) > 0
        && with_role(EnvironmentRole::Agent) >= agents;
    let shown = hosts.iter().take(HOSTS_MAX);
    let mut lines: Vec<_> = shown
        .flat_map(|host| figures::flowed(parts(host, is_only), width))
        .collect();
    if hosts.len() > HOSTS_MAX {
        let more = hosts.len() - HOSTS_MAX;
        lines.push(format!("… and {more} more: see -o json"));
    }
    lines
}

/// Whether one line is true of both.
fn are_one(one: &Environment, other: &Environment) -> bool {
    let facts = |of: &Environment| {
        let texts = [&of.boot_id, &of.host, &of.kernel, &of.version].map(String::clone);
        (texts, of.cores, of.cpu_quota_cores)
    };
    !one.boot_id.is_empty() && facts(one) == facts(other)
}

/// The facts of one host; with who runs there unless all do.
fn parts(host: &[&Environment], is_only: bool) -> Vec<String> {
    let of = host[0];
    let name = (!of.host.is_empty()).then(|| figures::clean(&of.host));
    let who = (!is_only).then(|| who(host));
    let names: Vec<_> = name.into_iter().chain(who).collect();
    let cores = of.cores.map(|cores| {
        let quota = of.cpu_quota_cores.map_or_else(String::new, |quota| {
            format!(" (quota {})", figures::few_digits(quota))
        });
        figures::number_of(cores.into(), "core") + &quota
    });
    let version = |name: &str, text: &String| {
        (!text.is_empty()).then(|| format!("{name} {}", figures::clean(text)))
    };
    let facts = cores
        .into_iter()
        .chain(version("Linux", &of.kernel))
        .chain(version("metronome", &of.version))
        .chain(priorities(host));
    let mut facts: Vec<_> = facts.collect();
    let names = names.join(", ");
    match facts.first_mut() {
        Some(first) if !names.is_empty() => *first = format!("{names}: {first}"),
        Some(_) => {}
        None if names.is_empty() => {}
        None => facts.push(names),
    }
    facts
}

/// `server`, `agent a1`, `server and 3 agents`.
fn who(host: &[&Environment]) -> String {
    let is_server = |of: &&&Environment| of.role() == EnvironmentRole::Server;
    let servers = host.iter().filter(is_server).map(|_| "server".to_owned());
    let agents: Vec<_> = host.iter().filter(|of| !is_server(of)).collect();
    let agents = match &agents[..] {
        [] => None,
        [agent] => Some(format!("agent {}", figures::clean(&agent.name))),
        several => Some(format!("{} agents", several.len())),
    };
    servers.chain(agents).collect::<Vec<_>>().join(" and ")
}

/// What is known of the priority of the threads: once where it is the same for all.
fn priorities(host: &[&Environment]) -> Vec<String> {
    let all = |role: Option<EnvironmentRole>| {
        let of_role = host
            .iter()
            .filter(|of| role.is_none_or(|role| role == of.role()));
        of_role.fold(ThreadPriority::Unspecified, |all, of| {
            all.with(of.priority())
        })
    };
    let is_known_of_all = host
        .iter()
        .all(|of| of.priority() != ThreadPriority::Unspecified);
    if is_known_of_all && all(None) != ThreadPriority::Mixed {
        return words(all(None)).map(String::from).into_iter().collect();
    }
    let roles = [
        (EnvironmentRole::Server, "server"),
        (EnvironmentRole::Agent, "agent"),
    ];
    let roles = roles.into_iter();
    // Of several agents, one that is not known may have had another one.
    let is_known = |role| {
        let mut of_role = host.iter().filter(|of| of.role() == role);
        of_role.all(|of| of.priority() != ThreadPriority::Unspecified)
    };
    roles
        .filter(|(role, _)| is_known(*role))
        .filter_map(|(role, name)| Some(format!("{name}: {}", words(all(Some(role)))?)))
        .collect()
}

/// `None` where it is not known.
fn words(priority: ThreadPriority) -> Option<&'static str> {
    match priority {
        ThreadPriority::Unspecified => None,
        ThreadPriority::Ordinary => Some("ordinary threads"),
        ThreadPriority::RaisedNice => Some("threads of raised nice"),
        ThreadPriority::RealTime => Some("real-time threads"),
        ThreadPriority::Mixed => Some("threads of mixed priority"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: usize = 69;

    fn on(host: &str, name: &str, priority: ThreadPriority) -> Environment {
        let role = match name {
            "server" => EnvironmentRole::Server,
            _ => EnvironmentRole::Agent,
        };
        Environment {
            role: role.into(),
            name: name.into(),
            version: "0.1.0".into(),
            host: host.into(),
            kernel: "6.1.0".into(),
            boot_id: format!("boot of {host}"),
            cores: Some(2),
            cpu_model: "A processor".into(),
            cpu_quota_cores: None,
            priority: priority.into(),
        }
    }

    #[test]
    fn server_and_agent_of_one_host_share_a_line() {
        use ThreadPriority as P;
        let lines = |of: [P; 2]| {
            let [server, agent] = of;
            lines(
                &[on("vm1", "server", server), on("vm1", "a1", agent)],
                1,
                WIDTH,
            )
        };
        let facts = "vm1: 2 cores  Linux 6.1.0  metronome 0.1.0";
        assert_eq!(
            lines([P::RealTime; 2]),
            [format!("{facts}  real-time threads")]
        );
        assert_eq!(lines([P::Unspecified; 2]), [facts]);
        assert_eq!(
            lines([P::RealTime, P::Ordinary]).join("\n"),
            format!("{facts}  server: real-time threads\nagent: ordinary threads")
        );
        assert_eq!(
            lines([P::Unspecified, P::RealTime]),
            [format!("{facts}  agent: real-time threads")]
        );
        let mut environments = vec![
            on("vm1", "server", P::RealTime),
            on("vm1", "a1", P::RealTime),
        ];
        environments.push(on("vm1", "a2", P::Unspecified));
        let shown = super::lines(&environments, 2, 200);
        assert_eq!(shown, [format!("{facts}  server: real-time threads")]);
    }

    #[test]
    fn hosts_have_lines_of_their_own_with_who_runs_there() {
        let real_time = ThreadPriority::RealTime;
        let mut environments = vec![
            on("vm1", "server", real_time),
            on("vm2", "a1", real_time),
            on("vm2", "a2", real_time),
            Environment {
                cpu_quota_cores: Some(1.5),
                ..on("vm3", "a3", real_time)
            },
        ];
        let facts = "Linux 6.1.0  metronome 0.1.0  real-time threads";
        let three = [
            format!("vm1, server: 2 cores  {facts}"),
            format!("vm2, 2 agents: 2 cores  {facts}"),
            format!("vm3, agent a3: 2 cores (quota 1.5)  {facts}"),
        ];
        let expected: Vec<_> = three
            .iter()
            .flat_map(|line| figures::flowed(line.split("  ").map(String::from), WIDTH))
            .collect();
        assert_eq!(lines(&environments, 3, WIDTH), expected);
        environments.extend([on("vm4", "a4", real_time), on("vm5", "a5", real_time)]);
        let lines = lines(&environments, 5, WIDTH);
        assert_eq!(lines.last().unwrap(), "… and 2 more: see -o json");
        assert_eq!(lines.len(), expected.len() + 1);
    }

    #[test]
    fn what_is_not_known_is_left_out_and_proves_no_common_host() {
        assert!(lines(&[], 0, WIDTH).is_empty());
        let server_alone = [on("vm1", "server", ThreadPriority::RealTime)];
        let lines_of = |agents| lines(&server_alone, agents, WIDTH).join(" ");
        assert!(
            lines_of(1).starts_with("vm1, server:"),
            "the agent's is not known"
        );
        assert!(lines_of(0).starts_with("vm1: "));
        let without_boot_id = |name| Environment {
            boot_id: String::new(),
            ..on("localhost", name, ThreadPriority::RealTime)
        };
        let two = [without_boot_id("server"), without_boot_id("a1")];
        let lines = lines(&two, 1, WIDTH).join("\n");
        assert!(
            lines.contains("server") && lines.contains("agent a1"),
            "{lines}"
        );
    }

    #[test]
    fn a_name_cannot_rewrite_the_terminal() {
        let foul = on("vm\u{1b}[2J", "a\u{202e}", ThreadPriority::RealTime);
        let lines = lines(&[foul], 1, WIDTH).join("\n");
        assert!(!lines.contains(['\u{1b}', '\u{202e}']), "{lines}");
    }
}
