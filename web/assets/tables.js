// The tables of one run: who took part, and what proves the figures.

import { card, folded, h, table } from "./dom.js";
import { UNKNOWN, bytes, count, counterName, decimal, instant, isKnown, known, knownTimes, mainTime, percent, quantile, quantileName, rate, seconds, time, timeName, word } from "./figures.js";
import { frequency, groupInWords, objectiveInWords, objectiveResult } from "./plan.js";

const QUANTILES = ["p50", "p90", "p99", "p99_9", "p99_99", "max"];

const share = (seconds_, of) => (isKnown(seconds_) && of > 0 ? (100 * seconds_) / of : null);

/** Objectives, and the percentiles of the run below them. */
export function objectivesCard(run, columns = 4) {
	const objectives = run.outcome?.objectives ?? [];
	const asked = objectives.length === 0
		? h("p", { class: "dim" }, "The run has no objectives.")
		: table("Objectives", [
			{ title: "Asked for", of: objectiveInWords, row: true },
			{ title: "Observed", of: (of) => objectiveResult(of)[0] },
			{ title: "", of: (of) => h("span", { class: objectiveResult(of)[2] }, objectiveResult(of)[1]), left: true },
		], objectives);
	return card(columns, "Objectives", asked, h("h2", { class: "next" }, "Percentiles"), percentiles(run, ["p50", "p99", "p99_9", "max"]));
}

/** The percentiles of the times that are known. */
export function percentiles(run, keys = QUANTILES) {
	const objectives = run.outcome?.objectives ?? [];
	// Spread has only the part of latency that varies.
	const isShown = ([key]) => key !== "spread_us" || keys === QUANTILES || !run.latency_us || objectives.some((of) => of.metric === "spread");
	const rows = knownTimes([run]).filter(isShown);
	if (run.probe_rtt_us) rows.push(["probe_rtt_us", "probe rtt", "probe → answer"]);
	if (rows.length === 0) return h("p", { class: "dim" }, "No time is known.");
	const bound = rows.some(([key]) => run[key].bound !== null);
	return table(keys === QUANTILES ? "All percentiles" : "Percentiles", [
		{ title: "", of: ([, name, meaning]) => h("span", { title: meaning }, name), row: true },
		...keys.map((key) => ({ title: quantileName(key), of: ([time_]) => time(quantile(run[time_], key)) })),
		...(bound ? [{ title: "bound", of: ([key]) => (run[key].bound === null ? "" : `± ${time(run[key].bound)} ${known(run[key].bound_is, String)}`), left: true }] : []),
	], rows);
}

function whoRows(run) {
	const span = run.elapsed_s;
	const stolen = (role, name) => {
		const total = (run.hosts ?? []).find((host) => host.role === role && host.name === name)?.total;
		return share(total?.stolen_s, total?.cores_s);
	};
	const host = (role, name) => (run.environments ?? []).find((of) => of.role === role && of.name === name)?.host;
	const row = (name, clients, packets, cpu_s, steal, failure) => ({
		name, clients, packets, cpu: share(cpu_s, span), each: packets > 0 && isKnown(cpu_s) ? (cpu_s * 1e6) / packets : null, steal, failure,
	});
	const agents = (run.agents ?? []).map((agent) => {
		const of = host("agent", agent.agent);
		return row(`agent ${agent.agent}${of ? ` (${of})` : ""}`, agent.clients, agent.counts?.sent, agent.cpu_s, stolen("agent", agent.agent), agent.failure);
	});
	const workers = (run.receivers ?? []).flatMap((receiver) => receiver.workers.map((worker) => (
		row(`${run.receivers.length > 1 ? `${receiver.receiver}, ` : ""}worker ${worker.worker}`, null, worker.packets, worker.cpu_s, stolen("server", receiver.receiver), null))));
	return [...agents, ...workers];
}

/** Agents and workers, with their CPU. */
export function whoCard(run, columns = 6) {
	const rows = whoRows(run);
	if (rows.length === 0) return card(columns, "Who", h("p", { class: "dim" }, "No process has reported."));
	return card(columns, "Who", table("Agents and workers", [
		{ title: "agent, worker", of: (of) => of.name, row: true },
		{ title: "clients", of: (of) => (of.clients === null ? "" : count(of.clients)) },
		{ title: "packets", of: (of) => count(of.packets) },
		{ title: "CPU of a core", of: (of) => percent(of.cpu) },
		{ title: "µs a packet", of: (of) => known(of.each, (value) => decimal(value, 1)) },
		{ title: "steal", of: (of) => percent(of.steal, 1) },
	], rows), rows.filter((of) => of.failure).map((of) => h("p", { class: "bad" }, `${of.name}: ${of.failure.sentence}`)));
}

