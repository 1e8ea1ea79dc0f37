// A picture of each view, light and dark, of a history of its own: no label of it means ill.

import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { open, show } from "./browser.mjs";
import { System } from "./system.mjs";

/** What one picture may take; where pngquant is, it makes them small. */
const COLOURS = "128";

/** A nightly suite as somebody would run it. */
async function history() {
  const system = await System.start({ name: "bench1", history: "pictures", flags: ["--jaeger-url", "http://127.0.0.1:16686"] });
  const labels = (build, ...more) => ["suite=nightly", `build=${build}`, ...more].flatMap((label) => ["--label", label]);
  const before = await system.run("--clients", "10", "--rate", "1k", "--duration", "20s", ...labels("1041"));
  await system.run("--clients", "4", "--rate", "200", "--duration", "3s", "--threshold", "latency.p99<1us", ...labels("1041", "case=strict"));
  await system.run("--group", "name=sensors clients=40 rate=20", "--group", "name=feeds clients=5 rate=100:1s,400:2s,100", "--duration", "5s", ...labels("1042", "case=mixed"));
  await system.run("--clients", "1000", "--rate", "2", "--duration", "5s", ...labels("1042", "case=wide"));
  const after = await system.run("--clients", "10", "--rate", "1k", "--duration", "20s", "--echo-every", "10", ...labels("1042"));
  return { system, before, after };
}

export async function screenshots(browser, folder) {
  mkdirSync(folder, { recursive: true });
  const { system, before, after } = await history();
  const { base } = system;
  const views = [["runs", "#/runs", 600], ["run", `#/runs/${after}`, 1180], ["compare", `#/compare?runs=${before},${after}`, 900], ["fleet", "#/fleet", 680]];
  const wide = { width: 1240 };
  const phone = { width: 390, height: 844 };
  for (const colorScheme of ["light", "dark"]) {
    const take = async (name, hash, viewport) => {
      const page = await open(browser, base, { colorScheme, viewport });
      await show(page, `${base}/${hash}`);
      const path = `${folder}/page-${name}-${colorScheme}.png`;
      await page.screenshot({ path });
      await page.done();
      reduce(path);
    };
    for (const [name, hash, height] of views) await take(name, hash, { ...wide, height });
    await take("phone", `#/runs/${after}`, phone);
  }
  await system.stop();
}

function reduce(path) {
  try {
    execFileSync("pngquant", ["--force", "--strip", "--output", path, COLOURS, path]);
  } catch {
    console.log(`  ${path} is as the browser made it: there is no pngquant`);
  }
}
