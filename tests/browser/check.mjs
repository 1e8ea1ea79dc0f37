// The checks, each a sentence. They wait for events, never for a time.

import assert from "node:assert/strict";
import { readFileSync, statSync } from "node:fs";
import { request } from "node:http";
import { barriers, launch, open, show, whole } from "./browser.mjs";
import { contentChecks } from "./content.mjs";
import { feedChecks } from "./feed.mjs";
import { historyChecks } from "./history.mjs";
import { nothing, poisoned } from "./hostile.mjs";
import { screenshots } from "./screenshots.mjs";
import { streamChecks } from "./stream.mjs";
import { System, work } from "./system.mjs";

const EVIL = "<img src=x onerror=hacked=1>";
const system = await System.start({ flags: ["--jaeger-url", "http://127.0.0.1:16686"] });
const browser = await launch();
const { base } = system;
let failures = 0;

/** The checks whose sentences have this, for work on one of them. */
const only = new RegExp(process.env.ONLY ?? "");

async function check(sentence, prove) {
  if (!only.test(sentence)) return;
  try {
    const figure = await prove();
    console.log(`  ${sentence}${figure ? `: ${figure}` : ""}`);
  } catch (error) {
    failures++;
    console.log(`FAULT: ${sentence}\n${error.stack}`);
  }
}

const one = await system.run("--clients", "10", "--rate", "500", "--duration", "4s", "--echo-every", "5", "--label", "suite=nightly", "--label", `evil=${EVIL}`);
const other = await system.run("--clients", "10", "--rate", "1k", "--duration", "3s", "--label", "suite=nightly");
const missed = await system.run("--clients", "4", "--rate", "200", "--duration", "2s", "--threshold", "latency.p99<1us", "--label", "suite=strict");
const groups = await system.run("--group", "name=sensors clients=20 rate=20", "--group", "name=feeds clients=5 rate=100:1s,300:1s,100", "--duration", "3s");
const wide = await system.run("--clients", "1000", "--rate", "2", "--duration", "4s", "--label", "suite=wide");
const views = [["runs", "#/runs"], ["run", `#/runs/${one}`], ["not held", `#/runs/${missed}`], ["groups", `#/runs/${groups}`], ["wide", `#/runs/${wide}`], ["compare", `#/compare?runs=${one},${other}`], ["choose", "#/compare"], ["fleet", "#/fleet"]];

/** Texts of elements. */
const texts = (page, selector) => page.locator(selector).allInnerTexts();
/** The cells of a table by the heading of their row. */
const rows = async (page, name) => {
  const region = page.getByRole("region", { name, exact: true });
  await region.waitFor();
  return region.locator("tbody tr").evaluateAll((found) => found.map((row) => [...row.cells].map((cell) => cell.textContent.trim())));
};
const inWords = (value) => (value === null ? "–" : value.toLocaleString("en-US"));

for (const [name, hash] of views) {
  await check(`the view ${name} is shown without an error and asks no other host`, async () => {
    const page = await open(browser, base);
    await show(page, `${base}/${hash}`);
    const text = await page.locator("body").innerText();
    for (const slip of ["undefined", "NaN", "[object", "null", "Not shown"]) assert(!text.includes(slip), `${slip} in ${text}`);
    await page.done();
  });
}

await check("the figures of a run are those of its JSON", async () => {
  const run = await system.json(`/api/v1/runs/${one}`);
  const page = await open(browser, base);
  await show(page, `${base}/#/runs/${one}`);
  const [received, , rate] = await texts(page, ".kpis .kpi b");
  assert.equal(received, inWords(run.counts.received));
  assert.equal(rate, `${Math.floor(run.rate.achieved_hz).toLocaleString("en-US")}/s`);
  const badges = await texts(page, ".headline .badge");
  assert.equal(badges.join(" ").toLowerCase(), [run.outcome.status.replace("_", " "), `${run.verdict.status}${run.verdict.valid_to ? ` to ${run.verdict.valid_to}` : ""}`].join(" "));
  assert.equal((await rows(page, "Objectives")).length, run.outcome.objectives.length);
  await page.getByText("All counters and percentiles").click();
  const counters = Object.fromEntries(await rows(page, "Counters"));
  for (const [counter, value] of Object.entries(run.counts)) {
    assert.equal(counters[counter.replace("warm_up", "warm-up").replaceAll("_", " ")], inWords(value), counter);
  }
  await page.getByText("Laws: all").click();
  assert.deepEqual((await rows(page, "Laws")).map(([law, , sentence]) => [law, sentence]), run.verdict.laws.map((law) => [law.law, law.sentence]));
  await page.done();
});

