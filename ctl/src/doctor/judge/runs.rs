//! Findings about the real runs: whether the load was held, what one pacing thread holds, and what
//! else used the cores meanwhile.

use metronome_proto::{
    quantity::{count, decimal, fixed, hertz, time},
    threshold::quantile_name,
    v1::ReasonCode,
};

use super::super::{
    GoingOn, Measured,
    capacity::{Capacity, Held, PRIORITY_LOST_S},
    finding::Finding,
    load::Load,
    shares::Shares,
    trial::{End, Trial},
};
use crate::exit::Failure;

/// More than this in cores is other work, and not what the runs take besides their pacing thread
/// and workers.
const OTHER_CORES_MAX: f64 = 0.4;
/// More than this of all cores' time is worth a warning.
const STOLEN_MAX: f64 = 0.01;
/// A thread that takes this of a core, or more, has no time left.
const FULL_CORES: f64 = 0.9;

/// The cure where others measure.
const AGAIN: &str = "give the command again when no run is going on; `benchctl runs` lists them";

/// No run could be made: nothing is said about the load.
pub(crate) fn not_started(failure: &Failure) -> Finding {
    Finding::problem(
        "load",
        format!(
            "not measured, no run could be made here: {}",
            failure.sentence
        ),
        failure.remedy.as_str(),
    )
}

/// A run of the user's is going on, whose figures the measurement would spoil.
pub(crate) fn not_disturbing(GoingOn { server, runs }: &GoingOn) -> Finding {
    Finding::warning(
        "load",
        format!(
            "not measured: it would disturb what the server at {server} measures ({} going on)",
            number_of(*runs, "run")
        ),
        AGAIN,
    )
}

/// One has begun during the search, which was then ended.
fn has_begun(GoingOn { server, runs }: &GoingOn) -> Finding {
    Finding::warning(
        "other runs",
        format!(
            "the search was ended, since the server at {server} has begun to measure ({} going \
             on); the last run here and that may have disturbed each other",
            number_of(*runs, "run")
        ),
        AGAIN,
    )
}

/// Judges what the runs have shown.
pub(crate) fn runs(measured: &Measured, load: Load) -> Vec<Finding> {
    let mut findings = vec![of_load(measured, load)];
    let shares = measured.shares;
    if let Some(capacity) = &measured.capacity {
        findings.push(of_capacity(capacity, load, shares));
    }
    findings.extend(measured.begun.as_ref().map(has_begun));
    findings.extend(shares.map(stolen));
    findings.extend(shares.and_then(others));
    findings
}

/// The load in a few words: `10 × 10,000 Hz`.
pub(crate) fn in_words(load: Load) -> String {
    format!(
        "{} × {} Hz",
        count(load.clients.into()),
        hertz(load.rate_hz)
    )
}

/// The generator's figures: `p99 of lateness 50.1 µs, pacing thread 0.74 and busiest worker 0.31 of
/// a core`. Empty where none is known.
pub(crate) fn figures(trial: &Trial) -> String {
    let lateness = trial
        .lateness_p99_ns
        .map(|ns| format!("p99 of lateness {}", time(ns)))
        .or_else(|| {
            let p50 = trial.lateness_p50_ns?;
            Some(format!("p50 of lateness {}", time(p50)))
        });
    let cpu = match (trial.agent_cores, trial.worker_cores) {
        (Some(agent), Some(worker)) => Some(format!(
            "pacing thread {} and busiest worker {} of a core",
            fixed(agent, 2),
            fixed(worker, 2)
        )),
        (Some(agent), None) => Some(format!("pacing thread {} of a core", fixed(agent, 2))),
        (None, Some(worker)) => Some(format!("busiest worker {} of a core", fixed(worker, 2))),
        (None, None) => None,
    };
    let parts: Vec<String> = lateness.into_iter().chain(cpu).collect();
    parts.join(", ")
}

