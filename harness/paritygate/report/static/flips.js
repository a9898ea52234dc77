// The choices of a row that flipped: their margins against what is allowed, and each in a line.

import { element, table } from "./dom.js";
import { number } from "./format.js";
import { drawing, label, svg } from "./svg.js";

const [WIDTH, HEIGHT, LEFT, RIGHT] = [760, 92, 30, 730];
const LANES = { excused: 26, refused: 44, follows: 62 };

/** A mark for each fate, so that none is told by colour alone. */
function mark(fate, x, y, said) {
  const title = svg("title", {}, said);
  if (fate === "refused") return svg("path", { class: "flip refused", d: `M${x - 5},${y - 5}l10,10m0,-10l-10,10` }, title);
  if (fate === "follows") return svg("circle", { class: "flip follows", cx: x, cy: y, r: 4.5 }, title);
  return svg("circle", { class: "flip excused", cx: x, cy: y, r: 5 }, title);
}

function strip(flips, bound, said) {
  const sizes = [bound, ...flips.map((flip) => flip.ratio)].filter((size) => size > 0 && size < 1e300).map(Math.log2);
  const [low, high] = [Math.floor(Math.min(...sizes)) - 1, Math.ceil(Math.max(...sizes)) + 1];
  const x = (ratio) => LEFT + ((Math.min(Math.max(Math.log2(ratio || 2 ** low), low), high) - low) / (high - low)) * (RIGHT - LEFT);
  const drawn = [];
  if (bound > 0) {
    drawn.push(
      svg("rect", { class: "allowed", x: LEFT, y: 14, width: x(bound) - LEFT, height: 58 }),
      svg("line", { class: "bound", x1: x(bound), x2: x(bound), y1: 10, y2: 72 }),
      label(x(bound), 8, "middle", `allowed ${number(bound)}`, "tick strong"),
    );
  }
  drawn.push(svg("line", { class: "axis", x1: LEFT, x2: RIGHT, y1: 72, y2: 72 }));
  const every = Math.ceil((high - low) / 10);
  for (let e = Math.ceil(low / every) * every; e <= high; e += every) drawn.push(label(x(2 ** e), 86, "middle", number(2 ** e)));
  for (const flip of flips) drawn.push(mark(flip.fate, x(flip.ratio), LANES[flip.fate], `${flip.place}: margin ${number(flip.ratio)}, ${flip.fate}`));
  return drawing(WIDTH, HEIGHT, said, ...drawn);
}

/** The routing panel of a row whose choices flipped. */
export function routing(row) {
  const [bound, words, scores, packed] = row.flips;
  const flips = packed.map(([at, token, golden, got, ratio, own, depth, fate]) => ({
    place: `token ${token} of row ${at}`, golden, got, ratio, own, depth, fate: row.strings[fate],
  }));
  const tones = { excused: "warn", refused: "bad", follows: "muted" };
  const lines = flips.map((flip) => [
    flip.place, `${flip.golden.join(", ")} → ${flip.got.join(", ")}`, number(flip.ratio),
    element("span", flip.own < 0 ? "bad" : "", number(flip.own) + (flip.own < 0 ? ": against them" : "")),
    flip.depth ? String(flip.depth) : "", element("span", tones[flip.fate], flip.fate),
  ]);
  const keys = element("p", "map-legend",
    ...["excused", "refused", "follows"].map((fate) => element("span", "", svg("svg", { viewBox: "0 0 14 14", class: "flip-key" }, mark(fate, 7, 7, fate)), fate === "follows" ? "follows from an earlier flip" : fate)));
  return element("figure", "evidence-flips",
    element("figcaption", "", "Choices that flipped ", element("small", "muted", `margin of ${row.strings[scores]}, relative to the two scores`)),
    strip(flips, bound, row.strings[words]), keys, element("p", "spread-words", row.strings[words]),
    table(["flip", "golden → got", "margin", "by its own scores", "depth", ""], lines, 2, 4));
}
