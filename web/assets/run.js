// One run. The first glance answers whether it held, the second which figure says so, the third who.

import { card, fill, h, kpi } from "./dom.js";
import { UNKNOWN, count, instant, known, knownTimes, mainTime, percent, quantile, quantileName, rate, time, timeName, timeShort, word } from "./figures.js";
import { liveSeries, progressBox } from "./live.js";
import { cpuCard, curveCard, heatCard, rateCard, refreshed, timesCard } from "./pictures.js";
import { badges, isFinal, labels, planDetails, planInWords } from "./plan.js";
import { clock, redrawPlots } from "./plots.js";
import { badgesOf } from "./runs.js";
import { happenings } from "./series.js";
import { clientsCard, countsCard, environmentCard, groupsCard, lawsCard, networkCard, objectivesCard, planCard, whoCard } from "./tables.js";

/** The five figures of a run that has a report. */
function kpis(run) {
	const counts = run.counts ?? {};
	const all = [counts.scheduled, counts.sent, counts.received];
	const isOne = all.every((value) => value !== null && value === all[0]);
	const main = mainTime([run]);
	const kept = run.outcome?.objectives.find((of) => of.metric === "kept_up" && !of.group);
	const limit = run.limit;
	// The p99, or the largest quantile below it that is known.
	const shown = ["p99", "p90", "p50"].find((key) => quantile(run[main], key) !== undefined) ?? "p99";
	const next = { p99: "p99_9", p90: "p99", p50: "p90" }[shown];
	return h("div", { class: "kpis" },
		isOne
			? kpi(count(counts.received), "scheduled = sent = received")
			: kpi(count(counts.received), `received, ${count(counts.sent)} sent of ${count(counts.scheduled)} scheduled`),
		kpi(count(counts.lost), `lost, ${count(counts.skipped)} skipped, ${count(counts.corrupt)} corrupt`),
		kpi(rate(run.rate?.achieved_hz), `of ${rate(run.rate?.offered_hz)}${kept ? `, kept up ${percent(kept.observed, 4)}` : ""}`),
		kpi(time(quantile(run[main], shown)), `${timeName(main)} ${quantileName(shown)}, ${quantileName(next)} ${time(quantile(run[main], next))}`),
		kpi(known(limit?.kind, word), `limit${limit?.sentence && limit.kind !== "none" ? `. ${limit.sentence}` : ""}`));
}

/** Why it came out as it did, each with the way out. */
function grounds(run) {
	const list = [];
	const add = (kind, text, remedy) => list.push(h("li", { class: kind }, text, remedy ? h("div", { class: "dim" }, `→ ${remedy}`) : null));
	if (run.failure) add("bad", run.failure.sentence, run.failure.remedy);
	for (const reason of run.verdict?.reasons ?? []) {
		add(reason.status === "invalid" ? "bad" : "warn", `${known(reason.code, String)}: ${reason.sentence}`, reason.remedy);
		if (reason.failure) add("warn", reason.failure.sentence, reason.failure.remedy);
	}
	for (const objective of run.outcome?.objectives ?? []) {
		if (objective.status === "not_held") add("bad", `${objective.group ? `${objective.group}: ` : ""}${objective.sentence}`);
	}
	// Where the groups have limits of their own, the run has none.
	const groups = (run.groups ?? []).map((group) => ({ ...group, whose: ` of group ${group.group}` }));
	const spoilt = run.verdict?.punctuality ? [{ ...run.verdict, whose: "" }] : groups;
	for (const { punctuality: late, valid_to, whose } of spoilt.filter((of) => of.valid_to && of.punctuality)) {
		add("warn", `${percent(late.late_percent, 4)} of the packets${whose} were sent late or skipped by the generator (> ${timeShort(late.limit_us)}): what counts from due is not known above ${valid_to}.`);
	}
	for (const note of run.verdict?.notes ?? []) add("", note.sentence, note.remedy);
	return list.length > 0 ? h("ul", { class: "grounds" }, list) : null;
}

/** What is not in the words of the plan. */
function details(run) {
	return [...planDetails(run.plan), ...labels(run), `run ${run.run_id}`, instant(run.created_at)].join(" · ");
}

function actions(source, run) {
	const links = [];
	if (!source.isReport) {
		const id = encodeURIComponent(run.run_id);
		links.push(h("a", { href: `/api/v1/runs/${id}` }, "JSON"), h("a", { href: `/api/v1/runs/${id}/series` }, "series as JSON"));
		if (run.verdict) links.push(h("a", { href: `/api/v1/runs/${id}/report.html`, download: `metronome-${run.run_id}.html` }, "report as a file"));
	}
	const trace = source.trace(run.run_id);
	if (trace) links.push(h("a", { href: trace, rel: "noreferrer" }, "trace"));
	return links.length > 0 ? h("div", { class: "actions" }, links) : null;
}

