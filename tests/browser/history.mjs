// A history of 10,000 runs: the list is there at once, every page of it can be had, and one old run is found by its label.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { open, show, whole } from "./browser.mjs";
import { System } from "./system.mjs";

const RUNS = 10_000;
/** The best of them is printed and never compared: how busy the machine is decides as much as the page. */
const OPENINGS = 5;
/** What the server may grow by while all pages of the history are read, in MiB. */
const GROWTH_MIB_MAX = 64;

/** A server with such a history, and the ids of its newest and oldest run. */
async function longHistory() {
  const system = await System.start({ name: "a2", history: "long" });
  const newest = await system.run("--clients", "2", "--rate", "100", "--duration", "1s", "--label", "suite=nightly");
  await system.endServer();
  const script = fileURLToPath(new URL("history.py", import.meta.url));
  const oldest = execFileSync("python3", [script, system.database, String(RUNS - 1), "30"], { encoding: "utf8" }).trim();
  await system.startAgain();
  return { system, newest, oldest };
}

/** The most memory that the processes of a server had at once, MiB. */
function highestMib(pid) {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean);
  const kib = (of) => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${of}/status`, "utf8"))[1]);
  return [pid, ...children].reduce((sum, of) => sum + kib(of), 0) / 1024;
}

/** Ids in the list, by its links. */
const ids = (page) => page.locator("tbody th a").allInnerTexts();

async function follow(page, name) {
  await page.evaluate(() => { document.querySelector("#content .card").id = "old"; });
  await page.getByRole("link", { name, exact: true }).click();
  await page.waitForFunction(() => !document.getElementById("old"));
  await whole(page);
  return ids(page);
}

export async function historyChecks({ check, browser }) {
  const { system, newest, oldest } = await longHistory();
  const { base } = system;

  await check("of 10,000 runs the newest are on the screen first", async () => {
    const paints = [];
    for (let opening = 0; opening < OPENINGS; opening++) {
      const page = await open(browser, base);
      await page.goto(`${base}/`);
      await page.locator("tbody tr").first().waitFor();
      const [first, shown] = await page.evaluate(() => [performance.getEntriesByName("first-contentful-paint")[0].startTime, performance.now()]);
      assert.equal((await ids(page))[0], newest);
      paints.push({ first, shown });
      await page.done();
    }
    const best = (key) => Math.min(...paints.map((of) => of[key]));
    return `first paint after ${best("first").toFixed(0)} ms, the list after ${best("shown").toFixed(0)} ms`;
  });

  await check("every one of 10,000 runs is on one page, and the pages lead on and back", async () => {
    const before = highestMib(system.server.pid);
    const seen = new Set();
    let next = "/api/v1/runs?page_size=200";
    while (next) {
      const answer = await fetch(base + next);
      for (const run of (await answer.json()).runs) seen.add(run.run_id);
      next = /<([^>]*)>/.exec(answer.headers.get("link") ?? "")?.[1];
    }
    assert.equal(seen.size, RUNS);
    assert(seen.has(newest) && seen.has(oldest));
    const grown = highestMib(system.server.pid) - before;
    assert(grown <= GROWTH_MIB_MAX, `${grown} MiB`);
    const page = await open(browser, base);
    await show(page, `${base}/#/runs?text=suite%3Dnightly`);
    const first = await ids(page);
    const second = await follow(page, "Next runs");
    assert(second.length === first.length && !second.some((id) => first.includes(id)));
    // The way back keeps the search.
    assert.deepEqual(await follow(page, "First runs"), first);
    await page.getByLabel("Order").selectOption("oldest");
    await page.waitForFunction((id) => document.querySelector("tbody th a")?.textContent === id, oldest);
    await follow(page, "Next runs");
    await page.done();
    return `the server grew by ${grown.toFixed(0)} MiB`;
  });

  await check("of 10,000 runs the one is found that has a label, and opens", async () => {
    const page = await open(browser, base);
    await show(page, `${base}/#/runs`);
    await page.getByRole("searchbox").fill("origin=first");
    await page.getByRole("button", { name: "Search" }).click();
    await page.waitForFunction((id) => [...document.querySelectorAll("tbody th a")].map((of) => of.textContent).join() === id, oldest);
    await follow(page, oldest);
    assert.match(await page.locator("h1").innerText(), /2 × 100 Hz/);
    await page.getByText("All counters and percentiles").waitFor();
    await show(page, `${base}/#/runs?text=origin%3Dnowhere`);
    assert.match(await page.locator("main").innerText(), /No run matches\./);
    await page.done();
  });

  await system.stop();
}
