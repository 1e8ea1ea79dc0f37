// The heat map of clients × time: a row a client or a band of them, a column a stretch of time.
// One colour scale for all, logarithmic, so that the one client that differs is seen at once.

import { h } from "./dom.js";
import { UNKNOWN, isKnown, time } from "./figures.js";
import { clock, colour } from "./plots.js";

const maps = new Set();

function mixed(share) {
	const parse = (name) => /^#(..)(..)(..)$/.exec(colour(name)).slice(1).map((digits) => parseInt(digits, 16));
	const [cold, hot] = [parse("--cold"), parse("--hot")];
	return cold.map((from, index) => Math.round(from + (hot[index] - from) * share));
}

/** The least and the greatest of what is known, above 0. */
function extremes(rows) {
	let [least, most] = [Infinity, 0];
	for (const { values } of rows) {
		for (const value of values) {
			if (value > 0) [least, most] = [Math.min(least, value), Math.max(most, value)];
		}
	}
	return most > 0 ? [least, Math.max(most, least * 1.0001)] : [1, 10];
}

/** The row with the greatest value, and that value. */
function worst(rows) {
	let found = { value: undefined };
	for (const { name, values } of rows) {
		values.forEach((value, column) => {
			if (isKnown(value) && value > (found.value ?? -1)) found = { name, value, column };
		});
	}
	return found;
}

/**
 * A heat map. `xs`: the start of each column, s; `rows`: `{name, values}`, µs, null where it is
 * not known; `what`: what the values are.
 */
export function heatMap({ xs, rows, what }) {
	const [least, most] = extremes(rows);
	const share = (value) => Math.min(1, Math.max(0, Math.log(Math.max(value, least) / least) / Math.log(most / least)));
	const top = worst(rows);
	const label = `${what}: ${rows.length} rows from ${time(least)} to ${time(most)}; worst ${top.name ?? UNKNOWN}, ${time(top.value)}`;
	const canvas = h("canvas", { role: "img", tabindex: 0, "aria-label": label, width: Math.max(1, xs.length), height: Math.max(1, rows.length) });
	const readout = h("div", { class: "readout" }, top.name === undefined ? "" : `worst: ${top.name}, ${time(top.value)} at ${clock(xs[top.column])}`);
	// So that ten rows are no hairlines and 256 no scroll.
	canvas.style.height = `${Math.min(256, Math.max(48, rows.length * 22))}px`;
	let at = { row: 0, column: -1 };

	function draw() {
		const pixels = new ImageData(canvas.width, canvas.height);
		rows.forEach(({ values }, row) => xs.forEach((_, column) => {
			const value = values[column];
			if (isKnown(value)) pixels.data.set([...mixed(share(value)), 255], (row * xs.length + column) * 4);
		}));
		canvas.getContext("2d").putImageData(pixels, 0, 0);
	}

	function read(row, column) {
		if (!rows[row] || xs[column] === undefined) return;
		at = { row, column };
		readout.textContent = `${rows[row].name}, at ${clock(xs[column])}: ${time(rows[row].values[column])}`;
	}

	canvas.addEventListener("pointermove", (event) => {
		const box = canvas.getBoundingClientRect();
		read(Math.floor(((event.clientY - box.top) / box.height) * rows.length), Math.floor(((event.clientX - box.left) / box.width) * xs.length));
	});
	canvas.addEventListener("keydown", (event) => {
		const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
		if (!step) return;
		event.preventDefault();
		read(Math.min(rows.length - 1, Math.max(0, at.row + step[0])), Math.min(xs.length - 1, Math.max(0, at.column + step[1])));
	});
	draw();
	// A live run makes a map a second: those that were shown and are gone are forgotten.
	for (const map of maps) {
		if (map.canvas.isConnected) map.seen = true;
		else if (map.seen) maps.delete(map);
	}
	maps.add({ canvas, draw });
	return h("div", { class: "heat" },
		h("div", { class: "rows" }, h("span", {}, rows[0]?.name ?? ""), h("span", {}, `down to ${rows[rows.length - 1]?.name ?? ""}`)),
		canvas,
		h("div", { class: "rows" }, h("span", {}, clock(xs[0] ?? 0)), h("span", {}, clock(xs[xs.length - 1] ?? 0))),
		readout,
		h("div", { class: "scale" }, h("span", {}, time(least)), h("i", {}), h("span", {}, `${time(most)}, one log scale for all`)));
}

/** Draws every map again, in the colours of now; those that are gone are forgotten. */
export function redrawMaps() {
	for (const map of maps) {
		if (map.canvas.isConnected) map.draw();
		else maps.delete(map);
	}
}