await check("the percentiles are those that benchctl prints", async () => {
  const summary = await system.benchctl("show", one);
  const page = await open(browser, base);
  await show(page, `${base}/#/runs/${one}`);
  await page.getByText("All counters and percentiles").click();
  const shown = await rows(page, "All percentiles");
  assert(shown.length > 0);
  for (const [name, ...cells] of shown.filter(([name]) => name !== "spread")) {
    const line = summary.split("\n").find((of) => of.startsWith(`${name} `));
    assert(line, `${name} in ${summary}`);
    for (const cell of cells.slice(0, 6)) assert(line.includes(cell), `${cell} in ${line}`);
  }
  await page.done();
});

await check("a plot shows the points of the series, and its figures as a table", async () => {
  const series = await system.json(`/api/v1/runs/${one}/series`);
  const page = await open(browser, base);
  await show(page, `${base}/#/runs/${one}`);
  await page.getByRole("img", { name: /latency over time/ }).locator("canvas").waitFor();
  const card = page.locator(".card:has(.plot)").first();
  await card.getByText("figures").click();
  const shown = await rows(page, "Figures of latency over time");
  assert.equal(shown.length, series.points.length);
  await card.getByRole("button", { name: "transit" }).click();
  assert.match(await card.locator("h2").innerText(), /TRANSIT OVER TIME/i);
  await page.done();
});

await check("the rows of 1,000 clients are those of the JSON", async () => {
  const { clients } = await system.json(`/api/v1/runs/${wide}/clients`);
  const page = await open(browser, base);
  await show(page, `${base}/#/runs/${wide}`);
  await page.locator("summary", { hasText: /^Clients$/i }).click();
  await page.getByRole("region", { name: "Clients, the slowest first" }).waitFor();
  const shown = await rows(page, "Clients, the slowest first");
  assert.equal(shown.length, clients.length);
  const sent = new Map(shown.map((row) => [row[0], row[4]]));
  for (const client of clients) assert.equal(sent.get(String(client.client)), inWords(client.counts.sent));
  const paint = await page.evaluate(() => performance.getEntriesByName("first-contentful-paint")[0].startTime);
  await page.done();
  return `first paint after ${paint.toFixed(0)} ms`;
});

await check("the list shows what every run came to, and is searched by label, outcome, verdict and id", async () => {
  const page = await open(browser, base);
  await show(page, `${base}/#/runs`);
  const ids = async () => ((await page.getByRole("table").count()) > 0 ? (await rows(page, "Runs")).map((row) => row[1]) : []);
  // The list is another one once what it stood in is gone.
  const anew = async (act) => {
    await page.evaluate(() => { document.querySelector("#content .card").id = "old"; });
    await act();
    await page.waitForFunction(() => !document.getElementById("old"));
    await whole(page);
    return ids();
  };
  const search = (text) => anew(async () => {
    await page.getByRole("searchbox").fill(text);
    await page.getByRole("button", { name: "Search" }).click();
  });
  const choose = (field, value) => anew(() => page.getByLabel(field).selectOption(value));
  assert.deepEqual(await ids(), [wide, groups, missed, other, one]);
  assert.deepEqual(await search("suite=nightly"), [other, one]);
  assert.deepEqual(await search(one.slice(0, 14)), [one]);
  assert.deepEqual(await search("created_at >= 2000-01-01T00:00:00Z AND labels.suite = wide"), [wide]);
  await search("");
  assert.deepEqual(await choose("Outcome", "not_held"), [missed]);
  assert.deepEqual(await choose("Verdict", "invalid"), []);
  await page.done();
});

await check("a search that is none says what is wrong with it", async () => {
  const page = await open(browser, base, { allowed: ["400"] });
  await show(page, `${base}/#/runs?text=${encodeURIComponent("state = nonsense AND")}`);
  assert.match(await page.getByRole("alert").innerText(), /filter/);
  await page.done();
});

await check("nothing of the data is taken for HTML, whatever stands in it", async () => {
  for (const [name, hash] of views) {
    const page = await open(browser, base, { route: (of) => poisoned(of, EVIL) });
    await show(page, `${base}/${hash}`);
    for (const summary of await page.locator("main summary:visible").all()) await summary.click();
    await whole(page);
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined, name);
    assert.equal(await page.locator("main img, main script, main iframe").count(), 0, name);
    assert.equal(await page.locator("a[href^='javascript:']").count(), 0, name);
    assert((await page.locator("main").innerText()).includes("<img") || name === "choose", name);
    await page.done();
  }
});

await check("what is not known is a dash, and no view stumbles over it", async () => {
  for (const [name, hash] of views) {
    const page = await open(browser, base, { route: nothing });
    await show(page, `${base}/${hash}`);
    for (const summary of await page.locator("main summary:visible").all()) await summary.click();
    await whole(page);
    const text = await page.locator("main").innerText();
    for (const slip of ["undefined", "NaN", "[object", "null", "Not shown"]) assert(!text.includes(slip), `${name}: ${slip} in ${text}`);
    await page.done();
  }
});

