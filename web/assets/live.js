// What happens on the server while a view is shown: one stream of events, which goes on where it was
// when the connection comes back, to the same server or to the one that has taken over.

import { fill, h, kpi } from "./dom.js";
import { count, known, mainTime, quantile, rate, seconds, time, timeName, word } from "./figures.js";
import { objectiveInWords } from "./plan.js";

const KINDS = ["present", "snapshot", "run_changed", "run_ended", "agent_changed", "worker_changed", "threshold_failed"];
/** A stream that was refused is asked for again after this. */
const AGAIN_MS = 3000;
/** Points that are kept of a run that goes on: the last ten minutes. */
const POINTS_MAX = 600;

/**
 * Follows the events of one run, or of all; `see` has each, as its object. `connection` is called
 * with `live`, with `waiting` while there is no stream, and with `gone` where there will be none.
 * Returns what ends it.
 */
export function follow({ run }, see, connection) {
	let [stream, timer, last] = [null, null, null];
	function connect() {
		const query = new URLSearchParams({ ...(run && { run }), ...(last && { after: last }) });
		stream = new EventSource(`/api/v1/events?${query}`);
		stream.onopen = () => connection("live");
		stream.onerror = () => {
			connection("waiting");
			// A lost connection comes back by itself; a refusal does not.
			if (stream.readyState === EventSource.CLOSED) timer = setTimeout(again, AGAIN_MS);
		};
		for (const kind of KINDS) stream.addEventListener(kind, take);
	}
	/** A stream has no reason why it was refused: the run has. One that does not exist has no events. */
	async function again() {
		const answer = run && await fetch(`/api/v1/runs/${encodeURIComponent(run)}`).catch(() => null);
		if (stream === null) return;
		if (answer?.status === 404) connection("gone");
		else connect();
	}
	function take(message) {
		if (message.lastEventId) last = message.lastEventId;
		const event = JSON.parse(message.data);
		// The stream of a run ends with it; what would come back is the same end.
		if (run && event.event === "run_ended") stop();
		see(event);
	}
	function stop() {
		clearTimeout(timer);
		stream?.close();
		stream = null;
	}
	connect();
	return stop;
}

/** The series of a run that goes on, as far as it was seen. */
export function liveSeries() {
	const series = { points: [], hosts: [] };
	/** Puts a point behind the others, or in the place of the same one. True where it is new. */
	function put(points, point) {
		const lastOne = points.at(-1);
		if (lastOne && point.from_s < lastOne.from_s) return false;
		const isNew = !lastOne || point.from_s > lastOne.from_s;
		if (!isNew) points.pop();
		points.push(point);
		if (points.length > POINTS_MAX) points.shift();
		return isNew;
	}
	function take(snapshot) {
		let isNew = false;
		if (snapshot.latest_point) isNew = put(series.points, snapshot.latest_point);
		for (const host of snapshot.latest_hosts ?? []) {
			let kept = series.hosts.find((of) => of.role === host.role && of.name === host.name);
			if (!kept) {
				kept = { role: host.role, name: host.name, points: [] };
				series.hosts.push(kept);
			}
			for (const point of host.points) isNew = put(kept.points, point) || isNew;
		}
		return isNew;
	}
	return { series, take };
}

/** How a run that goes on stands: progress and five figures, kept up to date by `update(snapshot)`. */
export function progressBox(run) {
	const duration = run.plan?.duration_s;
	const bar = h("progress", { max: duration ?? 1, value: 0, "aria-label": "Progress of the run" });
	const texts = {};
	const cell = (key, text) => {
		const element = kpi("–", text);
		texts[key] = [...element.children];
		return element;
	};
	const rest = h("p", { class: "dim", role: "status" });
	const troubles = h("ul", { class: "grounds" });
	const missed = new Map();
	const misses = h("div", {});
	const element = h("div", {}, bar, h("div", { class: "kpis" },
		cell("elapsed", `of ${seconds(duration)}`), cell("received", "received"), cell("rate", "a second"), cell("clients", "clients connected"), cell("p99", "p99 until now")), rest, troubles, misses);
	const set = (key, value, text) => {
		texts[key][0].textContent = value;
		if (text) texts[key][1].textContent = text;
	};
	/** An objective that was missed: the same one again has a newer figure. */
	element.miss = (objective) => {
		missed.set(objectiveInWords(objective), objective.sentence);
		fill(misses, [...missed.values()].map((sentence) => h("p", { class: "bad" }, sentence)));
	};
	element.update = (snapshot) => {
		const key = mainTime([snapshot]);
		bar.value = Math.min(duration ?? 1, Math.max(0, snapshot.elapsed_s ?? 0));
		set("elapsed", known(snapshot.elapsed_s, (s) => `${s.toFixed(1)} s`));
		set("received", count(snapshot.counts?.received), `received, ${count(snapshot.counts?.sent)} sent, ${count(snapshot.counts?.skipped)} skipped`);
		set("rate", rate(snapshot.received_hz), "received just now");
		set("clients", count(snapshot.clients_connected));
		set("p99", time(quantile(snapshot[key], "p99")), `${timeName(key)} p99 until now`);
		const waiting = snapshot.waiting_for.length > 0 ? `, waiting for ${snapshot.waiting_for.join(", ")}` : "";
		const text = `${word(snapshot.state)}${waiting}`;
		if (rest.textContent !== text) rest.textContent = text;
		const failures = [...snapshot.failures, ...snapshot.obstacles];
		fill(troubles, failures.map((failure) => h("li", { class: "bad" }, failure.sentence)));
	};
	return element;
}