/** Groups, where there are several. */
export function groupsCard(run, columns = 12) {
	const plans = run.plan?.groups ?? [];
	if (plans.length < 2 || !run.groups) return null;
	const main = mainTime(run.groups);
	const loads = new Map(plans.map((group) => [group.name, groupInWords(group)]));
	const quant = (key) => ({ title: `${timeName(main)} ${quantileName(key)}`, of: (of) => time(quantile(of[main], key)) });
	return card(columns, "Groups", table("Groups", [
		{ title: "group", of: (of) => of.group, row: true },
		{ title: "load", of: (of) => loads.get(of.group) ?? UNKNOWN, left: true },
		{ title: "offered", of: (of) => rate(of.rate?.offered_hz) },
		{ title: "achieved", of: (of) => rate(of.rate?.achieved_hz) },
		{ title: "lost", of: (of) => count(of.counts?.lost) },
		{ title: "skipped", of: (of) => count(of.counts?.skipped) },
		quant("p50"), quant("p99"), quant("p99_9"), quant("max"),
		...(run.groups.some((of) => of.rtt_from_due_us) ? [{ title: "rtt p99", of: (of) => time(quantile(of.rtt_from_due_us, "p99")) }] : []),
	], run.groups));
}

/** Every counter and every percentile. */
export function countsCard(run) {
	return folded(6, "All counters and percentiles", () => [
		percentiles(run),
		h("h3", {}, "Counters"),
		table("Counters", [{ title: "counter", of: ([name]) => counterName(name), row: true }, { title: "packets", of: ([, value]) => count(value) }], Object.entries(run.counts ?? {})),
	]);
}

/** What the kernels of both ends have seen of the connections. */
export function networkCard(run) {
	const ends = [["agents", run.generator_tcp], ["server", run.receiver_tcp]].filter(([, tcp]) => tcp);
	if (ends.length === 0) return null;
	return folded(6, "Network", () => table("What the kernels saw of the connections", [
		{ title: "end", of: ([name]) => name, row: true },
		{ title: "connections", of: ([, tcp]) => count(tcp.connections) },
		{ title: "sent again", of: ([, tcp]) => count(tcp.retransmitted) },
		{ title: "out of order", of: ([, tcp]) => count(tcp.received_out_of_order) },
		{ title: "least rtt", of: ([, tcp]) => time(tcp.rtt_min_us) },
		{ title: "worst smoothed rtt", of: ([, tcp]) => time(tcp.rtt_smoothed_max_us) },
		{ title: "window limited", of: ([, tcp]) => seconds(tcp.window_limited_max_s) },
		{ title: "path MTU", of: ([, tcp]) => count(tcp.path_mtu_min) },
	], ends));
}

/** The laws of the run: folded, unless one is broken. */
export function lawsCard(run) {
	const laws = run.verdict?.laws ?? [];
	if (laws.length === 0) return null;
	const hold = laws.filter((law) => law.status === "holds").length;
	const broken = laws.filter((law) => law.status === "broken");
	const title = hold === laws.length ? `Laws: all ${hold} hold` : `Laws: ${hold} of ${laws.length} hold${broken.length > 0 ? `, ${broken.length} broken` : ""}`;
	return folded(12, title, () => table("Laws", [
		{ title: "law", of: (law) => law.law, row: true },
		{ title: "status", of: (law) => h("span", { class: law.status === "holds" ? "ok" : law.status === "broken" ? "bad" : "dim" }, `${law.status === "holds" ? "✓ " : law.status === "broken" ? "✗ " : ""}${word(law.status)}`), left: true },
		{ title: "figures", of: (law) => law.sentence, wrap: true },
	], laws), { open: broken.length > 0 });
}

