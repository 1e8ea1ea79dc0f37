// A browser of which every error is a fault, and every request to another host.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export async function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox", "--disable-dev-shm-usage"] });
}

/** A tab; `faults` has what went wrong in it. `allowed`: errors that are meant, as texts of theirs. */
export async function open(browser, base, { allowed = [], route, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1240, height: 900 }, ...options });
  const page = await context.newPage();
  page.faults = [];
  const fault = (text) => allowed.some((of) => text.includes(of)) || page.faults.push(text);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && fault(`console: ${message.text()} ${message.location().url}`));
  page.on("pageerror", (error) => fault(`error: ${error.stack}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(base) && url !== "about:blank" && !url.startsWith("data:") && !url.startsWith("blob:")) fault(`asks for ${url}`);
  });
  if (process.env.METRONOME_ASSETS) await fromFolder(page, process.env.METRONOME_ASSETS);
  if (process.env.NO_FEED) await page.route(/events/, (of) => of.fulfill({ contentType: "text/event-stream", body: "retry: 1000000\n\n" }));
  if (route) await route(page);
  page.done = async () => {
    assert.deepEqual(page.faults, []);
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await context.close();
  };
  return page;
}

/** The files of a folder in the place of those in the server: for work on the page, which need not be built then. */
async function fromFolder(page, folder) {
  await page.route((url) => url.pathname.startsWith("/assets/"), (route) => {
    route.fulfill({ path: `${folder}/${new URL(route.request().url()).pathname.replace("/assets/", "")}` });
  });
}

/** Shows a view and waits until nothing of it is missing. */
export async function show(page, url) {
  // Another place in the same document would be the old view for a while.
  await page.goto("about:blank");
  await page.goto(url);
  await whole(page);
}

export async function whole(page) {
  await page.waitForFunction(() => {
    const content = document.getElementById("content");
    return content.querySelector(".card") && !content.textContent.includes("Loading …");
  });
  // Plots are drawn when they are laid out.
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
}

/** What axe-core finds that keeps somebody out. */
export async function barriers(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.html.slice(0, 160)} ${node.any?.[0]?.message ?? ""}`).join(" | ").slice(0, 900)}`);
}
