// How numbers are written: as `words.py` writes them.

export function number(value) {
  if (value === null || value === undefined || typeof value === "string") return value ?? "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e5 ? String(Number(value.toPrecision(3))) : value.toExponential(2).replace(/\.?0*e/, "e");
}

export const times = (ratio) => (ratio === null ? "–" : number(Number(ratio)) + "×");
