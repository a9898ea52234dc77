// One row in full: what it is, every metric with its floor and limit, the worst elements with both values.

import { element, table } from "./dom.js";
import { number, times } from "./format.js";

const NUMBERS_PER_JUDGEMENT = 7;

function chunks(list, size) {
  return Array.from({ length: list.length / size }, (_, i) => list.slice(i * size, (i + 1) * size));
}

export function panel(row) {
  const pairs = element("dl", "pairs");
  const labels = ["verdict", "words", "diagnosis", "origin", "problem", "reason", "value"];
  for (const label of labels) {
    if (!row[label] || (label === "reason" && row.reason === row.words)) continue;
    const shown = label === "verdict" ? row.verdict.replace("_", " ") : row[label];
    const tone = label === "verdict" ? (row.verdict === "pass" ? "good" : "bad") : "";
    pairs.append(element("dt", "", label === "words" ? "drift" : label), element("dd", tone, shown));
  }
  const judged = chunks(row.judgements, NUMBERS_PER_JUDGEMENT).map(([metric, value, floor, ratio, limit, rule, ok]) => [
    row.strings[metric], number(value), floor ? number(floor) : "–", times(ratio), number(limit),
    element("span", ok ? "good" : "bad", ok ? "within" : "over"), element("span", "muted", row.strings[rule]),
  ]);
  const measured = chunks(row.metrics, 2).map(([metric, value]) => [
    row.strings[metric], number(value), "–", "–", "–", "", element("span", "muted", "not judged"),
  ]);
  const made = element("div", "row-panel",
    element("h4", "", `${row.port} · ${row.case} · ${row.cell} · ${row.mode}`), pairs);
  if (judged.length + measured.length) {
    made.append(table(["metric", "value", "floor", "ρ", "limit", "", "budget"], [...judged, ...measured], 1, 4));
  }
  if (row.worst.length) {
    const lines = chunks(row.worst, 4).map(([index, golden, got, difference]) => [
      element("code", "", `[${index.join(", ")}]`), String(golden), String(got),
      element("span", "bad", number(difference)),
    ]);
    made.append(table(["worst elements", "golden", "got", "difference"], lines, 1, 3));
  }
  return made;
}
