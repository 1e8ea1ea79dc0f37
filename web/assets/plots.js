// Plots: lines by uPlot, with a legend that reads out what is under the cursor, and their figures
// as a table for those who do not see them. Colours are those of the style sheet.

import { fill, h, svg, table } from "./dom.js";
import { decimal, isKnown, known, timeShort } from "./figures.js";

const uPlot = globalThis.uPlot;

/** Plots that are shown, each with what redraws it. */
const shown = new Set();

/** The colour of this name. */
export function colour(name) {
	return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

/** A line of these colours and dashes, in this order, for so many things of one kind. */
export const LINES = [
	{ colour: "--p50" }, { colour: "--p99", dash: [7, 3] }, { colour: "--p999", dash: [3, 3] },
	{ colour: "--other", dash: [9, 3, 2, 3] }, { colour: "--max", dash: [1, 3] }, { colour: "--ink", dash: [12, 4] },
];

/** Seconds from the start: `15 s`, `2:05`, `1:00:00`. */
export function clock(s) {
	if (s < 120) return `${decimal(s, 2)} s`;
	const parts = [Math.floor(s / 3600), Math.floor(s / 60) % 60, Math.floor(s) % 60];
	const [first, ...rest] = parts[0] > 0 ? parts : parts.slice(1);
	return [first, ...rest.map((part) => String(part).padStart(2, "0"))].join(":");
}

/** The powers of ten from `min` to `max`. */
function decades(min, max) {
	const [first, last] = [Math.round(Math.log10(min)), Math.round(Math.log10(max))];
	const step = Math.max(1, Math.ceil((last - first) / 6));
	const powers = [];
	for (let power = first; power <= last; power += step) powers.push(10 ** power);
	return powers;
}

/** Whole decades around the values that are above 0, µs. */
function logRange(lists) {
	let [min, max] = [Infinity, 0];
	for (const list of lists) {
		for (const value of list) {
			if (value > 0) [min, max] = [Math.min(min, value), Math.max(max, value)];
		}
	}
	if (max === 0) return [1, 10];
	min = Math.max(min, max / 1e6);
	const range = [10 ** Math.floor(Math.log10(min)), 10 ** Math.ceil(Math.log10(max))];
	return range[0] === range[1] ? [range[0], range[1] * 10] : range;
}

function swatch(line) {
	return svg("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" }, svg("line", {
		x1: 0, x2: 22, y1: 4, y2: 4, stroke: `var(${line.colour})`, "stroke-width": line.width ?? 2, "stroke-dasharray": (line.dash ?? []).join(" "),
	}));
}

/**
 * A plot, which `update(of)` of its element changes to other values of the same lines. `of`: `name`; `xs` and how one is written `x(value)`; `lines`: `{name, values, colour,
 * dash, width}`, null where it is not known; `y(value)` and `log`; `height`, px; `xSplits` where
 * the marks of x are given, which is a log scale then; `sync`: plots of one key share the cursor.
 */
export function plot(first) {
	let of = first;
	const readings = of.lines.map(() => h("b", {}));
	const at = h("span", {});
	const legend = h("div", { class: "legend" },
		of.lines.map((line, index) => h("span", {}, swatch(line), line.name, " ", readings[index])), at);
	const place = h("div", { class: "plot", role: "img", tabindex: 0, "aria-label": summary(of), onkeydown: move });
	const figures = asTable(() => of);
	let drawn;
	const entry = { place, redraw };
	const size = () => ({ width: Math.max(200, Math.floor(place.clientWidth)), height: of.height ?? 220 });
	const resized = new ResizeObserver(() => {
		if (!drawn) redraw();
		else if (drawn.width !== size().width) drawn.setSize(size());
	});

	function redraw() {
		if (!place.isConnected || place.clientWidth === 0) return;
		drawn?.destroy();
		drawn = new uPlot(options(() => of, size(), readOut), dataOf(of), place);
	}

	function readOut(index) {
		const isAt = isKnown(index);
		of.lines.forEach((line, of_line) => {
			readings[of_line].textContent = isAt ? known(line.values[index], of.y) : "";
		});
		at.textContent = isAt ? `at ${of.x(of.xs[index])}` : "";
	}

	function move(event) {
		const by = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
		if (!by || !drawn) return;
		event.preventDefault();
		const from = drawn.cursor.idx ?? (by > 0 ? -1 : of.xs.length);
		const index = Math.min(of.xs.length - 1, Math.max(0, from + by));
		drawn.setCursor({ left: drawn.valToPos(drawn.data[0][index], "x"), top: 0 });
		readOut(index);
	}

	// One that is never shown, since another has taken its place, is not kept.
	requestAnimationFrame(() => {
		if (!place.isConnected) return;
		shown.add(entry);
		resized.observe(place);
	});
	const element = h("div", {}, legend, place, figures);
	element.of = () => of;
	element.update = (next) => {
		of = next;
		place.setAttribute("aria-label", summary(of));
		drawn?.setData(dataOf(of));
	};
	return element;
}

