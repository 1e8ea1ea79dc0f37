//! Every shape at ordinary and extreme values, as another program computes it:
//! tests/loads/reference.py has exact fractions, a ChaCha8 of its own, and the logarithm of its
//! host.

use serde_json::Value;

use super::*;

fn number(of: &Value, key: &str) -> u64 {
    of[key].as_u64().unwrap_or_else(|| panic!("{key} of {of}"))
}

fn profile(of: &Value) -> Profile {
    let rate_millihertz = || number(of, "rate_millihertz");
    match of["shape"].as_str().unwrap() {
        "constant" => Profile::constant(rate_millihertz()),
        "poisson" => Profile::Poisson {
            rate_millihertz: rate_millihertz(),
        },
        "burst" => Profile::Burst {
            packets: number(of, "packets") as u32,
            every_ns: number(of, "every_ns"),
        },
        "ramp" => Profile::Ramp {
            from_millihertz: number(of, "from_millihertz"),
            to_millihertz: number(of, "to_millihertz"),
        },
        "steps" => {
            let steps = of["steps"].as_array().unwrap().iter().map(|step| Step {
                rate_millihertz: number(step, "rate_millihertz"),
                lasts_ns: step["duration_ns"].as_u64().unwrap_or(0),
            });
            Profile::Steps(Steps::new(&steps.collect::<Vec<_>>()).unwrap())
        }
        "on_off" => Profile::OnOff {
            rate_millihertz: rate_millihertz(),
            on_ns: number(of, "on_ns"),
            off_ns: number(of, "off_ns"),
        },
        shape => panic!("{shape} is no shape of a vector"),
    }
}

fn due_times(of: &Value) -> impl Iterator<Item = (u64, u64)> {
    let pairs = of["due_ns"].as_array().unwrap().iter();
    pairs.map(|pair| (pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap()))
}

#[test]
fn every_shape_has_the_due_times_of_an_independent_program_to_the_nanosecond() {
    let text = include_str!("../../../tests/loads/vectors.json");
    let vectors: Vec<Value> = serde_json::from_str(text).unwrap();
    let start_ns = 1_000_000_007;
    let mut compared = 0;
    for vector in &vectors {
        let load = Load {
            profile: profile(&vector["profile"]),
            duration: Duration::from_nanos(number(vector, "duration_ns")),
            batch: number(vector, "batch") as u32,
            seed: number(vector, "seed"),
        };
        let client = number(vector, "client") as u32;
        let schedule = load.schedule(start_ns, client).unwrap();
        let packets = number(vector, "packets");
        assert!(
            schedule.packets().is_none_or(|mine| mine == packets),
            "{load:?}"
        );
        let mut cursor = schedule.first();
        for (place, due_ns) in due_times(vector) {
            if schedule.packets().is_some() {
                cursor = schedule.resume(place, 0);
            }
            while cursor.place() < place {
                cursor.advance(&schedule);
            }
            assert_eq!(cursor.due_ns(), start_ns + due_ns, "{place} of {load:?}");
            assert!(!cursor.is_over(&schedule), "{place} of {load:?}");
            compared += 1;
        }
        cursor.advance(&schedule);
        assert_eq!(cursor.place(), packets);
        assert!(cursor.is_over(&schedule), "{load:?}");
    }
    assert!(compared > 16 * vectors.len());
}
