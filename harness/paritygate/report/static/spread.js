// The two histograms of a row: how far its elements are off, in roundoffs, and how many times the golden they are.

import { element } from "./dom.js";
import { count, number, power } from "./format.js";
import { drawing, label, svg } from "./svg.js";

const [WIDTH, HEIGHT, LEFT, BOTTOM] = [380, 138, 8, 22];
const PER_OCTAVE = 4;

const bar = (x, y, width, height, className, said) =>
  svg("rect", { x, y, width: Math.max(width - 1, 0.6), height: Math.max(height, 1.2), class: className }, svg("title", {}, said));

function figure(title, hint, picture, words) {
  const made = element("figure", "evidence-bars", element("figcaption", "", title, " ", element("small", "muted", hint)), picture);
  if (words) made.append(element("p", "spread-words", words));
  return made;
}

/** Elements by the power of two of their difference in roundoffs; a bar apart for those that are equal. */
export function roundoffs([zero, first, ...counts], dtype) {
  const total = zero + counts.reduce((sum, n) => sum + n, 0);
  const most = Math.max(...counts);
  const from = Math.min(first, -2);
  const to = Math.max(first + counts.length, 4);
  const step = (WIDTH - LEFT - 46) / (to - from);
  const room = HEIGHT - BOTTOM - 14;
  const x = (exponent) => LEFT + 42 + (exponent - from) * step;
  const y = (n) => 10 + room - (n / most) * room;
  const drawn = [svg("line", { class: "axis", x1: LEFT, x2: WIDTH, y1: 10 + room, y2: 10 + room })];
  // As tall as it is, or cut off: how many are equal must not hide the others.
  const tall = Math.min(zero / most, 1) * room;
  if (zero) drawn.push(bar(LEFT, 10 + room - tall, 30, tall, "bar equal", `${count(zero)} equal`));
  if (zero > most) drawn.push(svg("path", { class: "cut", d: `M${LEFT - 2},22l33,-6m0,5l-33,6` }));
  drawn.push(label(LEFT + 15, HEIGHT - 8, "middle", zero ? `${zero / total < 0.005 ? "<1" : Math.round((100 * zero) / total)} % =` : ""));
  counts.forEach((n, i) => {
    if (!n) return;
    const said = `${count(n)} of ${count(total)} differ by ${power(first + i)} to ${power(first + i + 1)} roundoffs`;
    drawn.push(bar(x(first + i), y(n), step, 10 + room - y(n), first + i >= 2 ? "bar far" : "bar", said));
  });
  const every = Math.ceil((to - from) / 7);
  for (let e = Math.ceil(from / every) * every; e < to; e += every) {
    if (x(e) > LEFT + 52) drawn.push(label(x(e), HEIGHT - 8, "middle", power(e)));
  }
  drawn.push(svg("line", { class: "mark", x1: x(0), x2: x(0), y1: 6, y2: 10 + room }));
  const within = (part) => {
    let sum = zero;
    let exponent = first;
    for (const n of counts) {
      if (sum >= part * total) break;
      sum += n;
      exponent++;
    }
    return power(exponent);
  };
  const said = `Half of ${count(total)} elements within ${within(0.5)} roundoffs, 99 % within ${within(0.99)}, all within ${within(1)}.`;
  return figure("How far off", `in roundoffs of ${dtype}`, drawing(WIDTH, HEIGHT, said, ...drawn), said);
}

/** Elements by got / golden: up with the golden's sign, down with the other. The fullest bar but that of 1 is marked. */
export function ratios([first, same, opposite, zero, typical], words) {
  const from = Math.min(first, -6) - 1;
  const to = Math.max(first + same.length, 7) + 1;
  const step = (WIDTH - 2 * LEFT) / (to - from);
  const turned = opposite.some((n) => n > 0);
  const most = Math.max(...same, ...opposite);
  const base = turned ? (HEIGHT - BOTTOM) / 2 + 6 : HEIGHT - BOTTOM - 4;
  const room = base - 24;
  const below = HEIGHT - BOTTOM - base;
  const x = (bin) => LEFT + (bin - from) * step;
  const peak = Math.round(PER_OCTAVE * Math.log2(Math.abs(typical)));
  const drawn = [svg("line", { class: "axis", x1: LEFT, x2: WIDTH - LEFT, y1: base, y2: base })];
  const add = (counts, sign) => counts.forEach((n, i) => {
    if (!n) return;
    const bin = first + i;
    const height = (n / most) * (sign > 0 ? room : below);
    const marked = words && bin === peak && Math.sign(typical) === sign && (bin !== 0 || sign < 0);
    const said = `${count(n)} about ${sign < 0 ? "−" : ""}${number(2 ** (bin / PER_OCTAVE))} times the golden`;
    const className = marked ? "bar peak" : bin === 0 && sign > 0 ? "bar right-value" : "bar";
    drawn.push(bar(x(bin), sign > 0 ? base - height : base, step, height, className, said));
    if (marked) drawn.push(label(x(bin) + step / 2, Math.max(base - (sign > 0 ? height : -height - 16) - 5, 10), "middle", `${number(typical)}×`, "peak-name"));
  });
  add(same, 1);
  add(opposite, -1);
  const octaves = (to - from) / PER_OCTAVE;
  const every = octaves > 12 ? 4 : octaves > 6 ? 2 : 1;
  for (let e = Math.ceil(from / PER_OCTAVE / every) * every; e * PER_OCTAVE < to - 1; e += every) {
    const at = x(e * PER_OCTAVE) + step / 2;
    drawn.push(label(Math.max(at, LEFT + 14), HEIGHT - 8, "middle", e === 0 ? "1×" : power(e)));
  }
  drawn.push(svg("line", { class: "mark", x1: x(0) + step / 2, x2: x(0) + step / 2, y1: 14, y2: HEIGHT - BOTTOM }));
  if (turned) drawn.push(label(WIDTH - LEFT, 12, "end", "same sign ↑"), label(WIDTH - LEFT, HEIGHT - BOTTOM, "end", "other sign ↓"));
  const apart = zero ? `${count(zero)} elements are zero on one side only.` : "";
  const said = [words ? `${words}.` : "No one factor stands out.", apart].filter(Boolean).join(" ");
  return figure("How many times the golden", "got / golden", drawing(WIDTH, HEIGHT, said, ...drawn), said);
}
