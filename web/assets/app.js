// The page and the report: which view is shown, and what surrounds it.

import { fill, h } from "./dom.js";
import { compareElements, compareView } from "./compare.js";
import { UNKNOWN, numberOf } from "./figures.js";
import { fleetView } from "./fleet.js";
import { redrawMaps } from "./heat.js";
import { redrawPlots } from "./plots.js";
import { runView } from "./run.js";
import { failed, runsView } from "./runs.js";
import { follow } from "./live.js";
import { openSource } from "./source.js";

const content = document.getElementById("content");

/** What the address asks for: `{view, id, query}`. */
function route() {
	const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
	const [view, id] = path.split("/").map(decodeURIComponent);
	return { view: view || "", id, query: Object.fromEntries(new URLSearchParams(query)) };
}

function go({ view = "runs", runs, ...query }) {
	const parameters = new URLSearchParams(runs ? { runs: runs.join(",") } : query).toString();
	location.hash = `#/${view}${parameters ? `?${parameters}` : ""}`;
}

function navigation(source, current) {
	const views = source.isReport ? [["runs", "Runs"]] : [["runs", "Runs"], ["compare", "Compare"], ["fleet", "Fleet"]];
	fill(document.getElementById("views"), views.map(([view, title]) => h("a", { href: `#/${view}`, "aria-current": view === current ? "page" : null }, title)));
}

/** The view that the address asks for. */
async function viewOf(source, { view, id, query }) {
	switch (view) {
		case "":
			if (source.isReport) return reportView(source);
			return runsView(source, query, go);
		case "runs": return id ? runView(source, id) : runsView(source, query, go);
		case "compare": return compareView(source, (query.runs ?? "").split(",").filter(Boolean));
		case "fleet": return fleetView(source);
		default: throw new Error("There is no such view.");
	}
}

/** What a report opens with: its run, or its runs over each other. */
async function reportView(source) {
	const { runs } = await source.runs({});
	if (runs.length === 1) return runView(source, runs[0].run_id);
	const series = await Promise.all(runs.map((run) => source.series(run.run_id)));
	return { title: `${runs.length} runs`, elements: compareElements(runs, series) };
}

/** A view is fetched again at most so often. */
const AGAIN_MS = 1000;

/** What is followed for the view that is shown: `{run, view, stop}`. */
let followed = null;

function unfollow() {
	followed?.stop();
	followed = null;
}

/** Shows a view again when something happens that changes it. The same stream goes on meanwhile. */
function followView(source, view) {
	if (followed && view.follows && followed.run === view.follows.run) {
		followed.view = view;
		return;
	}
	unfollow();
	if (!view.follows || source.isReport) return;
	const place = document.getElementById("connection");
	const mine = { run: view.follows.run, view };
	let timer = null;
	// Under the hands of somebody a list does not change.
	const isUsed = () => !mine.run && (content.querySelector("input:checked") || (content.contains(document.activeElement) && document.activeElement !== content));
	const again = async () => {
		timer = null;
		if (followed !== mine) return;
		if (isUsed() || !(await show(source, false))) later();
	};
	const later = () => {
		timer ??= setTimeout(again, AGAIN_MS);
	};
	const stop = follow(view.follows, (event) => mine.view.follows?.isChange(event) && later(), (state) => {
		place.textContent = { live: "", waiting: "waiting for the server …", gone: "this run is not there any more" }[state];
		document.documentElement.dataset.connection = state;
	});
	mine.stop = () => {
		clearTimeout(timer);
		stop();
		place.textContent = "";
	};
	followed = mine;
}

/** Each view that is asked for has a number: one that comes late is not shown over a later one. */
let asked = 0;

/** Shows what the address asks for. False where that could not be had, and what was shown stays. */
async function show(source, isNew) {
	const number = ++asked;
	const at = route();
	navigation(source, at.view || "runs");
	let view;
	try {
		view = await viewOf(source, at);
	} catch (error) {
		if (!isNew && followed) return false;
		view = { title: "Not shown", elements: failed(error) };
	}
	if (number !== asked) return true;
	document.title = `${view.title} · Metronome`;
	fill(content, view.elements);
	redrawPlots();
	if (isNew) {
		unfollow();
		scrollTo(0, 0);
		content.focus({ preventScroll: true });
	}
	followView(source, view);
	return true;
}

async function showServer(source) {
	const place = document.getElementById("server");
	if (source.isReport) {
		place.textContent = `report of ${source.madeAt} · Metronome ${source.version}`;
		return;
	}
	try {
		const [server, { agents }] = await Promise.all([source.server(), source.agents()]);
		place.textContent = `server ${server.data_address ?? UNKNOWN} · ${server.version} · ${numberOf(server.workers.length, "worker")} · ${numberOf(agents.length, "agent")}`;
	} catch (error) {
		place.textContent = error.message;
	}
}

function redraw() {
	redrawPlots();
	redrawMaps();
}

async function start() {
	let source;
	try {
		source = await openSource();
	} catch {
		fill(content, failed(new Error("The data of this report cannot be read.")));
		return;
	}
	addEventListener("hashchange", () => show(source, true));
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
	addEventListener("beforeprint", redraw);
	addEventListener("afterprint", redraw);
	showServer(source);
	await show(source, false);
}

start();
