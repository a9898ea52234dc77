// How numbers are written: as `words.py` and `squares.py` write them.

const STEPS = [0.1, 0.25, 0.4, 0.55, 0.7, 0.85];

export function number(value) {
  if (value === null || value === undefined || typeof value === "string") return value ?? "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(2).replace(/\.?0*e\+?/, "e");
}

export const times = (ratio) => (ratio === null ? "–" : number(Number(ratio)) + "×");

/** 18,000, without the browser's tables of languages: it would read them for the first number while the page is being opened. */
export const count = (value) => String(value).replace(/\B(?=(\d{3})+$)/g, ",");

/** A share of the limit in a few characters: .42 · 1.7 · 250×. Null has no end. */
export function shareWords(share) {
  if (share === null) return "";
  if (share < 0.005) return "0";
  if (share < 0.995) return share.toFixed(2).slice(1);
  return share < 10 ? share.toFixed(1) : `${share >= 1e4 ? share.toExponential(1).replace("+", "") : Math.round(share)}×`;
}

/** 0 (far below the limit) to 6 (at it). */
export const levelOf = (share) => STEPS.filter((step) => share === null || share > step).length;

/** ⁻⁵³ */
export const superscript = (value) => String(value).replace(/./g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)]));

/** A power of two: 0.25 · 8 · 2⁻⁵³ */
export const power = (exponent) => (Math.abs(exponent) <= 10 ? number(2 ** exponent) : `2${superscript(exponent)}`);
