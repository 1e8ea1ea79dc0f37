//! Where a process of a run ran: what a peer may state of itself, and the priority of workers.

use metronome_proto::{
    environment::TEXT_BYTES_MAX,
    v1::{Environment, EnvironmentRole, ThreadPriority},
};
use metronome_telemetry::sanitise;

/// What the scheduler grants to a worker.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WorkerPriority {
    /// No more than an ordinary program has.
    Ordinary,
    /// A nice value below 0.
    RaisedNice,
    /// It is a real-time thread.
    RealTime,
}

impl WorkerPriority {
    pub(crate) fn to_proto(self) -> ThreadPriority {
        match self {
            Self::Ordinary => ThreadPriority::Ordinary,
            Self::RaisedNice => ThreadPriority::RaisedNice,
            Self::RealTime => ThreadPriority::RealTime,
        }
    }
}

/// What the agent of this name states: texts harmless and short, no number that cannot be.
pub(super) fn of_agent(stated: Environment, name: &str) -> Environment {
    let text = |text: &str| sanitise::printable(text, TEXT_BYTES_MAX);
    Environment {
        role: EnvironmentRole::Agent.into(),
        name: name.into(),
        version: text(&stated.version),
        host: text(&stated.host),
        kernel: text(&stated.kernel),
        boot_id: text(&stated.boot_id),
        cores: stated.cores.filter(|cores| *cores > 0),
        cpu_model: text(&stated.cpu_model),
        cpu_quota_cores: stated
            .cpu_quota_cores
            .filter(|cores| cores.is_finite() && *cores > 0.0),
        priority: stated.priority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_states_of_itself_is_harmless_short_and_its_own() {
        let foul = || "\u{1b}[31m\u{202e}".to_owned() + &"é".repeat(100);
        let stated = Environment {
            role: EnvironmentRole::Server.into(),
            name: "another".into(),
            version: foul(),
            host: foul(),
            kernel: foul(),
            boot_id: foul(),
            cores: Some(0),
            cpu_model: foul(),
            cpu_quota_cores: Some(f64::NAN),
            priority: ThreadPriority::RealTime.into(),
        };
        let kept = of_agent(stated.clone(), "a1");
        let texts = [
            &kept.version,
            &kept.host,
            &kept.kernel,
            &kept.boot_id,
            &kept.cpu_model,
        ];
        for text in texts {
            assert!(
                text.starts_with("[31mé") && text.len() <= TEXT_BYTES_MAX,
                "{text:?}"
            );
        }
        assert_eq!((kept.role(), &*kept.name), (EnvironmentRole::Agent, "a1"));
        assert_eq!((kept.cores, kept.cpu_quota_cores), (None, None));
        assert_eq!(kept.priority(), ThreadPriority::RealTime);
        for quota in [0.0, -1.0, f64::INFINITY] {
            let stated = Environment {
                cpu_quota_cores: Some(quota),
                ..stated.clone()
            };
            assert_eq!(of_agent(stated, "a1").cpu_quota_cores, None);
        }
    }
}
