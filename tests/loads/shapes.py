"""The loads that tests/loads/check makes: of each shape a modest one, its flags, and what a picture shows of it."""

import dataclasses

from loads.reference import S

MS = S // 1000
SEED = 42


@dataclasses.dataclass(frozen=True)
class Shape:
    name: str
    # The flags of `metronome-agent run` and of `benchctl start`.
    flags: tuple[str, ...]
    clients: int
    profile: dict
    duration_ns: int = 3 * S

    def load(self):
        return {"profile": self.profile, "duration_ns": self.duration_ns, "batch": 1, "seed": SEED}

    def command(self):
        """The flags of this load, complete."""
        seed = ("--seed", str(SEED)) if self.name == "poisson" else ()
        return ("--clients", str(self.clients), *self.flags, "--duration", f"{self.duration_ns // MS}ms", *seed)


def step(hz, **lasts):
    return {"rate_millihertz": hz * 1000, **lasts}


ALL = (
    Shape("constant", ("--rate", "200"), 10, {"shape": "constant", "rate_millihertz": 200_000}),
    # 80,000 gaps: enough to compare them with the law.
    Shape("poisson", ("--rate", "200", "--arrivals", "poisson"), 100, {"shape": "poisson", "rate_millihertz": 200_000}, 4 * S),
    Shape("burst", ("--burst", "50", "--every", "100ms"), 4, {"shape": "burst", "packets": 50, "every_ns": 100 * MS}),
    Shape("ramp", ("--rate", "0..1k"), 4, {"shape": "ramp", "from_millihertz": 0, "to_millihertz": 1_000_000}),
    Shape(
        "steps",
        ("--rate", "100:1s,500:1s,200"),
        4,
        {"shape": "steps", "steps": [step(100, duration_ns=S), step(500, duration_ns=S), step(200)]},
    ),
    Shape(
        "on-off",
        ("--rate", "500", "--on", "200ms", "--off", "300ms"),
        4,
        {"shape": "on_off", "rate_millihertz": 500_000, "on_ns": 200 * MS, "off_ns": 300 * MS},
    ),
)


def shorter(shape):
    """With a third of the clients."""
    return dataclasses.replace(shape, clients=max(shape.clients // 3, 1))
