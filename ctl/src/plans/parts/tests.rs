//! What the text of a group means, and which part an error is about.

use super::*;

#[track_caller]
fn refused(text: &str, words: &[&str]) {
    let problem = group(text).unwrap_err();
    for word in words {
        assert!(problem.contains(word), "{text}: no {word:?} in {problem}");
    }
}

#[test]
fn a_group_is_its_parts_in_any_order() {
    let parts = group("name=feeds rate=1k:5s,10k  clients=10 agents=a,b batch=8 phase=spread");
    let parts = parts.expect("a group");
    assert_eq!(parts.name.as_deref(), Some("feeds"));
    assert_eq!(parts.clients, Some(10));
    assert_eq!(parts.agents, ["a", "b"]);
    assert_eq!(parts.batch, Some(Batch::Packets(8)));
    assert_eq!(parts.phase, Some(Phase::Spread));
    let steps: Profile = "1k:5s,10k".parse().expect("steps");
    assert_eq!(parts.rate, Some(steps));
    let sized = group("packet-size=200 payload=day.bin echo-every=10").expect("a group");
    assert_eq!(sized.packet_size, PacketSize::new(200));
    assert_eq!(sized.payload, "day.bin".parse().ok());
    assert_eq!(sized.echo_every, Some(10));
    let every = group("burst=50 every=100ms").expect("a burst");
    assert_eq!(every.every, Some(Duration::from_millis(100)));
}

#[test]
fn what_is_no_group_is_refused_by_its_key_and_with_the_way_out() {
    refused("", &["at least one part", "name=sensors"]);
    refused(" \t", &["at least one part"]);
    refused("sensors", &["KEY=VALUE", "name=sensors"]);
    refused("name=a,clients=2,rate=10", &["blanks separate"]);
    refused("name=a, clients=2", &["blanks separate"]);
    refused(
        "colour=red",
        &["\"colour\" is no key", "name, clients, rate"],
    );
    refused("clients=1 clients=2", &["clients", "twice"]);
    refused("clients=ten", &["clients=ten", "1 to 10000"]);
    refused("rate=fast", &["rate=fast", "10k"]);
    refused("rate=", &["rate=", "10k"]);
    refused("rate=5s:1k", &["rate="]);
    refused("rate=1k:-5s,2k", &["rate="]);
    refused("rate=0..0", &["rate", "0"]);
    refused("rate=200k arrivals=poisson", &["rate", "100000"]);
    refused("rate=10 burst=5 every=1s", &["burst", "leave out"]);
    refused("burst=5000 every=1ms", &["every", "overlap"]);
    refused("rate=max batch=200/s", &["batch", "200/s"]);
    refused("phase=new", &["auto, staggered, spread, aligned"]);
    refused(&"x".repeat(100_000), &["KEY=VALUE"]);
    refused("packet-size=31", &["packet-size=31", "32 to 1472"]);
    refused("packet-size=64 packet_size=64", &["packet_size", "twice"]);
    refused(
        "packet=64",
        &["\"packet\" is no key", "packet-size", "echo-every"],
    );
    refused("echo-every=0", &["echo-every=0", "1 to 1000000"]);
    refused("packet-size=64 payload=-", &["payload=-", "standard input"]);
    refused("packet-size=64 payload=", &["payload=", "agent:NAME"]);
    refused("packet-size=64 payload=agent:a/b", &["payload", "slash"]);
    refused("payload=pattern", &["payload", "above 32"]);
}

/// Where no file is to be read.
fn read_nothing(path: &str) -> Result<Vec<u8>, String> {
    panic!("{path} is read")
}

fn plan_of(groups: &[&str]) -> PlanParts {
    PlanParts {
        groups: groups
            .iter()
            .map(|text| group(text).expect("a group"))
            .collect(),
        ..PlanParts::default()
    }
}

#[track_caller]
fn bad(parts: &PlanParts, group: Option<usize>, key: &str, words: &[&str]) {
    let bad = parts.plan(&mut read_nothing).unwrap_err();
    assert_eq!((bad.spot.group, bad.spot.key), (group, key), "{bad:?}");
    for word in words {
        assert!(bad.problem.contains(word), "no {word:?} in {bad:?}");
    }
}

#[test]
fn an_error_of_the_plan_is_about_the_part_that_is_wrong() {
    let two = ["name=a clients=2", "name=b rate=10"];
    assert!(plan_of(&two).plan(&mut read_nothing).is_ok());
    bad(
        &plan_of(&["name=a", "name=a"]),
        Some(1),
        "name",
        &["\"a\"", "two groups"],
    );
    bad(
        &plan_of(&["name=a", "name=B"]),
        Some(1),
        "name",
        &["\"B\"", "a-z"],
    );
    bad(
        &plan_of(&["clients=0"]),
        Some(0),
        "clients",
        &["1 to 10000"],
    );
    let seventeen: Vec<String> = (0..17).map(|one| format!("name=g{one}")).collect();
    let seventeen: Vec<&str> = seventeen.iter().map(String::as_str).collect();
    bad(&plan_of(&seventeen), None, "groups", &["17", "1 to 16"]);
    let many = ["name=a clients=6000 rate=1", "name=b clients=6000 rate=1"];
    bad(&plan_of(&many), None, "groups", &["12000", "10000"]);
    bad(
        &plan_of(&["name=a", "name=b rate=5k arrivals=poisson batch=2"]),
        Some(1),
        "batch",
        &["2 packets a write", "leave"],
    );
    bad(
        &plan_of(&["name=a", "name=b rate=0.01"]),
        Some(1),
        "rate",
        &["no period", "lengthen"],
    );
    bad(
        &plan_of(&["rate=1k:9s,2k:1s,3k"]),
        Some(0),
        "rate",
        &["last rate begins"],
    );
    let warm_up = PlanParts {
        warm_up: Some(Duration::from_secs(10)),
        ..plan_of(&two)
    };
    bad(&warm_up, None, "warm_up", &["10s", "shorten"]);
    bad(
        &plan_of(&["name=a", "name=b packet-size=1472 batch=45"]),
        Some(1),
        "batch",
        &["45 packets of 1472 bytes", "65536", "at most 44"],
    );
    let agents = plan_of(&["agents=A"]);
    bad(&agents, Some(0), "agents", &["\"A\""]);
    bad(
        &plan_of(&["target=nowhere"]),
        Some(0),
        "target",
        &["nowhere"],
    );
}

#[test]
fn every_key_has_its_place_among_the_parts() {
    for key in GROUP_KEYS {
        assert!(GroupParts::default().set(key, "1").is_some(), "{key}");
        let field = format!("groups[0].{}", field_of(key));
        let is_of_profile = field.ends_with("profile");
        let spot = Spot::of_field(&field);
        assert_eq!(spot.key, if is_of_profile { "rate" } else { key });
    }
    for key in PLAN_KEYS {
        let is_of_one_value = PlanParts::default().set(key, "1").is_some();
        let has_parts = [
            "requires",
            "clock_trust",
            "allow",
            "thresholds",
            "default_objectives",
            "groups",
        ];
        assert!(is_of_one_value != has_parts.contains(&key), "{key}");
    }
    assert!(GroupParts::default().set("colour", "1").is_none());
}
