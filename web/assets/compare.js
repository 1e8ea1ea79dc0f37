// Runs over each other: what differs, and by how much. It claims nothing: two runs differ by chance too.

import { card, h, table } from "./dom.js";
import { UNKNOWN, count, decimal, isKnown, knownTimes, mainTime, quantile, quantileName, rate, time } from "./figures.js";
import { curveCard, timesOverCard } from "./pictures.js";
import { labels, planInWords } from "./plan.js";
import { badgesOf } from "./runs.js";

const KEYS = ["p50", "p90", "p99", "p99_9", "max"];

/** How much another figure differs from the first: `+12 %`. */
export function difference(first, other) {
	if (!isKnown(first) || !isKnown(other)) return UNKNOWN;
	if (first === other) return "=";
	if (first === 0) return other > 0 ? "above 0" : "below 0";
	const percent = (100 * (other - first)) / Math.abs(first);
	return `${percent > 0 ? "+" : "−"}${decimal(Math.abs(percent), Math.abs(percent) < 10 ? 1 : 0)} %`;
}

function rows(runs) {
	const list = [
		{ name: "offered", of: (run) => run.rate?.offered_hz, text: rate },
		{ name: "achieved", of: (run) => run.rate?.achieved_hz, text: rate },
		...["sent", "received", "lost", "skipped", "corrupt"].map((name) => ({ name, of: (run) => run.counts?.[name], text: count })),
	];
	// Spread has only the part of latency that varies.
	const isShown = ([key]) => key !== "spread_us" || !runs.every((run) => run.latency_us);
	for (const [key, name] of knownTimes(runs).filter(isShown)) {
		for (const quant of KEYS) list.push({ name: `${name} ${quantileName(quant)}`, of: (run) => quantile(run[key], quant), text: time });
	}
	list.push({ name: "agents, CPU a packet", of: (run) => nanoseconds(run.cpu?.generator_ns_per_packet), text: time });
	list.push({ name: "workers, CPU a packet", of: (run) => nanoseconds(run.cpu?.receiver_ns_per_packet), text: time });
	return list;
}

const nanoseconds = (ns) => (isKnown(ns) ? ns / 1e3 : null);

/** The name of the run with this place: A, B … */
export const letter = (index) => String.fromCharCode(65 + index);

/** The elements for these runs and their series. */
export function compareElements(runs, series) {
	const entries = runs.map((run, index) => ({ name: letter(index), run, series: series[index] ?? { points: [], hosts: [] } }));
	const [first, ...others] = runs;
	const times = knownTimes(runs);
	const main = mainTime(runs);
	const differs = runs.some((run) => planInWords(run.plan) !== planInWords(first.plan));
	return [
		card(12, null, h("h1", {}, `${runs.length} runs over each other`),
			h("div", { class: "scroll", role: "region", tabindex: 0, "aria-label": "The runs" }, h("table", {}, h("tbody", {}, entries.map(({ name, run }) => h("tr", {},
				h("th", { scope: "row" }, name), h("td", { class: "left" }, badgesOf(run)), h("td", { class: "left" }, planInWords(run.plan)),
				h("td", { class: "left" }, h("a", { href: `#/runs/${run.run_id}` }, run.run_id)), h("td", { class: "left dim" }, labels(run).join(" "))))))),
			differs ? h("p", { class: "warn" }, "The loads differ: so may all else.") : null,
			h("p", { class: "dim" }, "Single runs differ by chance, too: this shows, and claims nothing.")),
		main ? timesOverCard(entries, main, 8) : null,
		curveCard(entries, times, main, 4),
		card(12, "Figures, and how much the others differ from A", table("Figures side by side", [
			{ title: "figure", of: (row) => row.name, row: true },
			...runs.map((run, index) => ({ title: letter(index), of: (row) => row.text(row.of(run)) })),
			...others.map((run, index) => ({ title: `${letter(index + 1)} to A`, of: (row) => difference(row.of(first), row.of(run)) })),
		], rows(runs))),
	].filter(Boolean);
}

/** The view of the runs with these ids. */
export async function compareView(source, ids) {
	if (ids.length < 2) {
		return { title: "Compare", elements: [card(12, null, h("h1", {}, "Compare"), h("p", {}, "Choose two runs or more in the list of ", h("a", { href: "#/runs" }, "runs"), "."))] };
	}
	const runs = await Promise.all(ids.map((id) => source.run(id)));
	const series = await Promise.all(runs.map((run) => (run.verdict ? source.series(run.run_id) : null)));
	return { title: `Compare ${ids.join(", ")}`, elements: compareElements(runs, series) };
}