for (const colorScheme of ["light", "dark"]) {
  await check(`axe-core finds nothing that keeps somebody out, ${colorScheme}, wide and on a phone`, async () => {
    for (const viewport of [{ width: 1240, height: 900 }, { width: 390, height: 800 }]) {
      for (const [name, hash] of views) {
        const page = await open(browser, base, { colorScheme, viewport });
        await show(page, `${base}/${hash}`);
        for (const summary of await page.locator("main summary:visible").all()) await summary.click();
        await whole(page);
        assert.deepEqual(await barriers(page), [], `${name} ${viewport.width}`);
        await page.done();
      }
    }
  });
}

await check("on a phone nothing is wider than the screen, and tables scroll by themselves", async () => {
  for (const [name, hash] of views) {
    const page = await open(browser, base, { viewport: { width: 390, height: 800 } });
    await show(page, `${base}/${hash}`);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390, name);
    await page.done();
  }
});

await check("the keyboard alone is enough: to skip, to open a run, to read a plot, to compare", async () => {
  const page = await open(browser, base);
  await show(page, `${base}/#/runs`);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the content");
  const reach = async (matches) => {
    for (let step = 0; step < 80; step++) {
      await page.keyboard.press("Tab");
      if (await page.evaluate(matches)) return;
    }
    assert.fail(`no Tab reaches ${matches}`);
  };
  await reach(() => document.activeElement.type === "checkbox");
  await page.keyboard.press("Space");
  await reach(() => document.activeElement.type === "checkbox");
  await page.keyboard.press("Space");
  await reach(() => document.activeElement.textContent === "Compare 2");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => location.hash.startsWith("#/compare?runs="));
  await show(page, `${base}/#/runs/${one}`);
  await reach(() => document.activeElement.classList.contains("plot"));
  await page.keyboard.press("ArrowRight");
  await page.waitForFunction(() => /at [\d.]+ s/.test(document.activeElement.previousSibling.textContent));
  await page.done();
});

await check("light and dark change while the page is open, and nothing moves where no motion is asked for", async () => {
  const page = await open(browser, base, { reducedMotion: "reduce" });
  await show(page, `${base}/#/runs/${one}`);
  const ink = () => page.evaluate(() => getComputedStyle(document.body).color);
  const before = await ink();
  await page.emulateMedia({ colorScheme: "dark" });
  assert.notEqual(await ink(), before);
  const moving = await page.evaluate(() => document.getAnimations().length);
  assert.equal(moving, 0);
  await page.done();
});

await check("the trace of a run is one click away where a Jaeger is configured", async () => {
  const page = await open(browser, base);
  await show(page, `${base}/#/runs/${one}`);
  const link = new URL(await page.getByRole("link", { name: "trace" }).getAttribute("href"));
  assert.equal(link.origin, "http://127.0.0.1:16686");
  assert.deepEqual(JSON.parse(link.searchParams.get("tags")), { "metronome.run.id": one });
  await page.done();
});

await check("the fleet is what benchctl lists", async () => {
  const { agents } = JSON.parse(await system.benchctl("agents", "-o", "json"));
  const page = await open(browser, base);
  await show(page, `${base}/#/fleet`);
  assert.deepEqual((await rows(page, "Agents")).map((row) => row[0]), agents.map((agent) => agent.name));
  assert.equal((await rows(page, "Workers")).length, (await system.json("/api/v1/server")).workers.length);
  await page.done();
});

await check("two runs lie over each other, with the figures of both", async () => {
  const [a, b] = await Promise.all([one, other].map((id) => system.json(`/api/v1/runs/${id}`)));
  const page = await open(browser, base);
  await show(page, `${base}/#/compare?runs=${one},${other}`);
  const table = new Map((await rows(page, "Figures side by side")).map(([name, ...cells]) => [name, cells]));
  assert.deepEqual(table.get("received").slice(0, 2), [inWords(a.counts.received), inWords(b.counts.received)]);
  assert.deepEqual(table.get("lost"), ["0", "0", "="]);
  await page.done();
});

