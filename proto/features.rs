//! What this version can do, by name, so that peers of different versions refuse what they do not
//! have instead of doing something else.

/// The versions of the agent protocol that this build speaks.
pub const PROTOCOL_VERSION_MIN: u32 = 2;
/// See [`PROTOCOL_VERSION_MIN`].
pub const PROTOCOL_VERSION_MAX: u32 = 2;

/// The features of this build, server and agent alike.
pub const CAPABILITIES: &[&str] = &[
    CONSTANT,
    FLOOD,
    POISSON,
    BURST,
    RAMP,
    STEPS,
    ON_OFF,
    GROUPS,
    WARM_UP,
    PHASE_AUTO,
    PACKET_SIZE,
    PAYLOAD,
    ECHO,
    PROBES,
];

/// Profiles of a constant rate.
pub const CONSTANT: &str = "profile.constant";
/// Profiles of a flood.
pub const FLOOD: &str = "profile.flood";
/// Profiles of random arrivals.
pub const POISSON: &str = "profile.poisson";
/// Profiles of bursts.
pub const BURST: &str = "profile.burst";
/// Profiles of a ramp.
pub const RAMP: &str = "profile.ramp";
/// Profiles of steps.
pub const STEPS: &str = "profile.steps";
/// Profiles that are on and off.
pub const ON_OFF: &str = "profile.on_off";
/// More than one group in a plan.
pub const GROUPS: &str = "groups";
/// A time at the beginning that no distribution has.
pub const WARM_UP: &str = "warm_up";
/// Clients in small groups that are spread over the period.
pub const PHASE_AUTO: &str = "phase.auto";
/// Packets of more than 32 bytes.
pub const PACKET_SIZE: &str = "packet_size";
/// Payloads other than zeros.
pub const PAYLOAD: &str = "payload";
/// Packets that ask for a reply.
pub const ECHO: &str = "echo";
/// Probes of the path and of the clocks, and a start at an instant of the agent's clock.
pub const PROBES: &str = "probes";

/// The first of `required` that is not among `available`. `None` when all are.
#[must_use]
pub fn missing<'a, S: AsRef<str>>(required: &'a [String], available: &[S]) -> Option<&'a str> {
    let is_missing = |name: &&String| !available.iter().any(|have| have.as_ref() == *name);
    required.iter().find(is_missing).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_missing_feature_is_named() {
        let required = |names: &[&str]| names.iter().map(|&name| name.into()).collect::<Vec<_>>();
        assert_eq!(missing(&required(&[]), CAPABILITIES), None);
        assert_eq!(missing(&required(&[FLOOD, CONSTANT]), CAPABILITIES), None);
        assert_eq!(
            missing(&required(&[FLOOD, "warp", "time"]), CAPABILITIES),
            Some("warp")
        );
    }
}