function summary(of) {
	const parts = of.lines.map((line) => {
		const values = line.values.filter(isKnown);
		if (values.length === 0) return `${line.name} is not known`;
		const [least, most] = [values.reduce((a, b) => Math.min(a, b)), values.reduce((a, b) => Math.max(a, b))];
		return `${line.name} from ${of.y(least)} to ${of.y(most)}`;
	});
	return `${of.name}: ${parts.join(", ")}`;
}

/** The figures of the plot, made when they are asked for. */
function asTable(now) {
	const place = h("div", {});
	const columns = (of) => [{ title: of.xTitle ?? "at", of: (index) => of.x(of.xs[index]), row: true }, ...of.lines.map((line) => ({
		title: line.name,
		of: (index) => known(line.values[index], of.y),
	}))];
	const open = (event) => {
		const of = now();
		fill(place, event.target.open ? table(`Figures of ${of.name}`, columns(of), of.xs.map((_, index) => index)) : null);
	};
	return h("details", { class: "small", ontoggle: open }, h("summary", {}, "figures"), place);
}

function dataOf(of) {
	const least = of.log ? logRange(of.lines.map((line) => line.values))[0] : 0;
	// On a log scale 0 is drawn at the lowest edge; the legend and the table have it as it is.
	const drawable = (value) => (value === undefined ? null : of.log && value !== null ? Math.max(value, least) : value);
	return [of.xs, ...of.lines.map((line) => line.values.map(drawable))];
}

function options(now, size, readOut) {
	const of = now();
	const [ink, grid] = [colour("--dim"), colour("--line")];
	const font = `11px ${getComputedStyle(document.body).fontFamily}`;
	const axis = { stroke: ink, font, grid: { stroke: grid, width: 1 }, ticks: { show: false }, gap: 4 };
	const y = of.log
		? { distr: 3, range: () => logRange(now().lines.map((line) => line.values)) }
		: { range: (_, __, max) => [0, !max || max <= 0 ? 1 : max * 1.08] };
	const x = of.xSplits ? { time: false, distr: 3, range: () => [of.xs[0] / 1.3, of.xs[of.xs.length - 1] * 1.3] } : { time: false };
	const width = (texts) => 16 + 6.4 * Math.max(6, ...(texts ?? []).map((text) => String(text ?? "").length));
	return {
		...size,
		legend: { show: false },
		padding: [8, 16, 0, 0],
		cursor: { sync: of.sync ? { key: of.sync } : undefined, drag: { x: !of.xSplits, y: false }, points: { size: 6 }, y: false },
		scales: { x, y },
		axes: [
			{ ...axis, size: 24, values: (_, splits) => splits.map(of.x), ...(of.xSplits ? { splits: () => of.xSplits, filter: (_, splits) => splits } : { space: 70 }) },
			{
				...axis,
				size: (_, texts) => width(texts),
				values: (_, splits) => splits.map(of.yAxis ?? (of.log ? timeShort : of.y)),
				...(of.log ? { splits: (_, __, min, max) => decades(min, max) } : { space: 36 }),
			},
		],
		series: [{}, ...of.lines.map((line) => ({
			stroke: colour(line.colour), width: line.width ?? 2, dash: line.dash, spanGaps: false, points: { size: 4, space: of.xSplits ? 0 : undefined, fill: colour(line.colour) },
		}))],
		hooks: { setCursor: [(self) => readOut(self.cursor.idx)] },
	};
}

/** Draws every plot again, in the colours of now; those that are gone are forgotten. */
export function redrawPlots() {
	for (const entry of shown) {
		if (entry.place.isConnected) entry.redraw();
		else shown.delete(entry);
	}
}
