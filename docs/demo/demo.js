// The page: what is typed is read, inverted, and shown.

import { BadInput, allDigits, inDigits, powerOfTen, readMatrix, upToTwoDigits } from "./matrix.js";
import { loadInverter } from "./runtime.js";

const PAUSE = 150; // milliseconds without a key after which the matrix is read
const LOOSE = 0.01; // of an error bound

const hilbert = (m) =>
  Array.from({ length: m }, (_, i) => Array.from({ length: m }, (_, j) => (i + j ? `1/${i + j + 1}` : "1")).join("  "));

const EXAMPLES = {
  "A good one": ["4  -2   1", "3   6  -4", "2   1   8"],
  "Rows in different units": ["2e9    1e9   -3e9", "1      4      2", "3e-9  -1e-9   5e-9"],
  Singular: ["1  2  3", "4  5  6", "7  8  9"],
  "Hilbert 4": hilbert(4),
  "Hilbert 8": hilbert(8),
};

const part = (id) => document.getElementById(id);
const field = part("matrix");
let inverter;
let turns = 0;
let timer;
let shown = null;

function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

/** A table of m columns; `cell` returns the properties of one. */
function table(m, cell) {
  const rows = Array.from({ length: m }, (_, i) =>
    element("tr", {}, ...Array.from({ length: m }, (_, j) => element("td", cell(i * m + j)))),
  );
  return element("table", {}, element("tbody", {}, ...rows));
}

function showVerdict(kind, title, text = "") {
  part("verdict").dataset.kind = kind;
  part("verdict").replaceChildren(...[title && element("strong", { textContent: title }), text].filter(Boolean));
}

function showFigure(id, value, text) {
  part(id).value = value;
  part(id).textContent = text;
}

function wordsOf(rho) {
  if (rho < 1) {
    const bound = powerOfTen(upToTwoDigits(rho), 2);
    const loose = rho > LOOSE ? " The bound is that loose because the matrix is near to singular for float32." : "";
    const text = `Relative error at most ${bound}, with rows and columns brought to one scale.${loose}`;
    return ["proved", "Proved: nonsingular", text];
  }
  const why = Number.isNaN(rho)
    ? "The matrix has a row or column of zeros, or entries too large, too small or too far apart for float32."
    : "The matrix is singular, or too near to that for float32, or its entries are too small or too far apart.";
  return ["unproved", "Not proved", why];
}

function showInverse({ m }, { inverse, rho }) {
  part("inverse-section").hidden = !inverse.every(Number.isFinite);
  part("inverse-title").textContent = rho < 1 ? "Inverse" : "What came out, not to be relied on";
  part("inverse").classList.toggle("unproved", !(rho < 1));
  part("inverse").replaceChildren(
    table(m, (k) => ({ textContent: inDigits(inverse[k], 6), title: allDigits(inverse[k]) })),
  );
}

function showRounded({ m, entries, changed, typed }) {
  const n = changed.filter(Boolean).length;
  part("rounded-section").hidden = n === 0;
  const who = n === 1 ? "One number is not a float32, and was" : `${n} numbers are not float32, and were`;
  part("rounded-note").textContent = `${who} rounded. Inverse and proof are of this matrix:`;
  part("rounded").replaceChildren(
    table(m, (k) => ({
      textContent: inDigits(entries[k], 9),
      className: changed[k] && n < m * m ? "changed" : "",
      title: changed[k] ? `${typed[k]}, rounded` : "",
    })),
  );
}

function showResult(matrix, result) {
  shown = { m: matrix.m, inverse: result.inverse };
  showVerdict(...wordsOf(result.rho));
  const isNearOne = Math.abs(result.rho - 1) < 0.005; // on which side, three digits might not tell
  showFigure("rho", result.rho, powerOfTen(result.rho, isNearOne ? 8 : 3));
  showFigure("residual", result.residual, powerOfTen(result.residual, 3));
  const { milliseconds } = result;
  showFigure("time", milliseconds, milliseconds < 0.1 ? "under 0.1 ms" : `${milliseconds.toFixed(1)} ms`);
  showInverse(matrix, result);
  showRounded(matrix);
  part("figures").hidden = false;
}

function showMessage(text) {
  part("message").textContent = text;
  field.setAttribute("aria-invalid", String(text !== ""));
  if (text) {
    showVerdict("waiting", "");
    part("figures").hidden = true;
  }
}

function showNotice(text) {
  part("notice").textContent = text;
  part("notice").hidden = false;
  showVerdict("waiting", "");
  part("figures").hidden = true;
}

async function update() {
  const turn = ++turns;
  try {
    const matrix = readMatrix(field.value);
    showMessage("");
    const result = await (await inverter)(matrix.m, matrix.entries);
    if (turn === turns) showResult(matrix, result);
  } catch (error) {
    if (turn === turns) (error instanceof BadInput ? showMessage : showNotice)(error.message);
  }
  if (turn === turns) part("result").setAttribute("aria-busy", "false");
}

function updateAfter(milliseconds) {
  part("result").setAttribute("aria-busy", "true");
  clearTimeout(timer);
  timer = setTimeout(update, milliseconds);
}

function showExample(rows) {
  field.value = rows.join("\n");
  updateAfter(0);
}

async function copy() {
  const { m, inverse } = shown;
  const row = (_, i) => Array.from(inverse.subarray(i * m, (i + 1) * m), allDigits).join("\t");
  const rows = Array.from({ length: m }, row);
  await navigator.clipboard.writeText(rows.join("\n"));
  part("copy").textContent = "Copied";
  setTimeout(() => (part("copy").textContent = "Copy all digits"), 1500);
}

function start() {
  for (const [name, rows] of Object.entries(EXAMPLES)) {
    const button = element("button", { type: "button", textContent: name });
    button.addEventListener("click", () => showExample(rows));
    part("examples").append(button);
  }
  part("form").addEventListener("submit", (event) => event.preventDefault());
  part("copy").hidden = !navigator.clipboard;
  part("copy").addEventListener("click", copy);
  field.addEventListener("input", () => updateAfter(PAUSE));
  showVerdict("waiting", "Loading the runtime, 14 MB …");
  inverter = loadInverter();
  if (field.value) updateAfter(0); // browsers keep what was typed when a page is loaded anew
  else showExample(EXAMPLES["A good one"]);
}

start();