await check("a report opens from a file with the network off and shows what the page shows", async () => {
  const file = `${work}/report.html`;
  await system.benchctl("report", one, "--file", file);
  const page = await open(browser, "file://", { offline: true });
  await show(page, `file://${file}`);
  const inReport = await texts(page, ".kpis .kpi");
  const percentiles = await rows(page, "Percentiles");
  for (const summary of await page.locator("main summary:visible").all()) await summary.click();
  assert.deepEqual(await barriers(page), []);
  await page.pdf({ path: `${work}/report.pdf`, format: "A4" });
  await page.done();
  const live = await open(browser, base);
  await show(live, `${base}/#/runs/${one}`);
  assert.deepEqual(inReport, await texts(live, ".kpis .kpi"));
  assert.deepEqual(percentiles, await rows(live, "Percentiles"));
  await live.done();
  const html = readFileSync(file, "utf8");
  assert(!/(?:src|href)="?https?:/.test(html));
  return `${(html.length / 1024).toFixed(0)} KiB, printed on ${(statSync(`${work}/report.pdf`).size / 1024).toFixed(0)} KiB`;
});

await check("a report of 1,000 clients has their rows, and one of several runs lays them over each other", async () => {
  const file = `${work}/several.html`;
  await system.benchctl("report", one, other, wide, "--file", file);
  const page = await open(browser, "file://", { offline: true });
  await show(page, `file://${file}`);
  assert.match(await page.locator("h1").innerText(), /^3 runs/);
  await page.goto(`file://${file}#/runs/${wide}`);
  await page.waitForFunction((id) => document.title.includes(id), wide);
  await page.locator("summary", { hasText: /^Clients$/i }).click();
  await page.getByRole("region", { name: "Clients, the slowest first" }).waitFor();
  assert.equal((await rows(page, "Clients, the slowest first")).length, 1000);
  await page.done();
  return `${(statSync(file).size / 1024).toFixed(0)} KiB`;
});

await check("the page offers the report, which is the same file but for its instant", async () => {
  const page = await open(browser, base);
  await show(page, `${base}/#/runs/${one}`);
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("link", { name: "report as a file" }).click()]);
  assert.equal(download.suggestedFilename(), `metronome-${one}.html`);
  await page.done();
});

await check("start writes a report and plots, and each plot is a picture", async () => {
  const folder = `${work}/plots`;
  await system.benchctl("start", "--clients", "2", "--rate", "100", "--duration", "2s", "--report", `${work}/started.html`, "--plots", folder);
  const page = await open(browser, "file://", { offline: true });
  await show(page, `file://${work}/started.html`);
  for (const name of ["times.svg", "percentiles.svg", "rate.svg"]) {
    await page.goto(`file://${folder}/${name}`);
    assert((await page.locator("path.line").count()) >= 2, name);
  }
  await page.goto(`file://${folder}/clients.svg`);
  assert((await page.locator("g path.s").count()) >= 1);
  await page.done();
});

function status(path, options) {
  const [host, port] = system.http.split(":");
  return new Promise((resolve, reject) => {
    const asked = request({ host, port, path, ...options }, (answer) => {
      answer.resume();
      answer.once("end", () => resolve({ status: answer.statusCode, headers: answer.headers }));
    });
    asked.once("error", reject);
    asked.end(options?.body);
  });
}

await check("only this server's names are answered, only reading, with headers that keep strangers out", async () => {
  const port = system.http.split(":")[1];
  for (const path of ["/", "/assets/app.js", "/api/v1/runs", `/api/v1/runs/${one}`]) {
    for (const host of [`localhost:${port}`, `127.0.0.1:${port}`, `[::1]:${port}`]) {
      assert.equal((await status(path, { headers: { host } })).status, 200, `${path} ${host}`);
    }
    for (const host of ["evil.example", `evil.example:${port}`, "127.0.0.1:1", `127.0.0.1.evil.example:${port}`]) {
      assert.equal((await status(path, { headers: { host } })).status, 421, `${path} ${host}`);
    }
    for (const method of ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"]) assert.equal((await status(path, { method })).status, 405, `${method} ${path}`);
    const { headers } = await status(path, { method: "HEAD" });
    assert.match(headers["content-security-policy"], /default-src 'none'.*frame-ancestors 'none'/);
    assert(!/unsafe/.test(headers["content-security-policy"]));
    assert.equal(headers["x-content-type-options"], "nosniff");
    assert.equal(headers["referrer-policy"], "no-referrer");
    assert.equal(headers["cross-origin-resource-policy"], "same-origin");
    assert.equal(headers["access-control-allow-origin"], undefined);
  }
  const { headers } = await status("/assets/app.js");
  assert.equal((await status("/assets/app.js", { headers: { "if-none-match": headers.etag } })).status, 304);
  for (const path of ["/assets/../Cargo.toml", "/assets/%2e%2e/x", "/assets/", "/index.html"]) assert.equal((await status(path)).status, 404, path);
});

await contentChecks({ check, system, browser, base, one });
await streamChecks({ check, system, browser, base, one });
await feedChecks({ check, system, browser, base, rows, texts });
await historyChecks({ check, browser });

if (process.env.SCREENSHOTS) await screenshots(browser, process.env.SCREENSHOTS);
await browser.close();
await system.stop();
if (failures > 0) {
  console.log(`${failures} faults`);
  process.exit(1);
}
console.log("the page and the report are as they should be in chromium");
