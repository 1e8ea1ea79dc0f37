// The series of a run as lists that plots draw: pure. Times in µs, shares of a core in percent.

import { TIMES, isKnown, quantile } from "./figures.js";

/** The times of which some point has a distribution. */
export function timesOf(series) {
	return TIMES.filter(([key]) => series.points.some((point) => point[key]));
}

/** The middle of each point, seconds from the start. */
export function middles(points) {
	return points.map((point) => point.from_s + point.span_s / 2);
}

/** One quantile of one time over the points; undefined is not known. */
export function quantiles(points, time, key) {
	return points.map((point) => quantile(point[time], key) ?? null);
}

/** A counter of each point as packets per second. */
export function rates(points, counter) {
	return points.map((point) => {
		const packets = point.counts?.[counter];
		return isKnown(packets) && point.span_s > 0 ? packets / point.span_s : null;
	});
}

/** Packets of one client that the profile has due until `t` seconds after the start. Undefined in a flood. */
function due(profile, t, duration) {
	// A product with null would be 0, which is a figure.
	const isOpen = (of) => Object.entries(of ?? {}).some(([key, value]) => value === null && key !== "duration_s");
	if ([profile, ...(profile?.steps ?? [])].some(isOpen)) return undefined;
	switch (profile?.shape) {
		case "constant": case "poisson": return profile.rate_hz * t;
		case "burst": return profile.every_s > 0 ? (profile.packets / profile.every_s) * t : undefined;
		case "ramp": return profile.from_hz * t + ((profile.to_hz - profile.from_hz) * t * t) / (2 * duration);
		case "on_off": {
			const whole = Math.floor(t / (profile.on_s + profile.off_s));
			return profile.rate_hz * (whole * profile.on_s + Math.min(profile.on_s, t - whole * (profile.on_s + profile.off_s)));
		}
		case "steps": {
			let [left, packets] = [t, 0];
			for (const step of profile.steps) {
				const here = Math.min(left, step.duration_s ?? left);
				packets += step.rate_hz * here;
				left -= here;
			}
			return packets;
		}
		default: return undefined;
	}
}

/** What the plan offers in each point, packets per second of all clients; null where it offers what the path takes. */
export function offered(plan, points) {
	const until = (t) => plan.groups.reduce((sum, group) => sum + group.clients * (due(group.profile, Math.min(Math.max(t, 0), plan.duration_s), plan.duration_s) ?? NaN), 0);
	return points.map((point) => {
		const hz = plan && point.span_s > 0 ? (until(point.from_s + point.span_s) - until(point.from_s)) / point.span_s : NaN;
		return Number.isFinite(hz) ? hz : null;
	});
}

function share(seconds, point) {
	return isKnown(seconds) && point.span_s > 0 ? (100 * seconds) / point.span_s : null;
}

/** The threads of a host that do the work of a run: what paces, what reads. */
const BUSY = { agent: "pacing-", server: "worker-" };

/**
 * Lines of CPU, each `{name, at, values}`: of each process the busiest thread that works for the
 * run, and what was stolen of its host. Processes of one host share what was stolen.
 */
export function cpuLines(series) {
	const lines = [];
	for (const host of series.hosts) {
		const busy = BUSY[host.role];
		const at = middles(host.points);
		const busiest = host.points.map((point) => {
			const threads = point.threads.filter((thread) => busy && thread.name.startsWith(busy));
			return threads.length === 0 ? null : share(Math.max(...threads.map((thread) => thread.cpu_s)), point);
		});
		const name = host.role === "agent" ? `agent ${host.name}, busiest thread` : "server, busiest worker";
		if (busiest.some((value) => value !== null)) lines.push({ name, at, values: busiest });
		const stolen = host.points.map((point) => (point.cores_s > 0 && point.stolen_s !== null ? (100 * point.stolen_s) / point.cores_s : null));
		if (host.role === "server" && stolen.some((value) => value >= 1)) lines.push({ name: "stolen", at, values: stolen });
	}
	return lines;
}

/** The longest time that a point stands for, s: from one to the next, and half as long again. */
function reach(at) {
	const steps = at.slice(1).map((x, index) => x - at[index]);
	return steps.length === 0 ? 1.5 : 1.5 * Math.max(...steps);
}

/** Lines at points of their own, at the points of the longest. Where a line has no point near, it has no value. */
export function aligned(lines) {
	const xs = lines.reduce((longest, line) => ((line.at.at(-1) ?? -1) > (longest.at(-1) ?? -1) ? line.at : longest), []);
	return {
		xs,
		lines: lines.map((line) => {
			let next = 0;
			const near = reach(line.at);
			const values = xs.map((x) => {
				while (next + 1 < line.at.length && Math.abs(line.at[next + 1] - x) <= Math.abs(line.at[next] - x)) next++;
				return line.at.length > 0 && Math.abs(line.at[next] - x) <= near ? line.values[next] : null;
			});
			return { ...line, values };
		}),
	};
}

/** The rows of the heat map: `{xs, rows, time}`. Null where no point has the times of its clients. */
export function heatRows(series) {
	const points = series.points.filter((point) => point.clients);
	if (points.length === 0) return null;
	const { clients, clients_per_row: each, time } = points[0].clients;
	const names = Array.from({ length: Math.ceil(clients / each) }, (_, row) => {
		const [first, last] = [row * each, Math.min((row + 1) * each, clients) - 1];
		return first === last ? `client ${first}` : `clients ${first}–${last}, the slowest`;
	});
	const rows = names.map((name, row) => ({ name, values: series.points.map((point) => point.clients?.p99_us[row] ?? null) }));
	return { xs: series.points.map((point) => point.from_s), rows, time };
}

/** What happened in a run that has ended, in order: `{at_s, text, kind}`; null where the time is not known. */
export function happenings(run) {
	const found = [];
	const add = (at_s, text, kind) => found.push({ at_s, text, kind });
	const elapsed = (text) => (text && run.started_at ? (Date.parse(text) - Date.parse(run.started_at)) / 1e3 : null);
	if (run.started_at) add(0, "started");
	for (const agent of run.agents ?? []) {
		if (agent.failure) add(null, `agent ${agent.agent}: ${agent.failure.sentence}`, "bad");
	}
	for (const receiver of run.receivers ?? []) {
		for (const worker of receiver.workers) {
			if (worker.restarts > 0) add(null, `worker ${worker.worker} was replaced ${worker.restarts} times`, "warn");
		}
	}
	for (const host of run.hosts ?? []) {
		const total = host.total;
		if (total?.timer_late_max_us >= 1000) {
			add(total.timer_late_from_s, `${host.role === "server" ? "server" : `agent ${host.name}`}: a timer came ${(total.timer_late_max_us / 1e3).toFixed(1)} ms late, the worst of the run`, "warn");
		}
	}
	if (run.stopped) add(elapsed(run.ended_at), `stopped by ${String(run.stopped.cause ?? "–").replaceAll("_", " ")}`, "warn");
	if (run.failure) add(elapsed(run.ended_at), run.failure.sentence, "bad");
	if (run.ended_at) add(elapsed(run.ended_at), run.state ?? "ended");
	return found.sort((one, other) => (one.at_s ?? Infinity) - (other.at_s ?? Infinity));
}
