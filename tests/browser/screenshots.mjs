// A picture of each view, light and dark.

import { mkdirSync } from "node:fs";
import { open, show } from "./browser.mjs";

export async function screenshots(browser, base, folder, { one, other }) {
  mkdirSync(folder, { recursive: true });
  const views = [["runs", "#/runs", 560], ["run", `#/runs/${one}`, 1120], ["compare", `#/compare?runs=${one},${other}`, 900], ["fleet", "#/fleet", 680]];
  for (const colorScheme of ["light", "dark"]) {
    for (const [name, hash, height] of views) {
      const page = await open(browser, base, { colorScheme, viewport: { width: 1240, height } });
      await show(page, `${base}/${hash}`);
      await page.screenshot({ path: `${folder}/page-${name}-${colorScheme}.png` });
      await page.done();
    }
    const phone = await open(browser, base, { colorScheme, viewport: { width: 390, height: 844 } });
    await show(phone, `${base}/#/runs/${one}`);
    await phone.screenshot({ path: `${folder}/page-phone-${colorScheme}.png` });
    await phone.done();
  }
}
