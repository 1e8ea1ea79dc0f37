//! A place in a schedule with its due time, which only moves forward.
//!
//! On a stretch of constant rate due times are sums of integers with the remainder carried on, so
//! they are those of the formula to the nanosecond, however far the cursor has gone. Where a
//! stretch ends, and for every write of a ramp, the formula is asked.

use super::{
    curve::Curve,
    gaps::{DRAWS, Drawn, Gaps},
    places::{Schedule, Shape},
};

/// A place in a schedule. Its state is the place and, for random arrivals, the due time: from these
/// [`Schedule::resume`] makes it again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Cursor {
    place: u64,
    due_ns: u64,
    /// The position among the packets that are due together.
    in_together: u32,
    together: u32,
    /// Nanoseconds from one due time to the next, and what is left of the division, in parts of a
    /// ns.
    step_ns: u64,
    step_remainder: u64,
    remainder: u64,
    parts_per_ns: u64,
    /// From this due time on the stretch is over; 0 where no stretch is constant.
    until_ns: u64,
    /// The draws of random arrivals among which the next one is.
    drawn: Drawn,
}

impl Schedule {
    /// The cursor at the first packet.
    #[must_use]
    pub fn first(&self) -> Cursor {
        match self.shape {
            Shape::Formula { .. } => self.resume(0, 0),
            Shape::Random(gaps) => {
                let first_ns = gaps.gap_ns(0, &gaps.draws_of(0));
                self.resume(0, self.start_ns.saturating_add(first_ns))
            }
        }
    }

    /// The cursor at packet `place`, which may be behind the last one. `due_ns` is when that is
    /// due; it has a meaning for random arrivals alone, where nothing else gives it.
    #[must_use]
    pub fn resume(&self, place: u64, due_ns: u64) -> Cursor {
        match &self.shape {
            Shape::Formula {
                curve, together, ..
            } => at_place(self.start_ns, curve, *together, place),
            Shape::Random(gaps) => Cursor {
                place,
                due_ns,
                in_together: 0,
                together: 1,
                step_ns: 0,
                step_remainder: 0,
                remainder: 0,
                parts_per_ns: 1,
                until_ns: 0,
                drawn: gaps.draws_of(place),
            },
        }
    }
}

impl Cursor {
    /// The number of the packet, from 0.
    #[inline]
    #[must_use]
    pub fn place(&self) -> u64 {
        self.place
    }

    /// When the packet is due, ns. Saturates at the end of the clock.
    #[inline]
    #[must_use]
    pub fn due_ns(&self) -> u64 {
        self.due_ns
    }

    /// Whether it is behind the last packet of the schedule.
    #[inline]
    #[must_use]
    pub fn is_over(&self, schedule: &Schedule) -> bool {
        match &schedule.shape {
            Shape::Formula { packets, .. } => self.place >= packets.get(),
            Shape::Random(_) => self.due_ns >= schedule.over_ns(),
        }
    }

    /// Moves on to the next packet.
    #[inline]
    pub fn advance(&mut self, schedule: &Schedule) {
        self.place += 1;
        self.in_together += 1;
        if self.in_together == self.together {
            self.enter(schedule);
        }
    }

    /// Moves on to the first packet of the next write: at most a batch further, never beyond those
    /// that are due together.
    #[inline]
    pub fn advance_write(&mut self, schedule: &Schedule) {
        let batch = schedule.batch;
        let left = (self.together - self.in_together).min(batch - self.in_together % batch);
        self.place += u64::from(left);
        self.in_together += left;
        if self.in_together == self.together {
            self.enter(schedule);
        }
    }

    /// Moves on to the first packet that is due later than `time_ns`, or that is behind the last
    /// one. By a formula that is one step; random arrivals are gone through one by one, and after
    /// `steps_max` of them it gives up: then the result is `false`, and the cursor is on the way.
    pub fn advance_beyond(&mut self, schedule: &Schedule, time_ns: u64, steps_max: u64) -> bool {
        if let Some(due) = schedule.due_by(time_ns) {
            if due > self.place {
                *self = schedule.resume(due, 0);
            }
            return true;
        }
        let mut steps = 0;
        while self.due_ns <= time_ns && !self.is_over(schedule) {
            if steps == steps_max {
                return false;
            }
            steps += 1;
            self.advance(schedule);
        }
        true
    }

    /// The first of the packets that are due at the next due time.
    #[inline]
    fn enter(&mut self, schedule: &Schedule) {
        self.in_together = 0;
        self.due_ns = self.due_ns.saturating_add(self.step_ns);
        // Both are below the parts of a ns, at most 10^9.
        self.remainder += self.step_remainder;
        if self.remainder >= self.parts_per_ns {
            self.remainder -= self.parts_per_ns;
            self.due_ns = self.due_ns.saturating_add(1);
        }
        if self.due_ns >= self.until_ns {
            self.enter_stretch(schedule);
        }
    }

    /// The same, where the due time is no sum.
    #[cold]
    fn enter_stretch(&mut self, schedule: &Schedule) {
        match &schedule.shape {
            Shape::Formula { .. } => *self = schedule.resume(self.place, 0),
            Shape::Random(gaps) => self.draw(gaps),
        }
    }

    fn draw(&mut self, gaps: &Gaps) {
        if self.place.is_multiple_of(DRAWS as u64) {
            self.drawn = gaps.draws_of(self.place);
        }
        let gap_ns = gaps.gap_ns(self.place, &self.drawn);
        self.due_ns = self.due_ns.saturating_add(gap_ns);
    }
}

fn at_place(start_ns: u64, curve: &Curve, together: u32, place: u64) -> Cursor {
    let in_together = (place % u64::from(together)) as u32;
    let first = place - u64::from(in_together);
    let mut cursor = Cursor {
        place,
        due_ns: 0,
        in_together,
        together,
        step_ns: 0,
        step_remainder: 0,
        remainder: 0,
        parts_per_ns: 1,
        until_ns: 0,
        drawn: [0; DRAWS],
    };
    let offset_ns = match curve.stretch_of(first) {
        // A load that ends with silence: what is not due before it never is.
        Some(stretch) if stretch.parts_per_ns == 0 => u64::MAX,
        Some(stretch) => {
            let (offset_ns, remainder) = curve.time_on(&stretch, first);
            (cursor.step_ns, cursor.step_remainder) = curve.step(together, stretch.parts_per_ns);
            cursor.remainder = remainder;
            cursor.parts_per_ns = stretch.parts_per_ns;
            cursor.until_ns = match stretch.until_ns {
                u64::MAX => u64::MAX,
                until_ns => start_ns.saturating_add(until_ns),
            };
            offset_ns
        }
        None => curve.time_of(first),
    };
    cursor.due_ns = start_ns.saturating_add(offset_ns);
    cursor
}
