// The server and its agents: what is there, what it can carry, and whether it is well.

import { card, h, kpi, table } from "./dom.js";
import { UNKNOWN, bytes, count, instant, known, seconds, time, word } from "./figures.js";
import { frequency } from "./plan.js";
import { isNews } from "./runs.js";

function clockInWords(clock) {
	if (!clock?.relation) return UNKNOWN;
	if (clock.relation !== "offset") return clock.relation;
	return `${time(clock.offset_us)} ± ${time(clock.bound_us)} ${known(clock.bound_is, String)}`;
}

function health(server) {
	const down = server.workers.filter((worker) => worker.pid === null).length;
	const loops = server.recoveries?.crash_loops.length ?? 0;
	if (server.draining) return ["draining", "no new run is taken", "warn"];
	if (down + loops > 0) return ["degraded", `${down} workers have no process, ${loops} die again and again`, "bad"];
	return ["well", "every worker has its process, new runs are taken", "ok"];
}

function serverCard(server) {
	const [state, reason, kind] = health(server);
	const { connections, recoveries, limits } = server;
	return card(12, null,
		h("div", { class: "headline" }, h("span", { class: `badge ${kind}` }, state.toUpperCase()), h("h1", {}, `Server ${known(server.data_address, String)}`),
			h("span", { class: "dim" }, `Metronome ${server.version} · pid ${known(server.pid, String)} · since ${instant(server.started_at)}`)),
		h("div", { class: "kpis" },
			kpi(count(server.runs_active), `runs of ${count(limits?.runs_max)} at once`),
			kpi(count(connections?.admitted), `clients of ${count(limits?.max_clients)} at once`),
			kpi(count(server.workers.length), reason),
			kpi(count(recoveries?.deaths), `workers died, ${count(recoveries?.packets)} packets recovered, ${count(recoveries?.connections_lost)} connections lost`),
			kpi(known(recoveries?.pause_us, (of) => time(of.max)), "longest pause of a recovery"),
			kpi(seconds(server.uptime_s), "up")));
}

function agentsCard(agents) {
	if (agents.length === 0) {
		return card(12, "Agents", h("p", { class: "dim" }, "No agent is connected; start one with ", h("code", {}, "metronome-agent --server ADDRESS"), "."));
	}
	return card(12, "Agents", table("Agents", [
		{ title: "agent", of: (of) => of.name, row: true },
		{ title: "state", of: (of) => h("span", { class: of.state === "available" ? "ok" : "bad" }, word(of.state)), left: true },
		{ title: "peer", of: (of) => of.peer, left: true },
		{ title: "cores", of: (of) => count(of.capacity?.cores) },
		{ title: "clients at most", of: (of) => count(of.capacity?.max_clients) },
		{ title: "clock", of: (of) => clockInWords(of.clock), left: true },
		{ title: "version", of: (of) => of.version, left: true },
		{ title: "connected", of: (of) => instant(of.connected_at), left: true },
		{ title: "runs", of: (of) => of.run_ids.map((id, index) => [index > 0 ? " " : "", h("a", { href: `#/runs/${encodeURIComponent(id)}` }, id)]), left: true },
	], agents));
}

function workersCard(server) {
	return card(6, "Workers", table("Workers", [
		{ title: "worker", of: (of) => `worker ${of.worker}`, row: true },
		{ title: "pid", of: (of) => known(of.pid, String) },
		{ title: "clients", of: (of) => count(of.connections) },
		{ title: "packets", of: (of) => count(of.packets) },
		{ title: "CPU", of: (of) => seconds(of.cpu_s) },
		{ title: "replaced", of: (of) => count(of.restarts) },
		{ title: "real-time", of: (of) => (of.real_time ? "yes" : "no"), left: true },
	], server.workers));
}

function limitsCard(server) {
	const { limits, connections, raw } = server;
	const items = [
		["gRPC address", known(server.grpc_address, String)], ["data address", server.data_address], ["database", server.database],
		["rate of a client", `${frequency(limits?.rate_hz_min)} to ${frequency(limits?.rate_hz_max)}`], ["all clients together", known(limits?.total_rate_hz_max, frequency)],
		["packets", `${bytes(limits?.packet_bytes_min)} to ${bytes(limits?.packet_bytes_max)}`], ["connections taken", count(connections?.accepted)],
		["refused", `${count(connections?.refused_full)} full, ${count(connections?.refused_hello)} hello, ${count(connections?.refused_late)} late, ${count(connections?.refused_raw)} raw`],
		["raw clients", server.accept_raw ? `${count(raw?.connections)} connections, ${count(raw?.packets)} packets` : "refused"],
		["protocol", `${known(server.protocol_version_min, String)} to ${known(server.protocol_version_max, String)}`],
	];
	return card(6, "Capacity and addresses", h("dl", {}, items.map(([name, value]) => [h("dt", {}, name), h("dd", {}, known(value, String))])));
}

/** The view. */
export async function fleetView(source) {
	if (source.isReport) return { title: "Fleet", elements: [card(12, "Fleet", h("p", {}, "A report has no fleet."))] };
	const [server, { agents }] = await Promise.all([source.server(), source.agents()]);
	return {
		title: "Fleet",
		elements: [serverCard(server), agentsCard(agents), workersCard(server), limitsCard(server)],
		follows: { isChange: isNews },
	};
}
