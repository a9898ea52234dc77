// One row in full: verdict and evidence, where it differs and by how much, its numbers, and what to type next.

import { commands } from "./commands.js";
import { element, table } from "./dom.js";
import { errorMap } from "./error_map.js";
import { routing } from "./flips.js";
import { number, times } from "./format.js";
import { ratios, roundoffs } from "./spread.js";

const NUMBERS_PER_JUDGEMENT = 7;
const NUMBERS_PER_ELEMENT = 5;
const ENDLESS = 1e300; // what the judge writes where a number has no end

/** Lists of `size` each; none of what a row has not. */
function chunks(list, size) {
  return Array.from({ length: list.length / size }, (_, i) => list.slice(i * size, (i + 1) * size));
}

const marked = (tone, text) => (tone === "code" ? element("code", "", text) : element("span", tone, text));

/** A text or a table of `pack.py`. */
function part([kind, first, rows]) {
  if (kind !== "table") return element("p", kind, first);
  const rights = first.map(([, align], i) => (align === "right" ? i : -1));
  const made = table(first.map(([title]) => title), rows.map((line) => line.map(([text, tone]) => marked(tone, text))), -1, -2);
  for (const line of made.querySelectorAll("tr")) {
    for (const [i, cell] of [...line.children].entries()) if (rights[i] === i) cell.classList.add("right");
  }
  return made;
}

function head(row) {
  const verdict = element("span", `verdict ${row.state} ${row.verdict === "pass" ? "good" : row.verdict === "accepted" ? "warn" : "bad"}`, row.verdict);
  const line = element("p", "row-head", verdict);
  if (row.diagnosis) line.append(element("b", "", row.diagnosis), element("span", "muted", row.meaning));
  const made = [element("h4", "", element("code", "", row.address), element("span", "muted", `${row.case} · ${row.cell} · ${row.mode}`)), line];
  if (row.evidence) made.push(element("p", "row-evidence", `${row.evidence}.`));
  return made;
}

function facts(row) {
  const pairs = element("dl", "pairs");
  const labels = { words: "drift", origin: "origin", problem: "problem", reason: "reason", value: "value" };
  for (const [name, label] of Object.entries(labels)) {
    const twice = name !== "words" && row.words.includes(row[name].replace(/^\w+: /, ""));
    if (!row[name] || twice) continue;
    const shown = name === "origin" || name === "value" ? element("code", "", row[name]) : row[name];
    pairs.append(element("dt", "", label), element("dd", "", shown));
  }
  for (const [name, text] of chunks(row.facts, 2)) pairs.append(element("dt", "", row.strings[name]), element("dd", "", text));
  return pairs;
}

function pictures(row) {
  const spread = [];
  if (row.spread) {
    const [dtype, byRoundoffs, byRatio, words] = row.spread;
    if (byRatio) spread.push(ratios(byRatio, words >= 0 ? row.strings[words] : ""));
    spread.push(roundoffs(byRoundoffs, row.strings[dtype]));
  }
  const found = [row.map ? errorMap(row) : null, spread.length ? element("div", "spreads", ...spread) : null].filter(Boolean);
  return found.length ? element("div", found.length > 1 ? "pictures" : "pictures alone", ...found) : null;
}

function numbers(row) {
  const found = [];
  const judged = chunks(row.judgements, NUMBERS_PER_JUDGEMENT).map(([metric, value, floor, ratio, limit, rule, ok]) => [
    row.strings[metric], number(value), floor ? number(floor) : "–", times(ratio), number(limit),
    element("span", ok ? "good" : "bad", ok ? "within" : "over"), element("span", "muted", row.strings[rule]),
  ]);
  const measured = chunks(row.metrics, 2).map(([metric, value]) => [
    row.strings[metric], number(value), "–", "–", "–", "", element("span", "muted", "not judged"),
  ]);
  if (row.worst.length) {
    const lines = chunks(row.worst, NUMBERS_PER_ELEMENT).map(([index, golden, got, difference, ulps]) => [
      element("code", "", `[${index.join(", ")}]`), String(golden), String(got),
      element("span", "bad", number(difference)), ulps === null ? "–" : ulps >= ENDLESS ? "∞" : number(ulps),
    ]);
    found.push(table(["worst elements", "golden", "got", "difference", "ulp"], lines, 1, 4));
  }
  if (judged.length + measured.length) {
    found.push(table(["metric", "value", "floor", "ρ", "limit", "", "budget"], [...judged, ...measured], 1, 4));
  }
  return found.length ? element("div", "numbers", ...found) : null;
}

export function panel(row) {
  const parts = [
    ...head(row), ...row.said.map(part), pictures(row), row.flips ? routing(row) : null, facts(row), numbers(row),
    row.commands.length ? commands(row) : null,
  ];
  return element("div", "row-panel", ...parts.filter(Boolean));
}
