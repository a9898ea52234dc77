// Paints the heat map's squares, names and heads on its canvas, as far as they are in sight.

import { levelOf, number, shareWords } from "./format.js";

const FONT = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace";
const GAP = 2; // pixels between squares
const CELL_GAP = 5; // and more between the modes of one cell and those of the next
const WIDE = 44; // pixels from which on a square has its number in it

export function readColours() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = ["sheet", "ink", "soft", "rule", "hair", "fail", "on-fail", "bad", "bad-wash"];
  const stops = Array.from({ length: 7 }, (_, i) => of(`l${i}`).match(/\w\w/g).map((hex) => parseInt(hex, 16)));
  return { stops, ...Object.fromEntries(names.map((name) => [name, of(name)])) };
}

/** The colour at 0 to 1. */
export function shade(colours, t) {
  const at = Math.max(0, Math.min(1, t)) * 6;
  const i = Math.min(5, Math.floor(at));
  const mixed = colours.stops[i].map((from, c) => Math.round(from + (colours.stops[i + 1][c] - from) * (at - i)));
  return `rgb(${mixed.join(" ")})`;
}

/** A canvas of that many pixels of the page, sharp on any screen. */
export function fit(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  return pen;
}

/** Where everything goes in `space` pixels: as wide squares as there is room for. `xs` are their left sides. */
export function layOut(run, map, space, narrow, pen) {
  pen.font = `12px ${FONT}`;
  const widest = (names) => names.reduce((most, name) => Math.max(most, pen.measureText(name).width), 0);
  const left = Math.ceil(Math.min(widest(map.lines.map((line) => line.name)) + 24, narrow ? 124 : 300));
  const breaks = map.columns.map(([cell], c) => c > 0 && map.columns[c - 1][0] !== cell);
  const gaps = breaks.filter(Boolean).length * CELL_GAP;
  const each = Math.floor((space - left - gaps - 10) / Math.max(map.columns.length, 1));
  const width = Math.max(15, Math.min(each, 132));
  let gone = 0;
  const xs = map.columns.map((_, c) => left + c * width + (gone += breaks[c] ? CELL_GAP : 0));
  const labels = map.columns.map(([cell]) => run.labels[run.names.cell[cell]]);
  const rotated = width < WIDE;
  const top = rotated ? Math.ceil(Math.min(widest(labels), narrow ? 96 : 150)) + 40 : 48;
  const right = (xs.at(-1) ?? left) + width + 6;
  return { left, top, width, height: rotated ? 18 : 24, space, xs, rotated, right };
}

/** The end of a name says more than its beginning: `…3.attn`. */
function fitted(pen, name, width) {
  if (pen.measureText(name).width <= width) return name;
  let from = 1;
  while (from < name.length && pen.measureText(`…${name.slice(from)}`).width > width) from++;
  return `…${name.slice(from)}`;
}

/** The number of the row that is shown there; mark and border of the worst. */
function square(pen, run, look, [worst, row], x, y) {
  const { size, colours, values, scale, log } = look;
  const [width, height] = [size.width - GAP, size.height - GAP];
  const state = run.text("state", worst);
  const value = values ? values[row] : run.numbers.share[row];
  pen.beginPath();
  pen.roundRect(x, y, width, height, 3);
  if (!values && state !== "pass") pen.fillStyle = state === "fail" ? colours.fail : colours["bad-wash"];
  else if (value === null) pen.fillStyle = colours.rule;
  else pen.fillStyle = shade(colours, values || log ? scale.of(value) : levelOf(value) / 6);
  pen.fill();
  if (state === "propagated" || (state === "fail" && values)) {
    pen.lineWidth = 1.5;
    pen.strokeStyle = colours.fail;
    pen.beginPath();
    pen.roundRect(x + 0.75, y + 0.75, width - 1.5, height - 1.5, 3);
    pen.stroke();
  }
  pen.fillStyle = values ? colours.ink : { fail: colours["on-fail"], propagated: colours.bad }[state] ?? colours.ink;
  pen.textAlign = "center";
  pen.font = `${state === "fail" ? 600 : 400} 11.5px ${FONT}`;
  const mark = run.text("mark", worst);
  const words = `${mark} ${values ? number(value) : shareWords(value)}`.trim();
  const shown = !size.rotated && pen.measureText(words).width <= width - 4 ? words : mark;
  if (shown) pen.fillText(shown, x + width / 2, y + height / 2 + 0.5);
}

