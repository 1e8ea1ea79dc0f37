// A plan, an outcome and an objective in words, as benchctl writes them.

import { UNKNOWN, count, decimal, isKnown, known, numberOf, percent, quantileName, time, timeShort, word } from "./figures.js";

/** Packets per second as they were asked for: `10 kHz`. */
export function frequency(hz) {
	return known(hz, (value) => {
		if (value >= 1e6 && Number.isInteger(value / 1e5)) return `${decimal(value / 1e6, 3)} MHz`;
		if (value >= 1e3 && Number.isInteger(value / 1e2)) return `${decimal(value / 1e3, 3)} kHz`;
		return `${decimal(value, 3)} Hz`;
	});
}

const span = (s) => timeShort(isKnown(s) ? s * 1e6 : s);

function shape(profile) {
	switch (profile?.shape) {
		case "constant": return frequency(profile.rate_hz);
		case "poisson": return `${frequency(profile.rate_hz)} poisson`;
		case "burst": return `${count(profile.packets)} every ${span(profile.every_s)}`;
		case "ramp": return `${frequency(profile.from_hz)}..${frequency(profile.to_hz)}`;
		case "steps": {
			const highest = Math.max(...profile.steps.map((step) => step.rate_hz));
			return `${numberOf(profile.steps.length, "step")} up to ${frequency(highest)}`;
		}
		case "on_off": return `${frequency(profile.rate_hz)}, on ${span(profile.on_s)}, off ${span(profile.off_s)}`;
		case "flood": return "max";
		default: return UNKNOWN;
	}
}

const endsWithATime = (group) => ["burst", "on_off"].includes(group.profile?.shape);

/** One group in a few words: `10 × 10 kHz × 200 B`. */
export function groupInWords(group) {
	const load = `${count(group.clients)} × ${shape(group.profile)}`;
	if (group.packet_bytes === 32) return load;
	return `${load}${endsWithATime(group) ? "," : ""} × ${count(group.packet_bytes)} B`;
}

/** The plan in a few words: `10 × 10 kHz × 10 s`. */
export function planInWords(plan) {
	if (!plan || plan.groups.length === 0) return UNKNOWN;
	const [group] = plan.groups;
	let what = groupInWords(group);
	if (plan.groups.length > 1) {
		const clients = plan.groups.reduce((sum, of) => sum + of.clients, 0);
		what = `${plan.groups.length} groups, ${numberOf(clients, "client")}`;
	} else if (endsWithATime(group) && group.packet_bytes === 32) {
		what += ",";
	}
	return `${what} × ${span(plan.duration_s)}`;
}

/** What the plan has beside the load, in a few words each. */
export function planDetails(plan) {
	if (!plan) return [];
	const [group, ...more] = plan.groups;
	const details = [];
	if (group && more.length === 0) {
		details.push(`${count(group.packet_bytes)} B`);
		details.push(group.batch === 1 ? "one packet a write" : `${count(group.batch)} packets a write`);
		if (group.echo_every) details.push(group.echo_every === 1 ? "every packet echoed" : `every ${group.echo_every}th packet echoed`);
		if (group.target) details.push(`target ${group.target.address}`);
	}
	if (plan.warm_up_s) details.push(`warm-up ${span(plan.warm_up_s)}`);
	if (plan.threads > 1) details.push(`${plan.threads} pacing threads`);
	return details;
}

/** The labels as benchctl takes them: `suite=nightly`. */
export function labels(run) {
	return Object.entries(run.labels ?? {}).map(([key, value]) => `${key}=${value}`);
}

const FINAL = ["ended", "failed", "aborted"];

/** Whether nothing more happens in the run. */
export function isFinal(run) {
	return FINAL.includes(run.state);
}

/**
 * Outcome and verdict of a run as its badges: [text, class] each, the one that the exit code follows
 * from first. Another run has its state.
 */
export function badges(run) {
	const { verdict, outcome } = run;
	if (run.state !== "ended" || !verdict) {
		const failed = ["failed", "aborted"].includes(run.state);
		return [[known(run.state, word).toUpperCase(), failed ? "bad" : isFinal(run) ? "plain" : "live"]];
	}
	const to = verdict.valid_to ? ` to ${verdict.valid_to}` : "";
	const judged = ["held", "not_held"].includes(outcome?.status);
	if (verdict.status === "valid") {
		if (!judged) return [[`VALID${to}`, "ok"], [word(outcome?.status), "plain"]];
		return [[word(outcome.status).toUpperCase(), outcome.status === "held" ? "ok" : "bad"], [`valid${to}`, "plain"]];
	}
	const other = outcome && (judged || verdict.status === "partial") ? [[word(outcome.status), "plain"]] : [];
	const partial = verdict.status === "partial";
	const first = word(verdict.status).toUpperCase() + (partial && to ? `, valid${to}` : "");
	return [[first, partial ? "warn" : "bad"], ...other];
}

const OPERATORS = { "<=": "≤", ">=": "≥", "==": "=" };

function amount(value, unit, exact) {
	if (!isKnown(value)) return UNKNOWN;
	if (unit === "us") return exact ? timeShort(value) : time(value);
	if (unit === "percent") return percent(value, 4);
	if (unit === "packets_per_s") return `${count(value)} packets/s`;
	return count(value);
}

/** What an objective asks for: `latency p99.9 ≤ 100 ms`. */
export function objectiveInWords(objective) {
	const group = objective.group ? `${objective.group}: ` : "";
	const quantile = objective.quantile ? ` ${quantileName(objective.quantile)}` : "";
	const operator = OPERATORS[objective.comparison] ?? known(objective.comparison, String);
	return `${group}${word(objective.metric)}${quantile} ${operator} ${amount(objective.limit, objective.unit, true)}`;
}

/** What was observed, and how it came out: [text, mark, class]. */
export function objectiveResult(objective) {
	const observed = amount(objective.observed, objective.unit, false);
	switch (objective.status) {
		case "held": return [observed, "✓ met", "ok"];
		case "not_held": return [observed, "✗ missed", "bad"];
		default: {
			const causes = [["scheduled_min", "too few packets"], ["late", "generator late"], ["uncertain", "spread uncertain"]];
			const cause = causes.find(([figure]) => figure in (objective.figures ?? {}));
			return [observed, cause ? `not judged (${cause[1]})` : word(objective.status ?? "not_judged"), "dim"];
		}
	}
}
