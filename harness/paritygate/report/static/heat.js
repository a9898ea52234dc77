// The heat map: every site against every cell and mode, on a canvas that draws what is in sight.

import { metricOf } from "./data.js";
import { button, eachFrame, element, segments, whenNear } from "./dom.js";
import { count, levelOf, number, shareWords } from "./format.js";
import { fit, layOut, paint, readColours, shade } from "./heat_draw.js";
import { linesOf, scaleOf, squaresOf } from "./squares.js";

const NARROW = window.matchMedia("(max-width: 640px)");
const DARK = window.matchMedia("(prefers-color-scheme: dark)");

/** What the letters in the squares stand for. */
function letters(run) {
  const marks = [...run.names.mark.keys()].filter((mark) => run.names.mark[mark]);
  const words = marks.map((mark) => `${run.names.mark[mark]} ${run.text("verdict", run.places.mark.indexOf(mark))}`);
  return words.length ? [words.sort().join(" · ")] : [];
}

export function heatMap(place, run, go) {
  if (!place) return () => {};
  let map = null;
  let values = null; // of the metric; null for the share of the limit
  let scale = null;
  let cursor = null; // [line, column]
  let colours = null;
  let size = null;
  let state = null;

  const metric = element("select", "");
  for (const name of ["share", ...run.metrics]) metric.append(new Option(name === "share" ? "share of the limit" : name, name));
  metric.setAttribute("aria-label", "Metric");
  metric.addEventListener("change", () => go({ metric: metric.value }));
  const scales = segments("Scale", [["linear", "linear"], ["log", "log"]], (value) => go({ scale: value }));
  const groups = segments("Order of the sites", [["order", "execution order"], ["kind", "kind of site"]],
    (value) => go({ group: value }));
  const ramp = element("canvas", "ramp");
  const [pale, dark] = [element("span", ""), element("span", "")];
  const [filled, outlined] = [element("span", "key fail", "to blame"), element("span", "key propagated", "")];
  const legend = element("span", "legend muted", pale, ramp, dark, filled, outlined);
  const canvas = element("canvas", "");
  const spacer = element("div", "spacer", canvas);
  const scroller = element("div", "scroll heat-view", spacer);
  const tip = element("div", "tip");
  tip.hidden = true;
  const said = element("p", "unseen");
  said.setAttribute("aria-live", "polite");
  const frame = element("div", "heat-frame", scroller, tip);
  const text = element("details", "heat-text", element("summary", "", "The same as a table"));
  text.addEventListener("toggle", () => text.open && map && drawText());
  place.replaceChildren(element("div", "tools", metric, scales.group, groups.group, element("span", "grow"), legend), frame,
    element("p", "muted caption", ["The worst row of each place; of a metric the worst value. Arrows move, Enter opens it.", ...letters(run)].join(" ")),
    said, text);
  scroller.tabIndex = 0;
  scroller.setAttribute("role", "application");
  scroller.setAttribute("aria-label", "Heat map of sites by cells and modes: arrows move, Enter opens the row that is shown");

  const valueOf = (row) => (values ? values[row] : run.numbers.share[row]);
  const columnWords = ([cell, mode]) => `${run.labels[run.names.cell[cell]]} ${run.names.mode[mode]}`;

  function wordsAt(line, column) {
    const [worst, row] = [map.worst(line, column), map.shown(line, column)];
    if (worst < 0) return ["no row here"];
    const share = run.numbers.share[worst];
    const of = (at) => `${run.text("port", at)}, ${run.text("case", at)}`;
    const lines = [`${[run.text("verdict", worst), run.text("diagnosis", worst)].filter(Boolean).join(", ")}: ${of(worst)}`];
    if (share !== null) lines.push(`${run.text("judged", worst)} at ${shareWords(share)} of its limit`);
    if (values) lines.push(`${state.metric} ${number(values[row])}${row === worst ? "" : `: ${of(row)}`}`);
    return [...lines, `${count(map.failing(line, column))} of ${count(map.total(line, column))} rows are not a pass`];
  }

  function measure() {
    size = layOut(run, map, scroller.clientWidth, NARROW.matches, canvas.getContext("2d"));
    spacer.style.width = `${size.right}px`;
    spacer.style.height = `${size.top + size.height * map.lines.length + 6}px`;
  }

  function draw(dx = scroller.scrollLeft, dy = scroller.scrollTop, space = scroller.clientWidth, tall = scroller.clientHeight) {
    const log = state.scale === "log";
    paint(fit(canvas, space, tall), run, { map, size, colours, values, scale, log, cursor, dx, dy, space, tall });
  }

  function squareAt(event) {
    const box = canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    if (x < size.left || y < size.top) return null;
    const line = Math.floor((y - size.top + scroller.scrollTop) / size.height);
    const column = size.xs.findLastIndex((left) => left <= x + scroller.scrollLeft);
    const real = map.lines[line] && column >= 0 && map.worst(map.lines[line], column) >= 0;
    return real ? [line, column] : null;
  }

  function showTip(at) {
    tip.hidden = !at;
    if (!at) return;
    const line = map.lines[at[0]];
    tip.replaceChildren(element("b", "", line.name), element("span", "muted", columnWords(map.columns[at[1]])),
      ...wordsAt(line, at[1]).map((words) => element("span", "", words)));
    const x = size.xs[at[1]] + size.width - scroller.scrollLeft + 8;
    const y = size.top + at[0] * size.height - scroller.scrollTop;
    const room = frame.clientWidth - tip.offsetWidth - 4;
    tip.style.left = `${Math.max(4, x > room ? x - size.width - tip.offsetWidth - 16 : x)}px`;
    tip.style.top = `${Math.max(0, Math.min(y, frame.clientHeight - tip.offsetHeight))}px`;
  }

  function moveTo(line, column) {
    cursor = [line, column];
    const { left, top, width, height, xs } = size;
    const clear = (from, length, scrolled, space) => Math.max(from + length - space, Math.min(scrolled, from));
    scroller.scrollTop = clear(line * height, height, scroller.scrollTop, scroller.clientHeight - top - 4);
    scroller.scrollLeft = clear(xs[column] - left, width, scroller.scrollLeft, scroller.clientWidth - left - 4);
    draw();
    showTip(cursor);
    const words = [map.lines[line].name, columnWords(map.columns[column]), ...wordsAt(map.lines[line], column)];
    said.textContent = words.join("; ");
  }

  /** The next line or column in a direction, headings left out; where there is none, where it is. */
  function step(down, right) {
    if (!cursor) return moveTo(map.lines.findIndex((line) => line.site !== undefined), 0);
    let line = cursor[0] + down;
    while (map.lines[line] && map.lines[line].site === undefined) line += Math.sign(down);
    const column = Math.max(0, Math.min(map.columns.length - 1, cursor[1] + right));
    moveTo(map.lines[line] ? line : cursor[0], column);
  }

  function open(at) {
    const row = at ? map.shown(map.lines[at[0]], at[1]) : -1;
    if (row >= 0) go({ row: run.key(row), at: "" });
  }

  const STEPS = { ArrowDown: [1, 0], ArrowUp: [-1, 0], ArrowRight: [0, 1], ArrowLeft: [0, -1], Home: [0, -1e9], End: [0, 1e9] };
  scroller.addEventListener("keydown", (event) => {
    if (!map?.lines.length) return;
    if (event.key in STEPS) step(...STEPS[event.key]);
    else if (event.key === "Enter") open(cursor);
    else if (event.key === "Escape" && cursor) {
      cursor = null;
      showTip(null);
      draw();
    } else return;
    event.preventDefault();
  });
  scroller.addEventListener("blur", () => showTip(null));
  canvas.addEventListener("pointermove", (event) => {
    const at = squareAt(event);
    canvas.classList.toggle("on", at !== null);
    showTip(at);
  });
  canvas.addEventListener("pointerleave", () => showTip(null));
  canvas.addEventListener("click", (event) => {
    cursor = squareAt(event) ?? cursor;
    draw();
    open(squareAt(event));
  });
  const redraw = eachFrame(() => map && draw());
  scroller.addEventListener("scroll", redraw, { passive: true });
  new ResizeObserver(eachFrame(() => {
    if (!map || scroller.clientWidth === size.space) return;
    measure();
    draw();
  })).observe(scroller);
  DARK.addEventListener("change", () => {
    if (!map) return;
    colours = readColours();
    draw();
    drawLegend();
  });

  function drawLegend() {
    const pen = fit(ramp, 96, 10);
    for (let x = 0; x < 96; x++) {
      pen.fillStyle = shade(colours, x / 95);
      pen.fillRect(x, 0, 1, 10);
    }
    filled.hidden = values !== null; // a fill says how large a metric is: all that is no pass is outlined
    outlined.textContent = values ? "not a pass" : "propagated";
    pale.textContent = number(scale.pale);
    dark.textContent = number(scale.dark);
  }

  function drawText() {
    const head = element("tr", "", element("td", ""), ...map.columns.map((column) => {
      const made = element("th", "", columnWords(column));
      made.scope = "col";
      return made;
    }));
    const body = map.lines.filter((line) => line.site !== undefined).map((line) => {
      const name = element("th", "", button("plain", line.name, () => go({ at: run.anchors[line.site] })));
      name.scope = "row";
      return element("tr", "", name, ...map.columns.map((_, column) => {
        const [worst, row] = [map.worst(line, column), map.shown(line, column)];
        if (worst < 0) return element("td", "empty");
        const share = run.numbers.share[worst];
        const shown = values ? number(values[row]) : shareWords(share);
        return element("td", `${run.text("state", worst)} l${levelOf(share)}`, `${run.text("mark", worst)} ${shown}`.trim() || "·");
      }));
    });
    const made = element("div", "scroll heat-scroll",
      element("table", "heat", element("thead", "", head), element("tbody", "", ...body)));
    made.tabIndex = 0;
    text.replaceChildren(text.firstChild, made);
  }

  let drawn = {};
  let asked = null;
  const draws = whenNear(frame, async () => {
    const next = asked.state;
    const held = next.metric === "share" ? null : await metricOf(run, next.metric);
    if (next !== asked.state) return; // another view was asked for meanwhile
    [state, values, cursor, map] = [next, held, null, squaresOf(run, asked.rows, asked.lines, next.metric, held)];
    const shown = map.lines.flatMap((line) => map.columns.map((_, column) => map.shown(line, column)));
    scale = scaleOf(run, shown.filter((row) => row >= 0).map(valueOf), values ? next.metric : "share", next.scale);
    colours = readColours();
    measure();
    draw();
    drawLegend();
    if (text.open) drawText();
  });
  // On paper there is nothing to scroll: all of it, as wide as the paper is.
  window.addEventListener("beforeprint", () => {
    if (map) draw(0, 0, size.right, size.top + size.height * map.lines.length + 6);
  });
  window.addEventListener("afterprint", () => map && draw());
  return (view) => {
    const { state: next, rows, sites } = view;
    metric.value = next.metric;
    scales.show(next.scale);
    groups.show(next.group);
    const changed = ["metric", "scale", "group"].some((name) => drawn[name] !== next[name]) || drawn.rows !== rows;
    drawn = { rows, metric: next.metric, scale: next.scale, group: next.group };
    if (changed) {
      asked = { state: next, rows, lines: linesOf(run, sites, next.group) };
      spacer.style.height = `${asked.lines.length * 24 + 54}px`; // so that what follows stays where it is
      draws();
    }
  };
}
