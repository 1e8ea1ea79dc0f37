// The pictures of one run or of several over each other, each a card.

import { card, choice, fill, h } from "./dom.js";
import { TIMES, decimal, isKnown, quantile, quantileName, rate, time, timeName } from "./figures.js";
import { heatMap } from "./heat.js";
import { LINES, clock, plot } from "./plots.js";
import { aligned, cpuLines, heatRows, middles, offered, quantiles, rates, timesOf } from "./series.js";

/** Quantiles over time: key and line. */
const OVER_TIME = [["p50", LINES[0]], ["p99", LINES[1]], ["p99_9", LINES[2]], ["max", { ...LINES[4], width: 1.5 }]];

const none = (text) => h("p", { class: "dim" }, text);

/** A card whose plot follows a choice of times. */
function switched(columns, title, choices, first, draw) {
	const heading = h("h2", {});
	const place = h("div", {});
	const show = (key) => {
		const [, name, meaning] = TIMES.find(([of]) => of === key);
		heading.textContent = `${title(name)}, ${meaning}`;
		section.chosen = key;
		section.picture = draw(key, name);
		fill(place, section.picture);
	};
	const section = h("section", { class: `card w${columns}` },
		choices.length > 1 ? choice("Time", choices.map(([key, name]) => [key, name]), first, show) : null, heading, place);
	section.choices = choices.map(([key]) => key).join();
	show(first);
	return section;
}

/** A card with one plot. */
function pictured(columns, title, picture, ...more) {
	const section = card(columns, title, picture, ...more);
	section.picture = picture;
	return section;
}

/**
 * Shows in the place of `old` what `fresh` has, and returns the one that stays: where both have the
 * same plot, the old one goes on with the new values, and keeps its cursor and its focus.
 */
export function refreshed(old, fresh) {
	const [before, after] = [old.picture, fresh.picture];
	const isSame = before && after && old.choices === fresh.choices && before.of().lines.map((line) => line.name).join() === after.of().lines.map((line) => line.name).join();
	if (isSame) {
		before.update(after.of());
		return old;
	}
	old.replaceWith(fresh);
	return fresh;
}

/** Quantiles over time, with a switch for the time. */
export function timesCard(series, first, columns = 8) {
	const choices = timesOf(series);
	if (choices.length === 0) return card(columns, "Times over time", none("No point of the series has a time."));
	const start = choices.some(([key]) => key === first) ? first : choices[0][0];
	const xs = middles(series.points);
	return switched(columns, (name) => `${name} over time`, choices, start, (key, name) => plot({
		name: `${name} over time`, xs, x: clock, y: time, log: true, sync: "run", height: 250,
		lines: OVER_TIME.map(([of, line]) => ({ name: quantileName(of), ...line, values: quantiles(series.points, key, of) })),
	}));
}

/** One quantile of several runs over time. */
export function timesOverCard(entries, key, columns = 12) {
	const linesOf = (of) => entries.map(({ name, series }, index) => ({ name, ...LINES[index], at: middles(series.points), values: quantiles(series.points, key, of) }));
	// The largest of these that is known somewhere.
	const shown = ["p99", "p90", "p50"].find((of) => linesOf(of).some((line) => line.values.some(isKnown)));
	if (!shown) return card(columns, "p99 over time", none("There is no series of these runs."));
	const { xs, lines: drawn } = aligned(linesOf(shown));
	const title = `${timeName(key)} ${shown} over time`;
	return card(columns, title, plot({ name: title, xs, x: clock, y: time, log: true, height: 250, lines: drawn }));
}

const CURVE = [["p50", 2], ["p90", 10], ["p99", 100], ["p99_9", 1000], ["p99_99", 1e4]];

const curveName = (x) => quantileName(CURVE.find(([, of]) => Math.abs(of - x) < 1e-6 * of)?.[0] ?? "");

/** The percentile curve: the share of packets that is above, on a log scale, against the time. */
export function curveCard(entries, choices, first, columns = 4) {
	if (choices.length === 0) return card(columns, "Percentile curve", none("No time of the run is known."));
	const start = choices.some(([key]) => key === first) ? first : choices[0][0];
	return switched(columns, (name) => `${name} by percentile`, choices, start, (key, name) => plot({
		name: `${name} by percentile`, xs: CURVE.map(([, x]) => x), xSplits: CURVE.map(([, x]) => x), x: curveName, xTitle: "percentile", y: time, log: true, height: 230,
		lines: entries.map(({ name: of, run }, index) => ({ name: of ?? name, ...LINES[index], values: CURVE.map(([quant]) => quantile(run[key], quant) ?? null) })),
	}));
}

/** What the plan offers, and what was read, over time. */
export function rateCard(run, series, columns = 6) {
	if (series.points.length === 0) return card(columns, "Offered and received", none("There is no series of this run."));
	return pictured(columns, "Offered and received", plot({
		name: "Offered and received", xs: middles(series.points), x: clock, y: rate, yAxis: shortRate, sync: "run", height: 150,
		lines: [
			{ name: "offered", colour: "--off", width: 5, values: offered(run.plan, series.points) },
			{ name: "received", ...LINES[0], values: rates(series.points, "received") },
		],
	}));
}

function shortRate(hz) {
	if (hz >= 1e6) return `${decimal(hz / 1e6, 3)} M/s`;
	return hz >= 1e3 ? `${decimal(hz / 1e3, 3)} k/s` : `${decimal(hz, 3)}/s`;
}

/** CPU of both ends over time. */
export function cpuCard(series, columns = 6) {
	const { xs, lines } = aligned(cpuLines(series));
	if (lines.length === 0) return card(columns, "CPU, percent of a core", none("The CPU of no process is known."));
	const shown = lines.slice(0, LINES.length);
	const percent = (value) => `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} %`;
	return pictured(columns, "CPU, percent of a core", plot({
		name: "CPU", xs, x: clock, y: percent, sync: "run", height: 150, lines: shown.map((line, index) => ({ ...line, ...LINES[index] })),
	}), lines.length > shown.length ? none(`${lines.length - shown.length} more processes are in the JSON.`) : null);
}

/** Clients × time. */
export function heatCard(series, columns = 8) {
	const rows = heatRows(series);
	if (!rows || rows.rows.every(({ values }) => values.every((value) => value === null))) return card(columns, "Clients × time", none("The times of single clients over time are not known of this run."));
	const name = rows.time ? String(rows.time).replaceAll("_", "-") : "time";
	return card(columns, `Clients × time, ${name} p99 per client and second`, heatMap({ xs: rows.xs, rows: rows.rows, what: `${name} p99 by client` }));
}
