// What moves: a run that goes on, through an upgrade of the server; lists, through its end and the next start.

import assert from "node:assert/strict";
import { barriers, open, show, whole } from "./browser.mjs";

/** While no server answers, a browser says so on its console. */
const ALLOWED = ["net::ERR", "503"];

/** Another number in the place of a figure. */
function moves(page, text) {
  return page.waitForFunction((before) => {
    const now = document.querySelectorAll(".kpis .kpi b")[1]?.textContent ?? "–";
    return now !== "–" && now !== "0" && now !== before;
  }, text);
}

const received = (page) => page.evaluate(() => document.querySelectorAll(".kpis .kpi b")[1].textContent);

/** The checks of the live part. */
export async function feedChecks({ check, system, browser, base, rows }) {
  await check("a run that goes on moves, through an upgrade of the server, and becomes its result", async () => {
    const started = JSON.parse(await system.benchctl("start", "--detach", "--clients", "10", "--rate", "100", "--duration", "20s", "--label", "suite=live", "-o", "json"));
    const page = await open(browser, base, { allowed: ALLOWED });
    await show(page, `${base}/#/runs/${started.run_id}`);
    await moves(page, "");
    await page.getByRole("img", { name: /over time/ }).locator("canvas").first().waitFor();
    await page.locator(".heat canvas").first().waitFor();
    assert.deepEqual(await barriers(page), []);
    const { pid } = JSON.parse(await system.benchctl("server", "upgrade", "-o", "json"));
    system.successor = pid;
    await moves(page, await received(page));
    await moves(page, await received(page));
    await page.getByRole("region", { name: "Objectives" }).waitFor({ timeout: 120_000 });
    await whole(page);
    const run = await system.json(`/api/v1/runs/${started.run_id}`);
    assert.equal(run.state, "ended");
    assert((await page.locator(".kpis .kpi b").first().innerText()) === run.counts.received.toLocaleString("en-US"));
    await page.done();
  });

  await check("a list follows what happens, through the end of one server and the start of the next", async () => {
    const page = await open(browser, base, { allowed: ALLOWED });
    await show(page, `${base}/#/runs`);
    await page.waitForFunction(() => document.documentElement.dataset.connection === "live");
    const before = (await rows(page, "Runs")).length;
    await system.restart();
    await page.waitForFunction(() => document.documentElement.dataset.connection === "live");
    const id = await system.run("--wait", "30s", "--clients", "1", "--rate", "10", "--duration", "1s");
    await page.getByRole("link", { name: id }).waitFor();
    await page.waitForFunction((run) => /HELD|VALID|PARTIAL/.test([...document.querySelectorAll("tbody tr")].find((row) => row.textContent.includes(run))?.textContent ?? ""), id);
    assert.equal((await rows(page, "Runs")).length, before + 1);
    await page.done();
  });
}
