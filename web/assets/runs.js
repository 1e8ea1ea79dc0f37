// The list of runs: live ones first, then the history in pages, searched by label, outcome and
// verdict. Two that are chosen are compared.

import { card, fill, h, table } from "./dom.js";
import { count, instant, known, mainTime, quantile, time, timeName } from "./figures.js";
import { badges, isFinal, labels, planInWords } from "./plan.js";

const PAGE_SIZE = 50;
/** More are not laid over each other: nobody could read it. */
export const COMPARED_MAX = 6;

const LIVE = "state != ended AND state != failed AND state != aborted";

function quoted(value) {
	return `"${value.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/**
 * The filter of a search, as `benchctl runs --filter` takes it: words are labels, `suite=nightly`,
 * or the beginning of a run's id; what has blanks around its operators is a filter already.
 */
export function filterOf({ text = "", outcome = "", verdict = "" }) {
	const parts = [];
	const typed = text.trim();
	if (/\s(AND|=|!=|<|<=|>|>=)\s/.test(` ${typed} `)) parts.push(typed);
	else {
		for (const part of typed.split(/\s+/).filter(Boolean)) {
			const [key, ...value] = part.split("=");
			if (value.length > 0) parts.push(`labels.${key} = ${quoted(value.join("="))}`);
			else parts.push(`run_id = ${part}`);
		}
	}
	if (outcome) parts.push(`outcome = ${outcome}`);
	if (verdict) parts.push(`verdict = ${verdict}`);
	return parts.join(" AND ");
}

function search(query, go) {
	const field = (name, title, options) => h("label", {}, title, h("select", { name, onchange: submit },
		options.map(([value, text]) => h("option", { value, selected: (query[name] ?? "") === value }, text))));
	const text = h("input", { type: "search", name: "text", value: query.text ?? "", placeholder: "suite=nightly, or 01a2…", autocomplete: "off" });
	const form = h("form", { class: "search", role: "search", onsubmit: submit },
		h("label", { class: "grow" }, "Label, id or filter", text),
		field("outcome", "Outcome", [["", "any"], ["held", "held"], ["not_held", "not held"], ["not_judged", "not judged"]]),
		field("verdict", "Verdict", [["", "any"], ["valid", "valid"], ["partial", "partial"], ["invalid", "invalid"]]),
		field("order", "Order", [["", "newest first"], ["oldest", "oldest first"]]),
		h("button", { type: "submit" }, "Search"));
	function submit(event) {
		event.preventDefault();
		go(Object.fromEntries([...new FormData(form)].filter(([, value]) => value)));
	}
	return form;
}

/** Badges of a run, in one line. */
export function badgesOf(run) {
	return badges(run).flatMap(([text, kind], index) => [index > 0 ? " " : null, h("span", { class: `badge ${kind}` }, text)]);
}

function columns(runs, chosen, changed) {
	const main = mainTime(runs);
	const times = (run) => run[main];
	const box = (run) => h("input", {
		type: "checkbox",
		"aria-label": `Compare run ${run.run_id}`,
		checked: chosen.has(run.run_id),
		disabled: !run.verdict,
		onchange: (event) => {
			if (event.target.checked) chosen.add(run.run_id);
			else chosen.delete(run.run_id);
			changed();
		},
	});
	return [
		{ title: "", of: box, left: true },
		{ title: "Run", of: (run) => h("a", { href: `#/runs/${run.run_id}` }, run.run_id), row: true },
		{ title: "Result", of: badgesOf, left: true },
		{ title: "Load", of: (run) => planInWords(run.plan), left: true },
		{ title: `${timeName(main)} p99`, of: (run) => time(quantile(times(run), "p99")) },
		{ title: "p99.9", of: (run) => time(quantile(times(run), "p99_9")) },
		{ title: "Lost", of: (run) => count(run.counts?.lost) },
		{ title: "Created", of: (run) => instant(run.created_at), left: true },
		{ title: "Labels", of: (run) => h("div", { class: "narrow", title: labels(run).join(" ") }, labels(run).join(" ")), left: true },
	];
}

/** The view. `query`: what was searched for, in which order, and the page. */
export async function runsView(source, query, go) {
	const filter = filterOf(query);
	const { page: token, ...first } = query;
	const page = { page_size: PAGE_SIZE, ...(filter && { filter }), ...(query.order && { order: query.order }), ...(token && { page_token: token }) };
	const isSearch = Boolean(filter || query.order || token);
	const live = source.isReport || isSearch ? null : source.runs({ page_size: PAGE_SIZE, filter: LIVE }).catch(() => ({ runs: [] }));
	const listed = await source.runs(page);
	const more = (query_, text) => h("a", { href: `#/runs?${new URLSearchParams(query_)}` }, text);
	const list = h("div", {});
	let runs = [];
	function put(others) {
		const all = [...others, ...listed.runs];
		runs = isSearch ? all : [...all.filter((run) => !isFinal(run)), ...all.filter(isFinal)];
		const chosen = new Set();
		const compare = h("button", { type: "button", disabled: true, onclick: () => go({ view: "compare", runs: [...chosen] }) }, "Compare");
		const changed = () => {
			compare.disabled = chosen.size < 2 || chosen.size > COMPARED_MAX;
			compare.textContent = chosen.size > 0 ? `Compare ${chosen.size}` : "Compare";
		};
		const none = isSearch
			? [`No run matches${listed.next ? " so far" : ""}.`]
			: ["There are no runs yet. ", h("code", {}, "benchctl start --clients 10"), " makes the first."];
		const unreadable = listed.unreadable_run_ids;
		fill(list,
			runs.length > 0 ? table("Runs", columns(runs, chosen, changed), runs) : h("p", { class: "dim" }, none),
			unreadable.length > 0 ? h("p", { class: "warn" }, `Not readable: ${unreadable.join(", ")}`) : null,
			h("div", { class: "actions" }, runs.length > 0 ? compare : null,
				listed.next ? more({ ...first, page: listed.next }, "Next runs") : null, token ? more(first, "First runs") : null));
	}
	put([]);
	// Looking for those that go on takes as long as the history is; most often they are among the newest.
	live?.then((found) => {
		const others = found.runs.filter((run) => !listed.runs.some((of) => of.run_id === run.run_id));
		if (others.length > 0) put(others);
	});
	return {
		title: "Runs",
		elements: [card(12, null, h("h1", {}, "Runs"), source.isReport ? null : search(query, go), list)],
		// A run that was made or has ended changes the list, whichever it is.
		follows: token ? null : { isChange: (event) => isNews(event) || (event.event === "present" && !isSame(event.run_ids, runs.filter((run) => !isFinal(run)).map((run) => run.run_id), isSearch)) },
	};
}

/** Whether the runs that go on are those that are shown; in a search some may not be. */
function isSame(live, shown, isSearch) {
	return shown.every((id) => live.includes(id)) && (isSearch || live.every((id) => shown.includes(id)));
}

/** Whether an event changes a list: those of the state that a stream begins with have no number. */
export function isNews(event) {
	return event.event === "present" ? event.missed : event.event !== "snapshot" && event.number !== null;
}

/** What stands where a view cannot be shown. */
export function failed(error) {
	return [card(12, "Not shown", h("p", { class: "bad", role: "alert" }, known(error?.message, String)))];
}