function headline(run) {
	return [badgesOf(run), h("h1", {}, planInWords(run.plan)), h("span", { class: "dim" }, details(run))];
}

function head(source, run, live) {
	const invalid = run.state === "ended" && run.verdict?.status === "invalid";
	return card(12, null,
		h("div", { class: "headline" }, headline(run)),
		invalid ? h("p", { class: "bad" }, "Do not use these figures.") : null,
		run.unstored ? h("p", { class: "warn" }, "The result is not stored yet: the server cannot write it, and tries again.") : null,
		live, run.verdict ? kpis(run) : null, grounds(run), actions(source, run));
}

function eventsCard(run) {
	const list = happenings(run);
	if (list.length === 0) return null;
	return card(6, "Events", h("ol", { class: "events" }, list.map((of) => h("li", {},
		h("span", { class: "dim" }, `${known(of.at_s, (at) => clock(Math.round(at * 10) / 10))} `), h("span", { class: of.kind ?? "" }, of.text)))));
}

/** A card that is shown when its data have come; until then its place is kept. */
function later(columns, title, data, make) {
	if (!(data instanceof Promise)) return make(data);
	// Data that are there already are no promise: a place that is not shown yet cannot be given to another.
	const place = card(columns, title, h("p", { class: "dim waiting" }, "Loading …"));
	data.then((come) => {
		place.replaceWith(make(come));
		redrawPlots();
	}).catch((error) => place.replaceChildren(h("h2", {}, title), h("p", { class: "bad" }, error.message)));
	return place;
}

/** Everything of a run, with its series, which may come later. */
export function runElements(source, run, series, live = null) {
	const main = mainTime([run]);
	return [
		head(source, run, live),
		...(run.verdict ? [
			later(8, "Times over time", series, (of) => timesCard(of, main)),
			objectivesCard(run),
			later(8, "Clients × time", series, (of) => heatCard(of)),
			curveCard([{ run }], knownTimes([run]), main),
			later(6, "Offered and received", series, (of) => rateCard(run, of)),
			later(6, "CPU, percent of a core", series, (of) => cpuCard(of)),
			groupsCard(run),
			whoCard(run),
			eventsCard(run),
			countsCard(run),
			networkCard(run),
			lawsCard(run),
			run.clients === null && source.isReport ? null : clientsCard(run, () => source.clients(run.run_id)),
		] : [isFinal(run) ? eventsCard(run) : null]),
		environmentCard(run),
		planCard(run),
	].filter(Boolean);
}

/** The title of a run's document. */
export function titleOf(run) {
	return `${badges(run).map(([text]) => text).join(" · ")} · ${planInWords(run.plan)} · ${run.run_id ?? UNKNOWN}`;
}

/** A run that goes on: its pictures begin when they are first looked at, and move. */
function liveView(source, run) {
	const seen = liveSeries();
	const box = progressBox(run);
	const makers = [
		(old) => timesCard(seen.series, old?.chosen ?? "latency_us"),
		() => rateCard(run, seen.series, 4),
		() => heatCard(seen.series),
		() => cpuCard(seen.series, 4),
	];
	let pictures = makers.map((make) => make());
	const top = head(source, run, box);
	const elements = [top, ...pictures, environmentCard(run), planCard(run)].filter(Boolean);
	const see = (event) => {
		if (event.event === "snapshot" && event.snapshot.run_id === run.run_id) {
			box.update(event.snapshot);
			if (seen.take(event.snapshot)) pictures = pictures.map((old, index) => (old.querySelector("canvas:focus") ? old : refreshed(old, makers[index](old))));
		}
		if (event.event === "run_changed" && event.run.run_id === run.run_id) fill(top.firstElementChild, headline(event.run));
		if (event.event === "threshold_failed" && event.run_id === run.run_id) box.miss(event.objective);
		return event.event === "run_ended" && event.run.run_id === run.run_id;
	};
	return { title: titleOf(run), run, elements, follows: { run: run.run_id, isChange: see } };
}

/** The view. */
export async function runView(source, id) {
	const run = await source.run(id);
	if (!isFinal(run) && !source.isReport) return liveView(source, run);
	return { title: titleOf(run), run, elements: runElements(source, run, run.verdict ? source.series(id) : null) };
}
