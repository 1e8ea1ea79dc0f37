//! Where this agent runs, as its final report has it.

use metronome_os::{cgroup, cores, host};
use metronome_proto::v1::{Environment, ThreadPriority};

/// This process, whose pacing threads had `priority`. The server sets role and name.
pub(super) fn of_this_process(priority: ThreadPriority) -> Environment {
    Environment {
        version: env!("CARGO_PKG_VERSION").into(),
        host: host::name(),
        kernel: host::kernel_release(),
        boot_id: host::boot_id(),
        cores: cores::allowed(),
        cpu_model: host::cpu_model(),
        cpu_quota_cores: cgroup::cpu_limits().quota_cores,
        priority: priority.into(),
        ..Environment::default()
    }
}