fn of_load(measured: &Measured, load: Load) -> Finding {
    let trial = &measured.trial;
    let run = format!(
        "{} for {} s, server on this host too{}",
        in_words(load),
        decimal(trial.seconds, 3),
        other_runs(measured)
    );
    let with_figures = |end: &str| match figures(trial) {
        figures if figures.is_empty() => format!("{end}: {run}"),
        figures => format!("{end}: {run}; {figures}"),
    };
    let because = |end: &str| match trial.grounds.first() {
        Some(ground) => format!(
            "{}; {}: {}",
            with_figures(end),
            ground.code,
            ground.sentence
        ),
        None => with_figures(end),
    };
    let cure = cure(measured);
    match trial.end {
        End::Held => match trial.valid_to_ppm {
            None => Finding::fine("load", with_figures("held")),
            Some(ppm) => {
                let end = format!("held, and valid only to {}", quantile_name(ppm));
                Finding::warning("load", with_figures(&end), cure)
            }
        },
        End::NotJudged => Finding::warning("load", because("valid, and not judged"), cure),
        End::NotHeld => Finding::problem("load", because("not held"), cure),
        End::Partial => Finding::problem("load", because("partial"), cure),
        End::Invalid => Finding::problem("load", because("the run was invalid"), cure),
        End::Failed => Finding::problem("load", because("the run failed"), cure),
    }
}

/// That other runs of the load were held, where the worst was not: `, held in 1 of 2 runs`.
pub(crate) fn other_runs(measured: &Measured) -> String {
    let Measured {
        runs, runs_held, ..
    } = *measured;
    match runs_held {
        0 => String::new(),
        held if held == runs => String::new(),
        held => format!(", held in {held} of {runs} runs"),
    }
}

/// The way out of the run's own reason, after what the measurement itself shows to be in the way.
fn cure(measured: &Measured) -> String {
    let trial = &measured.trial;
    let is_full = |cores: Option<f64>| cores.is_some_and(|cores| cores >= FULL_CORES);
    let shares = measured.shares.unwrap_or_default();
    let is_busy = shares
        .other_cores
        .is_some_and(|cores| cores > OTHER_CORES_MAX);
    let shown = [
        (is_busy, "end the other work on this host"),
        (
            shares.stolen > STOLEN_MAX,
            "use a host whose cores are not shared",
        ),
        (
            is_full(trial.agent_cores),
            "the pacing thread has no time left: use --threads or several agents",
        ),
        (
            is_full(trial.worker_cores),
            "the worker has no time left: put the server on another host",
        ),
    ];
    let shown = shown.into_iter().filter(|(is_so, _)| *is_so);
    let shown = shown.map(|(_, cure)| cure.to_owned());
    let of_run = trial.grounds.first().and_then(|of| of.remedy.clone());
    let mut cures: Vec<String> = shown.chain(of_run).collect();
    if cures.is_empty() && trial.is_held() {
        cures.push(ReasonCode::Lateness.remedy().into());
    }
    if cures.is_empty() {
        cures.push("lower --clients or --rate, or see docs/tuning.md".into());
    }
    cures.join("; ")
}