/** Where the processes ran. */
export function environmentCard(run) {
	const rows = run.environments ?? [];
	if (rows.length === 0) return null;
	return folded(12, "Environment", () => table("Environment", [
		{ title: "process", of: (of) => `${word(of.role)} ${known(of.name, String)}`, row: true },
		{ title: "host", of: (of) => known(of.host, String), left: true },
		{ title: "cores", of: (of) => count(of.cores) },
		{ title: "quota", of: (of) => known(of.cpu_quota_cores, (cores) => `${decimal(cores, 2)} cores`) },
		{ title: "CPU", of: (of) => known(of.cpu_model, String), left: true },
		{ title: "kernel", of: (of) => known(of.kernel, String), left: true },
		{ title: "priority", of: (of) => word(of.priority), left: true },
		{ title: "Metronome", of: (of) => known(of.version, String), left: true },
	], rows));
}

/** The plan and the labels. */
export function planCard(run) {
	const plan = run.plan;
	if (!plan) return null;
	const items = [
		["run", run.run_id], ["request id", known(run.request_id || null, String)], ["created", instant(run.created_at)], ["started", instant(run.started_at)], ["ended", instant(run.ended_at)],
		...Object.entries(run.labels ?? {}).map(([key, value]) => [`label ${key}`, value]),
		["duration", seconds(plan.duration_s)], ["warm-up", plan.warm_up_s ? seconds(plan.warm_up_s) : "none"], ["seed", known(plan.seed, String)],
		["when an agent is lost", word(plan.on_agent_loss)], ["thresholds", plan.thresholds.map((of) => known(of, String)).join(", ") || "none"], ["default objectives", plan.default_objectives ? "yes" : "no"],
	];
	return folded(12, "Plan", () => [
		h("dl", {}, items.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
		h("h3", {}, "Groups of the plan"),
		table("Groups of the plan", [
			{ title: "group", of: (of) => of.name, row: true },
			{ title: "load", of: groupInWords, left: true },
			{ title: "packets", of: (of) => bytes(of.packet_bytes) },
			{ title: "a write", of: (of) => count(of.batch) },
			{ title: "phase", of: (of) => word(of.phase), left: true },
			{ title: "payload", of: (of) => known(of.payload?.name ?? of.payload?.source, String), left: true },
			{ title: "echo every", of: (of) => count(of.echo_every) },
			{ title: "target", of: (of) => known(of.target?.address, String), left: true },
			{ title: "highest rate", of: (of) => known(of.profile?.rate_hz, frequency) },
		], plan.groups),
	]);
}

/** A row per client, fetched when it is asked for. */
export function clientsCard(run, fetchClients) {
	const place = h("div", {}, h("p", { class: "dim" }, "Loading …"));
	const show = async () => {
		try {
			const { clients } = await fetchClients();
			place.replaceChildren(clients ? clientTable(clients) : h("p", { class: "dim" }, "The rows of the clients are not here."));
		} catch (error) {
			place.replaceChildren(h("p", { class: "bad" }, error.message));
		}
	};
	return folded(12, "Clients", () => {
		show();
		return place;
	});
}

/** The slowest clients first. A thousand rows are a table that no browser minds; more are in the JSON. */
const CLIENTS_MAX = 1000;

function clientTable(clients) {
	const times = ["latency_p99_us", "spread_p99_us", "one_way_p99_us", "lateness_p99_us", "transit_p99_us", "rtt_from_due_p99_us"].filter((key) => clients.some((of) => of[key] !== null));
	const sorted = clients.toSorted((one, other) => (other[times[0]] ?? Infinity) - (one[times[0]] ?? Infinity));
	const rows = table("Clients, the slowest first", [
		{ title: "client", of: (of) => String(of.client), row: true },
		{ title: "group", of: (of) => of.group, left: true },
		{ title: "agent", of: (of) => of.agent, left: true },
		{ title: "worker", of: (of) => known(of.worker, String) },
		{ title: "sent", of: (of) => count(of.counts?.sent) },
		{ title: "received", of: (of) => count(of.counts?.received) },
		{ title: "lost", of: (of) => count(of.counts?.lost) },
		...times.map((key) => ({ title: key.replace("_us", "").replaceAll("_", " "), of: (of) => time(of[key]) })),
		{ title: "failure", of: (of) => of.failure?.sentence ?? "", left: true },
	], sorted.slice(0, CLIENTS_MAX));
	return h("div", {}, clients.length > CLIENTS_MAX ? h("p", { class: "dim" }, `The slowest ${CLIENTS_MAX} of ${clients.length}.`) : null, rows);
}
