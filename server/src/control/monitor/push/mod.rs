//! Metrics over OTLP: the same families as `/metrics`, sent to a collector every minute.
//!
//! `OTEL_METRIC_EXPORT_INTERVAL` (ms) sets how often. What a collector does not take is not sent
//! again: counters are cumulative, so the next report contains it.

mod otlp;

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use metronome_telemetry::{
    self as telemetry, Variables,
    collector::{Collector, Signal},
    sanitise,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::metrics_service_client::MetricsServiceClient, resource::v1::Resource,
};
use tokio::{
    task::JoinHandle,
    time::{self, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, codec::CompressionEncoding, transport::Channel};

use self::otlp::{Times, request};
use super::readings::Readings;
use crate::{metrics::Family, wall_clock};

const EVERY_MS_DEFAULT: u64 = 60_000;
/// More often would load the ledger for nothing; a day at most.
const EVERY_MS: RangeInclusive<u64> = 500..=86_400_000;

/// For the last report, when the server ends.
const LAST_MAX: Duration = Duration::from_millis(300);

/// Sends until `closing`, then once more; the task ends when that is done or has taken too long.
///
/// `None` when no variable asks for it.
pub(crate) fn start(readings: Arc<Readings>, closing: CancellationToken) -> Option<JoinHandle<()>> {
    let variables = Variables::of_process();
    let collector = Collector::from_variables(Signal::Metrics, &variables);
    let opened =
        collector.and_then(|collector| collector.map(|it| Ok((it.channel()?, it))).transpose());
    let (channel, collector) = match opened {
        Ok(opened) => opened?,
        Err(sentence) => {
            tracing::warn!("metrics are not sent: {sentence}");
            return None;
        }
    };
    let pusher = Pusher {
        readings,
        collector,
        channel,
        resource: resource(&variables),
        every: Duration::from_millis(variables.number(
            "OTEL_METRIC_EXPORT_INTERVAL",
            EVERY_MS_DEFAULT,
            EVERY_MS,
        )),
    };
    variables.report();
    Some(tokio::spawn(pusher.run(closing)))
}

fn resource(variables: &Variables<'_>) -> Resource {
    let resource = telemetry::resource("metronome-server", variables);
    let attributes =
        opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema::from(
            &resource,
        );
    Resource {
        attributes: attributes.attributes.0,
        ..Resource::default()
    }
}

struct Pusher {
    readings: Arc<Readings>,
    collector: Collector,
    channel: Channel,
    resource: Resource,
    every: Duration,
}

impl Pusher {
    async fn run(self, closing: CancellationToken) {
        let mut beat = time::interval(self.every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut failed = false;
        loop {
            tokio::select! {
                _ = beat.tick() => {
                    let delivered = tokio::select! {
                        delivered = self.report() => delivered,
                        // Only when the server has drained.
                        () = closing.cancelled() => break,
                    };
                    // A collector that stays away is worth one line, not one a minute.
                    if let Err(sentence) = &delivered && !failed {
                        let endpoint = &self.collector.endpoint;
                        tracing::warn!(
                            "metrics do not reach the collector at {endpoint}: {sentence}"
                        );
                    }
                    failed = delivered.is_err();
                }
                () = closing.cancelled() => break,
            }
        }
        let _ = time::timeout(LAST_MAX, async {
            self.send(self.readings.read().await, LAST_MAX).await
        })
        .await;
    }

    async fn report(&self) -> Result<(), String> {
        self.send(self.readings.read().await, self.collector.timeout)
            .await
    }

    async fn send(&self, families: Option<Vec<Family>>, limit: Duration) -> Result<(), String> {
        let families = families.ok_or("the data plane does not answer")?;
        let times = Times {
            began_unix_ns: self.readings.began_unix_ns(),
            read_unix_ns: wall_clock::unix_ns(),
        };
        let mut call = Request::new(request(self.resource.clone(), families, times));
        *call.metadata_mut() = self.collector.headers.clone();
        let mut client = MetricsServiceClient::new(self.channel.clone());
        if self.collector.gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        match time::timeout(limit, client.export(call)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(status)) => Err(sanitise::sentence(status.message())),
            Err(_) => Err(format!("no answer within {limit:?}")),
        }
    }
}