fn of_capacity(capacity: &Capacity, load: Load, shares: Option<Shares>) -> Finding {
    let busy = match shares.and_then(|shares| shares.other_cores) {
        Some(cores) if cores > OTHER_CORES_MAX => "; the host was busy with other work",
        _ if shares.is_some_and(|shares| shares.stolen > STOLEN_MAX) => {
            "; other machines took time from this one"
        }
        _ => "",
    };
    let refused = capacity.refused.as_ref();
    let held = capacity.held.as_ref();
    let observed = match (held, refused) {
        (Some(held), Some(refused)) => format!(
            "{}; {} did not: {}",
            held_in_words(held, load),
            count(refused.clients.into()),
            refused.codes.join(", ")
        ),
        (Some(held), None) if capacity.is_at_most => format!(
            "{}; it is the most that a run may have here",
            held_in_words(held, load)
        ),
        (Some(held), None) => format!("{}; more was not tried", held_in_words(held, load)),
        (None, Some(refused)) => format!(
            "no number of clients was held in two runs; {} did not: {}",
            count(refused.clients.into()),
            refused.codes.join(", ")
        ),
        (None, None) => "no number of clients was held in two runs in the time there was".into(),
    };
    let is_brief = held.is_some_and(Held::is_brief);
    let brief = match is_brief {
        true => format!(
            "; none of its runs was longer than the {} s after which a busy pacing thread loses \
             real-time priority",
            decimal(PRIORITY_LOST_S, 3)
        ),
        false => String::new(),
    };
    let observed = observed + &brief + busy;
    let is_full = held.is_some_and(|held| held.agent_cores.is_some_and(|it| it >= FULL_CORES));
    let enough = held.filter(|held| held.clients >= load.clients);
    let cure = match enough {
        Some(held) if is_brief => format!(
            "measure it for longer: `benchctl doctor --quick --clients {} --rate {}`",
            held.clients, load.rate_hz
        ),
        Some(_) if !busy.is_empty() => {
            "end what else runs here, or use dedicated cores, and measure again".into()
        }
        Some(_) if !is_full => return Finding::fine("capacity", observed),
        _ => "use more pacing threads (--threads) while there are idle cores, several agents, or \
              another host for the server; or lower --clients or --rate"
            .into(),
    };
    Finding::warning("capacity", observed, cure)
}

fn held_in_words(held: &Held, load: Load) -> String {
    let seconds = |seconds: f64| format!("for {} s", decimal(seconds, 3));
    let again = match (held.more_once, &held.seconds[..]) {
        (Some(more), _) => format!(
            ", and {} {}",
            count(more.clients.into()),
            seconds(more.seconds)
        ),
        (None, [longest, other]) if longest == other => ", twice".into(),
        (None, [_, others @ ..]) => others
            .iter()
            .map(|other| format!(", and {} in another run", seconds(*other)))
            .collect(),
        (None, []) => String::new(),
    };
    let longest = held.longest_s().map_or_else(String::new, seconds);
    let agent = held.agent_cores.map_or_else(String::new, |cores| {
        let spare = match cores >= FULL_CORES {
            true => ", no time to spare",
            false => "",
        };
        format!(" (pacing thread {} of a core{spare})", fixed(cores, 2))
    });
    format!(
        "{} at {} Hz held {longest}{again}, in one pacing thread with the server on this \
         host{agent}",
        number_of(held.clients, "client"),
        hertz(load.rate_hz)
    )
}

fn stolen(shares: Shares) -> Finding {
    let observed = format!(
        "{} % of the time went to other machines",
        fixed(shares.stolen * 100.0, 1)
    );
    let cure = "other virtual machines take this one's time: use dedicated cores or another host";
    match shares.stolen > STOLEN_MAX {
        true => Finding::warning("stolen time", observed, cure),
        false => Finding::fine("stolen time", observed),
    }
}

fn others(shares: Shares) -> Option<Finding> {
    let cores = shares.other_cores?;
    let observed = format!("{} cores in use beside the runs", fixed(cores, 2));
    Some(match cores > OTHER_CORES_MAX {
        true => Finding::warning(
            "other work",
            observed,
            "`top` shows what else runs; end it before you measure",
        ),
        false => Finding::fine("other work", observed),
    })
}

