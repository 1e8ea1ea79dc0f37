// A run that goes on, on a stream of events that is made here: what the page does with each.

import assert from "node:assert/strict";
import { open, show } from "./browser.mjs";

/** The run as it would be while it goes on. */
const goingOn = (run) => ({ ...run, state: "running", verdict: null, outcome: null, counts: null, ended_at: null });

const asEvents = (events) => events.map((event) => `event: ${event.event}\ndata: ${JSON.stringify(event)}\n\n`).join("");

export async function streamChecks({ check, system, browser, base, one }) {
  const run = goingOn(await system.json(`/api/v1/runs/${one}`));
  const isRun = (url) => url.pathname === `/api/v1/runs/${one}`;

  await check("an objective that is missed again is one line, with its newest figure", async () => {
    const missed = (sentence) => ({ event: "threshold_failed", run_id: one, objective: { metric: "latency", quantile: "p99", comparison: "<=", limit: 1, unit: "us", group: null, sentence } });
    const body = `retry: 1000000\n\n${asEvents([missed("first"), missed("second"), { ...missed("of a group"), objective: { ...missed("of a group").objective, group: "g" } }])}`;
    const page = await open(browser, base, {
      route: async (of) => {
        await of.route(isRun, (route) => route.fulfill({ json: run }));
        await of.route((url) => url.pathname.endsWith("/events"), (route) => route.fulfill({ contentType: "text/event-stream", body }));
      },
    });
    await show(page, `${base}/#/runs/${one}`);
    await page.getByText("of a group").waitFor();
    assert.deepEqual(await page.locator("main p.bad").allInnerTexts(), ["second", "of a group"]);
    await page.done();
  });

  await check("a run that is not there any more is not asked for again", async () => {
    let [asked, streams] = [0, 0];
    const page = await open(browser, base, {
      allowed: ["404"],
      route: async (of) => {
        await of.route(isRun, (route) => (asked++ === 0 ? route.fulfill({ json: run }) : route.fulfill({ status: 404, json: {} })));
        await of.route((url) => url.pathname.endsWith("/events"), (route) => {
          streams++;
          return route.fulfill({ status: 404, body: "" });
        });
      },
    });
    await page.clock.install();
    await show(page, `${base}/#/runs/${one}`);
    await page.waitForFunction(() => document.documentElement.dataset.connection === "waiting");
    await page.clock.runFor(3_000);
    await page.waitForFunction(() => document.documentElement.dataset.connection === "gone");
    await page.clock.runFor(600_000);
    assert.deepEqual([asked, streams], [2, 1]);
    assert.match(await page.locator("#connection").innerText(), /not there any more/);
    await page.done();
  });
}
