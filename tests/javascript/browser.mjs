import { createRequire } from "node:module";
import { resolve } from "node:path";

const unused = ["gpu", "quic", "background-networking", "component-update", "sync"];
const args = ["--no-sandbox", "--no-first-run", ...unused.map((what) => `--disable-${what}`)];

/** A browser with an empty profile, driven by the playwright-core of a folder of packages. */
export function launch(packages, executablePath) {
  const { chromium } = createRequire(resolve(packages, "package.json"))("playwright-core");
  return chromium.launch({ executablePath, timeout: 120_000, args });
}