fn number_of(number: u32, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {thing}{plural}", count(number.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::doctor::{
        capacity::{Once, Refused},
        finding::Level,
        trial::tests,
    };

    const LOAD: Load = Load {
        clients: 10,
        rate_hz: 10_000.0,
    };

    fn measured(trial: Trial) -> Measured {
        let runs_held = u32::from(trial.is_held());
        Measured {
            trial,
            runs: 1,
            runs_held,
            capacity: Some(Capacity {
                held: Some(Held {
                    clients: 36,
                    seconds: vec![2.5, 0.7],
                    agent_cores: Some(0.98),
                    more_once: None,
                }),
                refused: Some(Refused {
                    clients: 40,
                    codes: vec!["LATENESS".into()],
                }),
                is_at_most: false,
            }),
            begun: None,
            shares: Some(Shares {
                stolen: 0.0,
                other_cores: Some(0.1),
            }),
        }
    }

    fn found(measured: &Measured, check: &str) -> Finding {
        let findings = runs(measured, LOAD);
        let finding = findings.into_iter().find(|of| of.check == check);
        finding.expect("looked at")
    }

    #[test]
    fn a_load_that_is_held_is_fine_and_has_its_figures() {
        let finding = found(&measured(tests::held()), "load");
        assert_eq!(finding.level, Level::Fine);
        assert_eq!(
            finding.observed,
            "held: 10 × 10,000 Hz for 2 s, server on this host too; p99 of lateness 50.1 µs, \
             pacing thread 0.74 and busiest worker 0.31 of a core"
        );
    }

    #[test]
    fn only_a_run_that_was_invalid_is_called_so_and_its_reason_has_the_cure() {
        for end in [
            End::NotHeld,
            End::NotJudged,
            End::Partial,
            End::Invalid,
            End::Failed,
        ] {
            let finding = found(&measured(tests::refused(10, end, "LATENESS")), "load");
            assert_eq!(finding.observed.contains("invalid"), end == End::Invalid);
            let is_problem = end != End::NotJudged;
            assert_eq!(finding.level == Level::Problem, is_problem, "{end:?}");
            let cure = finding.cure.expect("a way out");
            assert!(cure.contains("more idle CPU"), "{cure}");
        }
    }

    #[test]
    fn a_load_of_which_one_run_was_not_held_is_a_problem_and_the_other_is_mentioned() {
        let measured = Measured {
            runs: 2,
            runs_held: 1,
            ..measured(tests::refused(10, End::Invalid, "LATENESS"))
        };
        let finding = found(&measured, "load");
        assert_eq!(finding.level, Level::Problem);
        let observed = finding.observed;
        assert!(observed.contains("held in 1 of 2 runs"), "{observed}");
    }

    #[test]
    fn a_run_that_is_not_valid_to_the_end_is_warned_about() {
        let trial = Trial {
            valid_to_ppm: Some(900_000),
            ..tests::held()
        };
        let finding = found(&measured(trial), "load");
        assert_eq!(finding.level, Level::Warning);
        assert!(
            finding.observed.starts_with("held, and valid only to p90"),
            "{finding:?}"
        );
    }

    #[test]
    fn the_capacity_is_what_was_measured() {
        let observed = found(&measured(tests::held()), "capacity").observed;
        assert_eq!(
            observed,
            "36 clients at 10,000 Hz held for 2.5 s, and for 0.7 s in another run, in one pacing \
             thread with the server on this host (pacing thread 0.98 of a core, no time to spare); \
             40 did not: LATENESS"
        );
    }

    #[test]
    fn each_run_behind_the_capacity_has_its_own_seconds() {
        let words = |seconds: &[f64], more_once| {
            let held = Held {
                clients: 36,
                seconds: seconds.to_vec(),
                agent_cores: None,
                more_once,
            };
            let words = held_in_words(&held, LOAD);
            let end = words.strip_prefix("36 clients at 10,000 Hz held ");
            let end = end
                .and_then(|end| end.split_once(", in one"))
                .expect("its form");
            end.0.to_owned()
        };
        let once = Once {
            clients: 72,
            seconds: 0.7,
        };
        assert_eq!(words(&[0.7, 0.7], None), "for 0.7 s, twice");
        assert_eq!(
            words(&[2.5, 2.0], None),
            "for 2.5 s, and for 2 s in another run"
        );
        assert_eq!(words(&[2.0], Some(once)), "for 2 s, and 72 for 0.7 s");
    }

    #[test]
    fn a_capacity_that_only_brief_runs_bear_out_is_warned_about() {
        let mut measured = measured(tests::held());
        for (seconds, is_warned) in [(vec![0.7, 0.7], true), (vec![1.1, 0.7], false)] {
            let capacity = measured.capacity.as_mut().expect("measured");
            let held = capacity.held.as_mut().expect("held");
            (held.seconds, held.agent_cores) = (seconds, Some(0.5));
            let finding = found(&measured, "capacity");
            assert_eq!(finding.level == Level::Warning, is_warned, "{finding:?}");
            assert_eq!(
                finding.observed.contains("loses real-time priority"),
                is_warned
            );
        }
    }

    #[test]
    fn a_busy_host_is_named_where_its_figure_stands() {
        let mut measured = measured(tests::held());
        for shares in [
            Shares {
                stolen: 0.2,
                other_cores: None,
            },
            Shares {
                stolen: 0.0,
                other_cores: Some(1.5),
            },
        ] {
            measured.shares = Some(shares);
            let observed = found(&measured, "capacity").observed;
            let is_named = observed.ends_with("busy with other work")
                || observed.ends_with("took time from this one");
            assert!(is_named, "{observed}");
        }
    }

    #[test]
    fn a_run_of_others_that_began_meanwhile_is_named() {
        let begun = GoingOn {
            server: "127.0.0.1:50051".into(),
            runs: 1,
        };
        let measured = Measured {
            begun: Some(begun),
            ..measured(tests::held())
        };
        let finding = found(&measured, "other runs");
        assert_eq!(finding.level, Level::Warning);
        assert!(finding.observed.contains("127.0.0.1:50051"), "{finding:?}");
        let findings = runs(&self::measured(tests::held()), LOAD);
        assert!(findings.iter().all(|of| of.check != "other runs"));
    }

    #[test]
    fn what_was_not_measured_makes_no_finding() {
        let quick = Measured {
            capacity: None,
            shares: None,
            ..measured(tests::held())
        };
        let checks: Vec<_> = runs(&quick, LOAD).iter().map(|of| of.check).collect();
        assert_eq!(checks, ["load"]);
    }

    #[test]
    fn without_a_run_nothing_is_promised() {
        let failure = Failure::new(
            metronome_proto::v1::FailureCode::HostFailed,
            "no server could be started here",
        );
        let finding = not_started(&failure);
        assert_eq!(finding.level, Level::Problem);
        assert!(finding.cure.is_some() && finding.observed.contains("not measured"));
    }

    proptest! {
        #[test]
        fn whatever_was_measured_each_finding_that_is_not_fine_has_a_cure(
            held in prop::option::of((
                1..10_000_u32,
                prop::collection::vec(0.1..3.0_f64, 1..3),
                prop::option::of(0.0..2.0_f64),
            )),
            refused in prop::option::of(1..10_000_u32),
            is_at_most: bool,
            stolen in 0.0..1.0_f64,
            other_cores in prop::option::of(0.0..64.0_f64),
            valid_to_ppm in prop::option::of(0..1_000_000_u32),
        ) {
            let measured = Measured {
                trial: Trial { valid_to_ppm, ..tests::held() },
                runs: 1,
                runs_held: 1,
                capacity: Some(Capacity {
                    held: held.clone().map(|(clients, seconds, agent_cores)| Held {
                        clients,
                        seconds,
                        agent_cores,
                        more_once: None,
                    }),
                    refused: refused.map(|clients| Refused {
                        clients,
                        codes: vec!["LATENESS".into()],
                    }),
                    is_at_most,
                }),
                begun: None,
                shares: Some(Shares { stolen, other_cores }),
            };
            for finding in runs(&measured, LOAD) {
                prop_assert_eq!(finding.level == Level::Fine, finding.cure.is_none());
            }
            let capacity = found(&measured, "capacity");
            let is_busy = stolen > STOLEN_MAX || other_cores.is_some_and(|it| it > OTHER_CORES_MAX);
            let is_enough = held.is_some_and(|(clients, seconds, agent_cores)| {
                clients >= LOAD.clients
                    && seconds.iter().any(|run| *run > PRIORITY_LOST_S)
                    && agent_cores.is_none_or(|cores| cores < FULL_CORES)
                    && !is_busy
            });
            prop_assert_eq!(capacity.level == Level::Fine, is_enough);
        }
    }
}
