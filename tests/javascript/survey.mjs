// node survey.mjs PACKAGES CHROMIUM < survey.json
//
// Looks at every page of a site as it is after its scripts ran: {url, pages, widths, query, pictures}. Printed is a list
// of {page, errors, overflow, tex, links, anchors}, and of the search page what a query found. With a folder for
// pictures, there is one of each page at each width.

import { join } from "node:path";
import { text as readAll } from "node:stream/consumers";
import { launch } from "./browser.mjs";

const TABS = 2;
const [packages, executablePath] = process.argv.slice(2);
const { url, pages, widths, query, pictures } = JSON.parse(await readAll(process.stdin));
const { origin } = new URL(url);
const browser = await launch(packages, executablePath);

/** TeX that a reader would see: formulas that were not drawn, and what looks like TeX in running text. */
async function findTex() {
  await globalThis.MathJax?.startup?.promise;
  const undrawn = [...document.querySelectorAll(".math, mjx-merror")].filter(
    (formula) => formula.matches("mjx-merror") || !formula.querySelector("mjx-container"),
  );
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const raw = [];
  while (walker.nextNode()) {
    const { data, parentElement } = walker.currentNode;
    const isCode = parentElement.closest("script, style, pre, code, kbd, textarea, mjx-container, .math");
    if (!isCode && /\\[([|]|\\[a-zA-Z]{2,}|\$\$|\\begin\{/.test(data)) raw.push(data);
  }
  return [...undrawn.map((formula) => formula.textContent), ...raw].map((text) => text.trim().slice(0, 80));
}

/** What reaches beyond the right edge, whether the document is then too wide or cuts it off. */
function findOverflow() {
  const edge = document.documentElement.clientWidth;
  const excess = document.documentElement.scrollWidth - edge;
  const found = excess > 0 ? [`the page is ${excess} pixels too wide`] : [];
  // What scrolls by itself, or ends in an ellipsis, may be wide; but for what holds the title, which is the page.
  const scrolls = (element) =>
    element &&
    !element.querySelector("h1") &&
    (["auto", "scroll"].includes(getComputedStyle(element).overflowX) ||
      getComputedStyle(element).textOverflow === "ellipsis" ||
      scrolls(element.parentElement));
  const reach = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    return Math.max(...[...range.getClientRects()].map(({ right }) => right));
  };
  const note = (element, what, right) => {
    if (right <= edge + 1 || !element.checkVisibility({ visibilityProperty: true })) return;
    const isForScreenReaders = element.getBoundingClientRect().width <= 1;
    if (!isForScreenReaders && !scrolls(element)) found.push(what);
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const { parentElement, data } = walker.currentNode;
    if (data.trim()) note(parentElement, `beyond the edge: ${data.trim().slice(0, 60)}`, reach(walker.currentNode));
  }
  for (const element of document.querySelectorAll("img, svg, table, input, textarea, mjx-container")) {
    note(element, `beyond the edge: ${element.localName}`, element.getBoundingClientRect().right);
  }
  return found.slice(0, 4);
}

function findLinks() {
  const links = [...document.querySelectorAll("a[href]")].filter((a) => a.getAttribute("href") !== "#");
  const anchors = [...document.querySelectorAll("[id], a[name]")].map((mark) => mark.id || mark.name);
  return { links: [...new Set(links.map((a) => a.href))], anchors };
}

async function look(page, name) {
  const errors = [];
  const note = (what) => errors.push(what);
  const onConsole = (message) => ["error", "warning"].includes(message.type()) && note(message.text());
  const onError = (error) => note(String(error));
  const onFailed = (request) => request.url().startsWith(origin) && note(`${request.url()} failed`);
  const onResponse = (response) => response.status() >= 400 && note(`${response.url()}: ${response.status()}`);
  const watch = { console: onConsole, pageerror: onError, requestfailed: onFailed, response: onResponse };
  const foreign = async (route) => {
    note(`${route.request().url()} is asked for, of another host`);
    await route.abort();
  };
  for (const [event, listener] of Object.entries(watch)) page.on(event, listener);
  await page.route((address) => address.protocol.startsWith("http") && address.origin !== origin, foreign);
  try {
    await page.setViewportSize({ width: widths[0], height: 900 });
    await page.goto(new URL(name, url).href, { waitUntil: "networkidle" });
    const tex = await page.evaluate(findTex);
    const overflow = {};
    for (const width of widths) {
      await page.setViewportSize({ width, height: 900 });
      overflow[width] = await page.evaluate(findOverflow);
      if (pictures) {
        const path = join(pictures, `${name.replaceAll("/", "-").replace(/\.html$/, "")}-${width}.png`);
        await page.screenshot({ path, fullPage: true });
      }
    }
    return { page: name, errors, overflow, tex, ...(await page.evaluate(findLinks)) };
  } finally {
    for (const [event, listener] of Object.entries(watch)) page.off(event, listener);
    await page.unrouteAll();
  }
}

async function search() {
  const page = await browser.newPage();
  await page.goto(new URL(`search.html?q=${encodeURIComponent(query)}`, url).href);
  const results = page.locator("#search-results li a");
  await results.first().waitFor({ timeout: 20_000 }).catch(() => {});
  return results.count();
}

async function take(waiting, looked) {
  const page = await browser.newPage();
  page.setDefaultTimeout(60_000);
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) looked.push(await look(page, name));
}

try {
  const waiting = [...pages];
  const looked = [];
  await Promise.all(Array.from({ length: TABS }, () => take(waiting, looked)));
  console.log(JSON.stringify({ pages: looked, found: query ? await search() : null }));
} finally {
  await browser.close();
}
