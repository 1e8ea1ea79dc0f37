//! Samples whose packets ask for replies.

use std::{num::NonZeroU32, ops::Range};

use metronome_proto::{plan::Group, profile::Profile, v1};

use super::{Sample, plan, times};

impl Sample {
    /// [`Sample::of`] where every so-many-th packet asks for a reply.
    pub(in crate::verdict) fn echoing(agents: u32, clients_each: u32, echo_every: u32) -> Self {
        let clients = agents * clients_each;
        let mut plan = plan(&[(Profile::constant(1_000_000), clients)]);
        plan.groups[0].echo_every = NonZeroU32::new(echo_every);
        Self::of_plan(agents, plan)
    }

    /// Each agent has the round trips that its clients have, 10 µs each.
    pub(in crate::verdict) fn retime_replies(&mut self) {
        for agent in 0..self.agents.len() {
            let of = &self.agents[agent];
            let of_group = |(clients, group): (Range<u32>, &Group)| {
                group.echo_every?;
                let records = of.records().filter(|of| clients.contains(&of.client));
                let count = records.filter_map(|of| of.round_trips).sum();
                let buckets = times(count).latency.to_buckets();
                Some(v1::RoundTrips {
                    group: group.name.clone(),
                    from_due: Some(buckets.clone()),
                    from_write: Some(buckets),
                })
            };
            let round_trips: Vec<_> = self.plan.clients_of_groups().filter_map(of_group).collect();
            self.last_report(agent, |finished| finished.round_trips = round_trips);
        }
    }

    /// The workers dropped so many replies of a client, none of them in the warm-up.
    pub(in crate::verdict) fn drop_replies(&mut self, client: u32, dropped: u64) {
        self.counted(client, |counted| {
            counted.counts.replies_dropped = Some(dropped);
        });
        self.reported(client, |reported| {
            reported.round_trips = reported.round_trips.map(|of| of - dropped);
            let counts = reported.counts.as_mut().expect("the sample has counts");
            counts.replies_read = counts.replies_read.map(|of| of - dropped);
        });
        self.retime_replies();
    }
}
