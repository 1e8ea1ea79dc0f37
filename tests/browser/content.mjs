// What a page and a report have in their tables is the JSON of the run, figure by figure: read back from its text, not made as the page makes it.

import assert from "node:assert/strict";
import { open, show, whole } from "./browser.mjs";
import { work } from "./system.mjs";

const UNITS = { ns: 1e-3, "µs": 1, ms: 1e3, s: 1e6 };
const UNKNOWN = "–";

/** Whether the text of a time is that of so many µs, to the three digits that it has. */
function isTime(text, us, what) {
  if (us === null || us === undefined) return assert.equal(text, UNKNOWN, what);
  const [number, unit] = text.split(" ");
  const shown = Number(number.replaceAll(",", "")) * UNITS[unit];
  assert(Math.abs(shown - us) <= Math.max(0.00051, 0.0051 * Math.abs(us)), `${what}: ${text} for ${us} µs`);
}

function isCount(text, value, what) {
  assert.equal(text, value === null || value === undefined ? UNKNOWN : value.toLocaleString("en-US"), what);
}

const quantile = (times, key) => (key === "max" ? times?.max : times?.percentiles?.[key]);
const keyOf = (name) => name.replace(".", "_");
const timeOf = (name) => `${name.replaceAll(/[ -]/g, "_")}_us`;

/** Every table of the document, by its name: the headings, and the cells of each row. */
async function tables(page) {
  for (const summary of await page.locator("main summary:visible").all()) await summary.click();
  await page.waitForFunction(() => !document.querySelector("main").textContent.includes("Loading …"));
  // The figures of a plot are made when it is opened, which is behind the summary of its card.
  for (const summary of await page.locator("main details:not([open]) > summary:visible").all()) await summary.click();
  await whole(page);
  return page.evaluate(() => Object.fromEntries([...document.querySelectorAll("main .scroll")].map((region) => {
    const [head, ...rows] = [...region.querySelectorAll("tr")].map((row) => [...row.cells].map((cell) => cell.textContent.trim()));
    return [region.getAttribute("aria-label"), { head, rows }];
  })));
}

/** Each figure of the tables that the JSON has. */
function compared(shown, run, series) {
  for (const [name, ...cells] of shown["All percentiles"].rows) {
    shown["All percentiles"].head.slice(1, 1 + 6).forEach((key, index) => isTime(cells[index], quantile(run[timeOf(name)], keyOf(key)), `${name} ${key}`));
  }
  assert.equal(shown.Counters.rows.length, Object.keys(run.counts).length);
  for (const [name, value] of shown.Counters.rows) isCount(value, run.counts[name.replace("warm-up", "warm_up").replaceAll(" ", "_")], name);
  assert.equal(shown.Objectives.rows.length, run.outcome.objectives.length);
  assert.deepEqual(shown.Laws.rows.map(([law, , sentence]) => [law, sentence]), run.verdict.laws.map((law) => [law.law, law.sentence]));
  const parts = [...run.agents.map((of) => [of.clients, of.counts.sent]), ...run.receivers.flatMap((of) => of.workers.map((worker) => [undefined, worker.packets]))];
  shown["Agents and workers"].rows.forEach(([name, clients, packets], index) => {
    if (parts[index][0] !== undefined) isCount(clients, parts[index][0], name);
    isCount(packets, parts[index][1], name);
  });
  const { head, rows } = shown["Clients, the slowest first"];
  assert.equal(rows.length, run.clients.length);
  for (const row of rows) {
    const client = run.clients.find((of) => String(of.client) === row[0]);
    head.forEach((title, column) => {
      if (["sent", "received", "lost"].includes(title)) isCount(row[column], client.counts[title], `client ${row[0]} ${title}`);
      if (title.endsWith(" p99")) isTime(row[column], client[`${title.replaceAll(" ", "_")}_us`], `client ${row[0]} ${title}`);
    });
  }
  const overTime = shown["Figures of latency over time"];
  assert.equal(overTime.rows.length, series.points.length);
  overTime.rows.forEach((row, index) => overTime.head.slice(1).forEach((key, column) => isTime(row[column + 1], quantile(series.points[index].latency_us, keyOf(key)), `${key} of point ${index}`)));
  shown["Figures of Offered and received"].rows.forEach((row, index) => {
    const { counts, span_s: span } = series.points[index];
    const [shownHz, hz] = [Number(row[2].replaceAll(",", "").replace("/s", "")), counts.received / span];
    assert(shownHz <= hz && shownHz > hz - 1, `${row[2]} for ${hz}/s`);
  });
}

