"""Facts of this host that a figure depends on."""

import datetime
import os
import pathlib
import platform


def facts():
    cpuinfo = pathlib.Path("/proc/cpuinfo").read_text()
    models = [line.split(":", 1)[1].strip() for line in cpuinfo.splitlines() if line.startswith("model name")]
    governor = pathlib.Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    return {
        "when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "kernel": platform.release(),
        "cores": str(len(os.sched_getaffinity(0))),
        "processor": models[0] if models else platform.machine(),
        "virtualised": "yes" if " hypervisor" in cpuinfo else "not reported",
        "governor": governor.read_text().strip() if governor.exists() else "none",
        "load average before": " ".join(f"{load:.2f}" for load in os.getloadavg()),
    }
