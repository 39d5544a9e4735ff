// node visit.mjs PACKAGES CHROMIUM < visit.json
//
// Visits a page as a user: {url, steps, widths, pictures}. A step is {button} to press, {text} to type, {copy} for what
// a button puts on the clipboard, or {} to look at what is there. Printed is what the page then shows, and all that went
// wrong: {steps, errors}. With a folder for pictures, there is one of each step at each width, in both colour schemes.

import { join } from "node:path";
import { text as readAll } from "node:stream/consumers";
import { launch } from "./browser.mjs";

const [packages, executablePath] = process.argv.slice(2);
const { url, steps, widths, pictures } = JSON.parse(await readAll(process.stdin));

const browser = await launch(packages, executablePath);
const page = await browser.newPage({ permissions: ["clipboard-read", "clipboard-write"] });
page.setDefaultTimeout(60_000);

const errors = [];
page.on("console", (message) => ["error", "warning"].includes(message.type()) && errors.push(message.text()));
page.on("pageerror", (error) => errors.push(String(error)));
page.on("requestfailed", (request) => errors.push(`${request.url()} failed`));

/** What a visitor sees, read off the page. */
function look() {
  const part = (id) => document.getElementById(id);
  const text = (id) => (part(id).checkVisibility() ? part(id).textContent : "");
  const value = (id) => (part(id).checkVisibility() ? part(id).value : "");
  const cells = (id, read) =>
    part(id).checkVisibility() ? [...part(id).querySelectorAll("tr")].map((row) => [...row.children].map(read)) : [];
  return {
    verdict: part("verdict").innerText.replaceAll("\n", " "),
    message: text("message"),
    notice: text("notice"),
    invalid: part("matrix").getAttribute("aria-invalid"),
    typed: part("matrix").value,
    rho: value("rho"),
    residual: value("residual"),
    time: text("time"),
    inverse: cells("inverse", (cell) => cell.title),
    rounded: cells("rounded", (cell) => cell.textContent.replaceAll("−", "-")),
  };
}

const press = (name) => page.getByRole("button", { name, exact: true }).click();

async function take({ button, text, copy }) {
  if (button) await press(button);
  if (text !== undefined) await page.getByRole("textbox", { name: "Your matrix" }).fill(text);
  await page.waitForSelector('#result[aria-busy="false"], #notice:not([hidden])', { state: "attached" });
  const seen = await page.evaluate(look);
  if (copy) {
    await press(copy);
    await page.getByRole("button", { name: "Copied" }).waitFor();
    seen.copied = await page.evaluate(() => navigator.clipboard.readText());
  }
  seen.overflow = [];
  for (const width of widths) {
    await page.setViewportSize({ width, height: 900 });
    seen.overflow.push(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth));
  }
  return seen;
}

async function takePictures(name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    for (const width of widths) {
      await page.setViewportSize({ width, height: 900 });
      await page.screenshot({ path: join(pictures, `${name}-${width}-${colorScheme}.png`), fullPage: true });
    }
  }
}

try {
  await page.goto(url);
  const seen = [];
  for (const [i, step] of steps.entries()) {
    seen.push(await take(step));
    if (pictures) await takePictures(i);
  }
  console.log(JSON.stringify({ steps: seen, errors }));
} finally {
  await browser.close();
}
