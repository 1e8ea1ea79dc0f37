//! Reads the workers again and again, and publishes what has changed of them.

use std::{sync::Arc, time::Duration};

use tokio::time::{self, MissedTickBehavior};

use super::{publish::Feed, worker_changes::Workers};
use crate::control::master_client::MasterClient;

/// How often.
const READ_EVERY: Duration = Duration::from_millis(500);

/// Follows the workers until the master is gone.
pub(crate) async fn follow_workers(feed: Arc<Feed>, master_client: MasterClient) {
    let mut ticks = time::interval(READ_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut workers = Workers::default();
    loop {
        ticks.tick().await;
        let Some(status) = master_client.read_server().await else {
            return;
        };
        for changed in workers.take(&status.workers) {
            feed.worker_changed(changed);
        }
    }
}
