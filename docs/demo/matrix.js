// Matrices as they are typed, and numbers as they are shown.

export const LARGEST_SIZE = 64;
const LARGEST_FLOAT = (2 - 2 ** -23) * 2 ** 127;
const NUMBER = /^([+-]?)(\d+\.?\d*|\.\d+)(?:e([+-]?\d+))?$/i;

/** What is wrong with what was typed, in a sentence. */
export class BadInput extends Error {}

/** Read a square matrix: its size, its entries in float32, and which of them rounding changed. */
export function readMatrix(text) {
  const rows = splitRows(text);
  if (rows.length === 0) throw new BadInput("Type or paste a square matrix, or choose an example.");
  checkSize(rows);
  const numbers = rows.map((row, i) => row.map((token, j) => readNumber(token, i, j)));
  checkSquare(rows);
  const flat = numbers.flat();
  return {
    m: rows.length,
    entries: Float32Array.from(flat, ({ rounded }) => rounded),
    changed: flat.map(({ changed }) => changed),
    typed: rows.flat(),
  };
}

/** Rows end with a line, a semicolon, or the bracket that Python writes. */
function splitRows(text) {
  return text
    .replaceAll("−", "-")
    .replace(/\]\s*,?\s*(?=\[)/g, "\n")
    .replace(/[[\]]/g, " ")
    .split(/[\n\r;]+/)
    .map((line) => line.split(/[\s,]+/).filter(Boolean))
    .filter((row) => row.length > 0);
}

function checkSize(rows) {
  const size = Math.max(rows.length, ...rows.map((row) => row.length));
  if (size > LARGEST_SIZE) {
    throw new BadInput(`This page takes up to ${LARGEST_SIZE} rows and columns, not ${size}. The file takes any size.`);
  }
}

function checkSquare(rows) {
  const n = count(rows.length, "row");
  const widths = rows.map((row) => row.length);
  const odd = widths.findIndex((width) => width !== widths[0]);
  if (odd >= 0) {
    const [first, other] = [count(widths[0], "number"), widths[odd]];
    throw new BadInput(`Not a matrix: row 1 has ${first}, row ${odd + 1} has ${other}.`);
  }
  if (widths[0] !== rows.length) throw new BadInput(`Not square: ${n} of ${count(widths[0], "number")}.`);
}

function count(n, what) {
  return n === 1 ? `1 ${what}` : `${n} ${what}s`;
}

function readNumber(token, i, j) {
  const where = `Row ${i + 1}, column ${j + 1}`;
  const parts = token.split("/");
  const value = parts.length > 1 ? Number(parts[0]) / Number(parts[1]) : Number(token);
  if (parts.length > 2 || !parts.every((part) => NUMBER.test(part)) || isZero(parts[1] ?? "1") || Number.isNaN(value)) {
    throw new BadInput(`${where}: “${token.slice(0, 30)}” is not a number.`);
  }
  const rounded = Math.fround(value);
  if (!Number.isFinite(rounded)) {
    const largest = powerOfTen(LARGEST_FLOAT, 2);
    throw new BadInput(`${where}: ${token.slice(0, 30)} is too large for float32, which ends at ${largest}.`);
  }
  return { rounded, changed: !isExactly(parts, rounded) };
}

function isZero(part) {
  return !/[1-9]/.test(part.match(NUMBER)?.[2] ?? "1");
}

/** Whether a decimal, or a fraction of two, is a float exactly, which float64 could not tell. */
function isExactly([numerator, denominator = "1"], float) {
  if (float === 0) return isZero(numerator);
  const [n, d] = ratio(numerator);
  const [p, q] = ratio(denominator);
  return BigInt(float * 2 ** 149) * d * p === (n * q) << 149n; // every float32 is a multiple of 2^-149
}

function ratio(decimal) {
  const [, sign, digits, exponent = "0"] = decimal.match(NUMBER);
  const [whole, fraction = ""] = digits.split(".");
  const n = BigInt(whole + fraction) * (sign === "-" ? -1n : 1n);
  const power = Number(exponent) - fraction.length;
  return power < 0 ? [n, 10n ** BigInt(-power)] : [n * 10n ** BigInt(power), 1n];
}

/** The shortest decimal that reads back as the same float32. */
export function allDigits(float) {
  for (let digits = 1; digits < 9; digits++) {
    const text = String(Number(float.toPrecision(digits)));
    if (Math.fround(Number(text)) === float) return text;
  }
  return String(Number(float.toPrecision(9)));
}

/** A number of some digits, with a true minus, and no zeros that stand for digits. */
export function inDigits(x, digits) {
  const plain = x === 0 || (Math.abs(x) >= 1e-4 && Math.abs(x) < 10 ** digits);
  const text = plain ? String(Number(x.toPrecision(digits))) : withoutZeros(x.toExponential(digits - 1));
  return text.replaceAll("-", "−");
}

function withoutZeros(text) {
  return text.replace(/\.?0*e\+?/, "e");
}

/** A nonnegative number of some digits, as a power of ten where that is easier to read. */
export function powerOfTen(x, digits) {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "not a number" : "infinite";
  if (x === 0 || (x >= 1e-3 && x < 1e5)) return String(Number(x.toPrecision(digits)));
  const [mantissa, exponent] = x.toExponential(digits - 1).split("e");
  return `${mantissa} × 10${superscript(Number(exponent))}`;
}

function superscript(n) {
  return [...String(n)].map((character) => (character === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[character])).join("");
}

/** The least number of two digits that is not below x: a bound that is shown must be one. */
export function upToTwoDigits(x) {
  const nearest = x.toExponential(1);
  if (Number(nearest) >= x) return Number(nearest);
  const [mantissa, exponent] = nearest.split("e");
  return Number(`${Number(mantissa) * 10 + 1}e${Number(exponent) - 1}`);
}