function names(pen, look, from, to) {
  const { map, size, colours, dy } = look;
  pen.fillStyle = colours.sheet;
  pen.fillRect(0, 0, size.left - 2, look.tall);
  pen.textAlign = "left";
  for (let l = from; l < to; l++) {
    const line = map.lines[l];
    const heading = line.site === undefined;
    const at = look.cursor?.[0] === l;
    pen.fillStyle = heading ? colours.soft : colours.ink;
    pen.font = `${heading || at ? 600 : 400} 12px ${FONT}`;
    pen.fillText(fitted(pen, line.name, size.left - 20), heading ? 8 : 12, size.top + (l + 0.5) * size.height - dy - 0.5);
  }
}

function heads(pen, run, look, columns) {
  const { map, size, colours, dx, space } = look;
  pen.fillStyle = colours.sheet;
  pen.fillRect(0, 0, space, size.top);
  pen.save();
  pen.beginPath();
  pen.rect(size.left - 2, 0, space, size.top);
  pen.clip();
  for (const c of columns) {
    const [cell, mode] = map.columns[c];
    const x = size.xs[c] - dx;
    pen.textAlign = "center";
    pen.fillStyle = look.cursor?.[1] === c ? colours.ink : colours.soft;
    pen.font = `11.5px ${FONT}`;
    const name = run.names.mode[mode];
    const whole = pen.measureText(name).width <= size.width - 4;
    pen.fillText(whole ? name : name[0], x + size.width / 2 - 1, size.top - 16);
    if (c > 0 && map.columns[c - 1][0] === cell) continue;
    let end = c;
    while (end + 1 < map.columns.length && map.columns[end + 1][0] === cell) end++;
    const width = size.xs[end] + size.width - GAP - size.xs[c];
    const label = run.labels[run.names.cell[cell]];
    pen.fillStyle = colours.ink;
    pen.font = `600 12px ${FONT}`;
    if (size.rotated) upright(pen, fitted(pen, label, size.top - 34), x + width / 2, size.top - 28);
    else pen.fillText(fitted(pen, label, width), x + width / 2, 14);
    pen.fillStyle = colours.rule;
    pen.fillRect(x, size.top - (size.rotated ? 25 : 26), width, 1);
  }
  pen.restore();
}

function upright(pen, text, x, y) {
  pen.save();
  pen.translate(x, y);
  pen.rotate(-Math.PI / 2);
  pen.textAlign = "left";
  pen.fillText(text, 0, 0);
  pen.restore();
}

/** `look` is the map with its size, colours and scale, how far it is scrolled (`dx`, `dy`), and the cursor. */
export function paint(pen, run, look) {
  const { map, size, colours, dx, dy, space, tall, cursor } = look;
  pen.fillStyle = colours.sheet;
  pen.fillRect(0, 0, space, tall);
  pen.textBaseline = "middle";
  const from = Math.max(0, Math.floor(dy / size.height));
  const to = Math.min(map.lines.length, Math.ceil((dy + tall - size.top) / size.height));
  const columns = [...size.xs.keys()].filter((c) => size.xs[c] + size.width > dx + size.left && size.xs[c] < dx + space);
  for (let l = from; l < to; l++) {
    for (const c of columns) {
      const rows = [map.worst(map.lines[l], c), map.shown(map.lines[l], c)];
      if (rows[0] >= 0) square(pen, run, look, rows, size.xs[c] - dx, size.top + l * size.height - dy);
    }
  }
  if (cursor) {
    pen.lineWidth = 2;
    pen.strokeStyle = colours.ink;
    pen.beginPath();
    pen.roundRect(size.xs[cursor[1]] - dx - 1, size.top + cursor[0] * size.height - dy - 1, size.width, size.height, 4);
    pen.stroke();
  }
  names(pen, look, from, to);
  heads(pen, run, look, columns);
}
