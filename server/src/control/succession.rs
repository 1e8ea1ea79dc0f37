//! Being the successor: everything of the old server is received and checked, then it is asked to
//! go.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::task;

use crate::{
    control::{
        adoption::adopt,
        estate::{Estate, Revived},
        master_client::MasterClient,
        shared::Shared,
    },
    ledger::Dimensions,
    upgrade::Predecessor,
};

/// All that the old server had, ready to go on.
pub(super) struct Succession {
    predecessor: Predecessor,
    estate: Estate,
    runs: Vec<Revived>,
}

impl Succession {
    /// Says that this process is healthy, and takes what then comes. Nothing is touched yet: when
    /// this fails the old server is told why and goes on.
    pub(super) async fn receive(
        predecessor: Predecessor,
        master_client: &MasterClient,
        dimensions: Dimensions,
    ) -> anyhow::Result<Self> {
        let predecessor = Arc::new(predecessor);
        let taken = Self::take(&predecessor, master_client, dimensions).await;
        if let Err(error) = &taken {
            predecessor.refuse(&format!("{error:#}"));
        }
        let (estate, runs) = taken?;
        let predecessor = Arc::into_inner(predecessor)
            .context("the channel to the old server is still in use")?;
        Ok(Self {
            predecessor,
            estate,
            runs,
        })
    }

    async fn take(
        predecessor: &Arc<Predecessor>,
        master_client: &MasterClient,
        dimensions: Dimensions,
    ) -> anyhow::Result<(Estate, Vec<Revived>)> {
        master_client
            .ready()
            .await
            .context("the workers did not come up")?;
        let channel = Arc::clone(predecessor);
        let receiving = task::spawn_blocking(move || {
            channel.say_healthy()?;
            channel.estate(dimensions)
        });
        let received = receiving
            .await
            .context("the old server's state could not be received")??;
        let mut estate = Estate::decode(&received.bytes).map_err(anyhow::Error::msg)?;
        let revived = std::mem::take(&mut estate.runs)
            .into_iter()
            .map(super::estate::Legacy::revive);
        let runs = revived
            .collect::<Result<_, _>>()
            .map_err(anyhow::Error::msg)?;
        let master = std::mem::take(&mut estate.master);
        master_client
            .inherit(master, received.sockets)
            .await
            .map_err(anyhow::Error::msg)?;
        Ok((estate, runs))
    }

    /// When the first server was started: label and CLOCK_MONOTONIC.
    pub(super) fn started(&self) -> (u64, u64) {
        (self.estate.started_unix_ms, self.estate.started_ns)
    }

    /// Asks the old server to go, and goes on in its place. Nothing may fail after this.
    pub(super) async fn take_over(mut self, shared: &Arc<Shared>) -> anyhow::Result<()> {
        for (id, run) in self.estate.unsaved() {
            shared.runs.history.keep_unstored(id, run);
        }
        shared.counters.restore(self.estate.tally);
        let predecessor = self.predecessor;
        task::spawn_blocking(move || predecessor.take_over())
            .await
            .context("the old server could not be asked")??;
        shared.master_client.begin();
        shared.runs.history.set_last(true);
        adopt(shared, self.runs);
        Ok(())
    }
}