export async function contentChecks({ check, system, browser, base, one }) {
  await check("every figure of the tables is that of the JSON, and those of a report with the network off are the same", async () => {
    const run = await system.json(`/api/v1/runs/${one}/clients`);
    const series = await system.json(`/api/v1/runs/${one}/series`);
    const page = await open(browser, base);
    await show(page, `${base}/#/runs/${one}`);
    const onPage = await tables(page);
    await page.done();
    compared(onPage, run, series);
    const file = `${work}/content.html`;
    await system.benchctl("report", one, "--file", file);
    const report = await open(browser, "file://", { offline: true });
    await show(report, `file://${file}`);
    assert.deepEqual(await tables(report), onPage);
    await report.done();
    return `${Object.values(onPage).reduce((sum, { rows }) => sum + rows.flat().length, 0)} cells`;
  });

  await check("a reason stands with its cure, a note with what it asks for, and where a run took place is in its environment", async () => {
    const run = await system.json(`/api/v1/runs/${one}`);
    const reason = { code: "HOST_PAUSED", status: "invalid", sentence: "the host was away for 4 ms", remedy: "pin the cores", failure: null };
    const note = { ...run.verdict.notes[0], sentence: "the clocks are not one", remedy: "give the agents a common clock" };
    const changed = { ...run, verdict: { ...run.verdict, status: "invalid", reasons: [reason], notes: [note] } };
    const page = await open(browser, base, { route: (of) => of.route((url) => url.pathname === `/api/v1/runs/${one}`, (route) => route.fulfill({ json: changed })) });
    await show(page, `${base}/#/runs/${one}`);
    const grounds = (await page.locator(".grounds li").allInnerTexts()).map((text) => text.split("\n"));
    for (const [sentence, remedy] of [[`${reason.code}: ${reason.sentence}`, reason.remedy], [note.sentence, note.remedy]]) {
      assert(grounds.some((lines) => lines[0] === sentence && lines[1] === `→ ${remedy}`), JSON.stringify(grounds));
    }
    assert.match(await page.locator("main").innerText(), /Do not use these figures/);
    const { Environment } = await tables(page);
    assert.deepEqual(Environment.rows.map((row) => row[1]), run.environments.map((of) => of.host));
    const events = await page.locator("ol.events li").allInnerTexts();
    assert(events[0].endsWith("started") && events.at(-1).endsWith("ended"), events.join());
    await page.done();
  });

  await check("a rate is never shown higher than it is, and what is offered is not known where a step is not", async () => {
    const page = await open(browser, base);
    await show(page, `${base}/#/runs`);
    const [rates, offered] = await page.evaluate(async () => {
      const [{ rate }, series] = [await import("/assets/figures.js"), await import("/assets/series.js")];
      const steps = (rate_hz) => ({ shape: "steps", steps: [{ rate_hz: 10, duration_s: 1 }, { rate_hz, duration_s: null }] });
      const of = (profile) => series.offered({ duration_s: 2, groups: [{ clients: 2, profile }] }, [{ from_s: 0, span_s: 2 }]);
      return [[99.9996, 1.005, 0.0019996, 99.999, 100.9, 0].map(rate), [of(steps(30)), of(steps(null))]];
    });
    assert.deepEqual(rates, ["99.999/s", "1.005/s", "0.001/s", "99.999/s", "100/s", "0/s"]);
    assert.deepEqual(offered, [[40], [null]]);
    await page.done();
  });
}
