//! Which traces are sent, from `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`.

use opentelemetry_sdk::trace::Sampler;

use crate::variables::Variables;

const SAMPLER: &str = "OTEL_TRACES_SAMPLER";
const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";

/// What decides where no parent has decided.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Root {
    Always,
    Never,
    Ratio,
}

/// The names of the specification, what decides for a root, and whether a parent's decision holds.
const SAMPLERS: [(&str, (Root, bool)); 6] = [
    ("always_on", (Root::Always, false)),
    ("always_off", (Root::Never, false)),
    ("traceidratio", (Root::Ratio, false)),
    ("parentbased_always_on", (Root::Always, true)),
    ("parentbased_always_off", (Root::Never, true)),
    ("parentbased_traceidratio", (Root::Ratio, true)),
];

/// The sampler that the variables ask for; `parentbased_always_on` is the default.
pub(crate) fn sampler(variables: &Variables<'_>) -> Sampler {
    let (root, follows_parent) = variables.word(SAMPLER, &SAMPLERS, (Root::Always, true));
    let root = match root {
        Root::Always => Sampler::AlwaysOn,
        Root::Never => Sampler::AlwaysOff,
        Root::Ratio => Sampler::TraceIdRatioBased(variables.number(ARGUMENT, 1.0, 0.0..=1.0)),
    };
    if follows_parent {
        Sampler::ParentBased(Box::new(root))
    } else {
        root
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &'static str, argument: &'static str, sampler_is: &str, ignored: &[&str]) {
        let read = |variable: &str| match variable {
            SAMPLER => Some(name.to_owned()),
            ARGUMENT => Some(argument.to_owned()),
            _ => None,
        };
        let variables = Variables::new(&read);
        let made = format!("{:?}", sampler(&variables));
        assert_eq!(made, sampler_is);
        assert_eq!(variables.ignored().len(), ignored.len());
        for (sentence, part) in variables.ignored().iter().zip(ignored) {
            assert!(sentence.contains(part), "{sentence}");
        }
    }

    #[test]
    fn a_sampler_of_the_specification_is_taken_and_nonsense_is_ignored_with_the_allowed_ones() {
        check("", "", "ParentBased(AlwaysOn)", &[]);
        check(" ALWAYS_OFF ", "", "AlwaysOff", &[]);
        check("traceidratio", "0.25", "TraceIdRatioBased(0.25)", &[]);
        for nonsense in ["2", "-1", "NaN", "much"] {
            check(
                "parentbased_traceidratio",
                nonsense,
                "ParentBased(TraceIdRatioBased(1.0))",
                &["OTEL_TRACES_SAMPLER_ARG is"],
            );
        }
        let allowed = "always_on, always_off, traceidratio, parentbased_always_on, \
                       parentbased_always_off, parentbased_traceidratio";
        for nonsense in ["sometimes", "jaeger_remote"] {
            check(nonsense, "1", "ParentBased(AlwaysOn)", &[allowed]);
        }
    }
}
