// The map of a difference: blocks on a canvas, edges and their names around it, a cursor by mouse and by keys.

import { axesOf, blocksOf, edgesOn, groups, words } from "./axes.js";
import { element } from "./dom.js";
import { number, superscript } from "./format.js";

const [NOTHING, EQUAL, BROKEN] = [" ", "#", "!"];
const STOPS = ["--m0", "--m1", "--m2", "--m3", "--m4", "--m5"];
const GAP = 4; // between rows, heads and experts
const TALLEST = 430;
const LEFT = 74;
const TOP = 34;
const FOOT = 16;
const LYING = 4;
const APART = 2; // blocks between two edges that are drawn, at least: nearer ones hide what they divide

// One listener for all maps: each of its own would keep its canvas for as long as the page is open.
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const canvas of document.querySelectorAll("canvas.map")) canvas.dispatchEvent(new Event("recolour"));
});

/** What `details.py` packed of a row, as fields. */
function read(packed, strings) {
  const [down, across, edges, begins, least, levels, said] = packed;
  const own = { down: axesOf(down, strings), across: axesOf(across, strings) };
  const [height, width] = [blocksOf(own.down), blocksOf(own.across)];
  // Many tokens of a few experts are a strip: it lies better than it stands.
  const lying = height > LYING * width;
  const sides = lying ? { down: own.across, across: own.down } : own;
  const kinds = edges.map(([axis, name, every]) => {
    const side = (axis < down.length) === lying ? "across" : "down";
    const depth = axis < down.length ? axis : axis - down.length;
    const drawn = every >= APART * sides[side][depth].step;
    return { side, depth, name: strings[name], every, at: drawn ? edgesOn(sides[side], depth, every) : [] };
  });
  return {
    ...sides, begins, least, said,
    levels: lying ? Array.from(levels, (_, i) => levels[(i % height) * width + Math.floor(i / height)]).join("") : levels,
    height: lying ? width : height, width: lying ? height : width,
    edges: kinds.filter((kind) => kind.at.length),
  };
}

/** How large the difference is in a block, relative to the golden: null where there is no number. */
function ratioOf(map, block) {
  const level = map.levels[block];
  if (level === EQUAL) return 0;
  if (level === NOTHING || level === BROKEN) return null;
  return 2 ** ((map.levels.charCodeAt(block) - 40 + map.least - 130) / 2);
}

/** 0 where a difference is one rounding, 1 where it is as large as the golden. */
const shareOf = (map, ratio) => Math.min(Math.max(1 - Math.log2(ratio) / map.begins, 0), 1);

function worstBlock(map) {
  const broken = map.levels.indexOf(BROKEN);
  if (broken >= 0) return broken;
  let worst = 0;
  for (let i = 1; i < map.levels.length; i++) if ((ratioOf(map, i) ?? -1) > (ratioOf(map, worst) ?? -1)) worst = i;
  return worst;
}

function sayBlock(map, block, kind) {
  const where = [words(map.down, Math.floor(block / map.width)), words(map.across, block % map.width)].filter(Boolean).join(" · ");
  const ratio = ratioOf(map, block);
  if (map.levels[block] === BROKEN) return [where, "not finite"];
  if (ratio === null) return [where, "nothing compared: no real token"];
  if (ratio === 0) return [where, "equal, bit for bit"];
  return [where, kind === "float" ? `off by about ${number(Number(ratio.toPrecision(2)))}× the golden's rms` : `${Math.round(ratio * ratio * 100)} % otherwise`];
}

/** Colours of the page as it is now, light or dark. */
function palette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim();
  const rgb = STOPS.map(read).map((hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));
  const ramp = (share) => {
    const at = share * (rgb.length - 1);
    const low = Math.min(Math.floor(at), rgb.length - 2);
    return `rgb(${rgb[low].map((c, i) => Math.round(c + (rgb[low + 1][i] - c) * (at - low))).join(" ")})`;
  };
  return { ramp, ink: read("--ink"), soft: read("--soft"), sheet: read("--sheet"), equal: read("--equal"), broken: read("--broken"), edge: read("--edge"), font: getComputedStyle(document.body).fontFamily };
}

/** Where blocks lie on the canvas: a gap between the indices of outer axes. */
function layout(map, room) {
  const across = groups(map.across);
  const down = groups(map.down);
  const gaps = { x: (across.length - 1) * GAP, y: (down.length - 1) * GAP };
  const wide = Math.max(Math.min((room - LEFT - gaps.x - 1) / map.width, 22), 1);
  const tall = Math.max(Math.min((TALLEST - gaps.y) / map.height, 16, Math.max(wide * 1.6, 7)), 3);
  const group = (parts, i) => Math.min(Math.floor(i / parts[0].length), parts.length - 1);
  return {
    across, down, wide, tall,
    x: (i) => LEFT + i * wide + group(across, i) * GAP,
    y: (i) => TOP + i * tall + group(down, i) * GAP,
    width: LEFT + map.width * wide + gaps.x + 1,
    height: TOP + map.height * tall + gaps.y + FOOT,
    foot: TOP + map.height * tall + gaps.y,
  };
}

function paint(canvas, map, room, cursor) {
  const place = layout(map, room);
  const colours = palette();
  const scale = Math.max(window.devicePixelRatio || 1, 1);
  canvas.width = Math.round(place.width * scale);
  canvas.height = Math.round(place.height * scale);
  canvas.style.width = `${place.width}px`;
  canvas.style.height = `${place.height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  pen.clearRect(0, 0, place.width, place.height);
  paintBlocks(pen, map, place, colours);
  paintNames(pen, map, place, colours);
  for (const [i, kind] of map.edges.entries()) paintEdges(pen, kind, i, place, colours);
  if (cursor !== null) {
    const [x, y] = [place.x(cursor % map.width), place.y(Math.floor(cursor / map.width))];
    // Two rings, of which one shows on any colour.
    for (const [colour, width] of [[colours.sheet, 4.5], [colours.ink, 2]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.strokeRect(x - 1, y - 1, place.wide + 2, place.tall + 2);
    }
  }
  return place;
}

function paintBlocks(pen, map, place, colours) {
  for (let block = 0; block < map.levels.length; block++) {
    const [x, y] = [place.x(block % map.width), place.y(Math.floor(block / map.width))];
    // A hair wider than the block, so that no seam shows between two.
    const [wide, tall] = [place.wide + 0.3, place.tall + 0.3];
    const level = map.levels[block];
    if (level === NOTHING) continue;
    const ratio = ratioOf(map, block);
    pen.fillStyle = level === BROKEN ? colours.broken : ratio ? colours.ramp(shareOf(map, ratio)) : colours.equal;
    pen.fillRect(x, y, wide, tall);
    if (level === BROKEN) {
      pen.strokeStyle = "#fff";
      pen.lineWidth = 1;
      pen.beginPath();
      pen.moveTo(x + 1, y + tall - 1);
      pen.lineTo(x + wide - 1, y + 1);
      pen.stroke();
    }
  }
}

function paintNames(pen, map, place, colours) {
  pen.textBaseline = "middle";
  const say = (text, x, y, align, bold = "") => {
    pen.font = `${bold}11px ${colours.font}`;
    pen.textAlign = align;
    pen.fillText(text, x, y);
  };
  pen.fillStyle = colours.ink;
  const named = map.across.length > 1 ? map.across.at(-2) : null;
  let free = 0;
  for (const part of place.across) {
    const middle = (place.x(part.start) + place.x(part.start + part.length - 1) + place.wide) / 2;
    const text = named && place.wide * part.length < 52 ? part.text.replace(/^\D+/, "") : part.text;
    const half = pen.measureText(text).width / 2;
    if (text && middle - half > free) {
      say(text, middle, TOP - 9, "center", "600 ");
      free = middle + half + 4;
    }
  }
  const inner = map.across.at(-1);
  if (!named && inner) {
    pen.fillStyle = colours.soft;
    say(`${inner.one} ${inner.first}`, LEFT, TOP - 9, "left");
    if (map.width * place.wide > 140) say(String(inner.first + inner.size - 1), place.width - 1, TOP - 9, "right");
  } else if (named && pen.measureText(named.one).width < LEFT) {
    pen.fillStyle = colours.soft;
    say(named.one, LEFT - 6, TOP - 9, "right");
  }
  if (named) {
    pen.fillStyle = colours.soft;
    const every = ticksOf(map, "across", inner, 30 / place.wide);
    for (const part of place.across) {
      for (let i = 0; i < part.length && part.length > 1; i += every) {
        const x = place.x(part.start + i);
        if (i && x + 20 > place.x(part.start + part.length - 1) + place.wide) break;
        say(String(inner.first + i * inner.step), x, place.foot + 9, "left");
      }
    }
  }
  for (const part of place.down) {
    pen.fillStyle = colours.ink;
    const top = place.y(part.start);
    if (part.text) say(part.text, 2, top + Math.max(place.tall / 2, 6), "left", "600 ");
    pen.fillStyle = colours.soft;
    const axis = map.down.at(-1);
    if (!axis) continue;
    const every = ticksOf(map, "down", axis, 13 / place.tall);
    for (let i = 0; i < part.length; i += every) {
      say(String(axis.first + i * axis.step), LEFT - 6, place.y(part.start + i) + place.tall / 2, "right");
    }
  }
  if (map.down.length) {
    pen.fillStyle = colours.soft;
    say(map.down.at(-1).one, LEFT - 6, TOP - 9 - (named ? 14 : 0), "right");
  }
}

/** Blocks between two numbers on an inner axis: those of a part with a name where these are whole, else as room allows. */
function ticksOf(map, side, axis, least) {
  const edge = map.edges.find((kind) => kind.side === side && kind.every % axis.step === 0 && axis.first % kind.every === 0 && kind.every / axis.step >= least);
  if (edge) return edge.every / axis.step;
  let every = 1;
  while (every < least) every *= 2;
  return every;
}

/** Each edge on a halo of the paper, so that it shows on any block; the first kind solid, others dashed. */
function paintEdges(pen, kind, i, place, colours) {
  const [parts, of, size, end] = kind.side === "down"
    ? [place.down, place.y, place.tall, place.width]
    : [place.across, place.x, place.wide, place.foot];
  for (const { place: at } of kind.at) {
    const whole = Math.floor(at);
    const between = whole === at && parts.some((part) => part.start === at);
    const middle = of(whole) + (at - whole) * size - (between ? GAP / 2 : 0);
    pen.beginPath();
    if (kind.side === "down") {
      pen.moveTo(LEFT - 3, middle);
      pen.lineTo(end, middle);
    } else {
      pen.moveTo(middle, TOP - 3);
      pen.lineTo(middle, end);
    }
    const width = between ? 2 : 1;
    for (const [colour, wide, alpha] of [[colours.sheet, width + 1.5, 0.55], [colours.edge, width, 1]]) {
      pen.strokeStyle = colour;
      pen.lineWidth = wide;
      pen.globalAlpha = alpha;
      pen.setLineDash(i === 0 ? [] : [4, 3]);
      pen.stroke();
    }
  }
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

function legend(map, kind) {
  const swatch = (name) => element("span", `swatch ${name}`);
  const items = [
    element("span", "ramp-key", kind === "float" ? `2${superscript(map.begins)} one rounding` : "few", element("span", "ramp"), kind === "float" ? "as large as the golden" : "all otherwise"),
  ];
  if (map.levels.includes(EQUAL)) items.push(element("span", "", swatch("equal"), "equal"));
  if (map.levels.includes(BROKEN)) items.push(element("span", "", swatch("broken"), "not finite"));
  for (const [i, edge] of map.edges.entries()) {
    items.push(element("span", "", element("span", `edge-key ${i ? "dashed" : ""}`), `${edge.name}s of ${edge.every} ${edge.side === "down" ? "↓" : "→"}`));
  }
  return element("p", "map-legend", ...items);
}

/** What a block is: `tokens down, heads · head channels across; a block is 2 tokens × 4 head channels` */
function caption(map) {
  const named = (axes) => axes.filter((axis) => axis.size > 1 || axes.length === 1).map((axis) => axis.several).join(" · ");
  const size = [...map.down, ...map.across].filter((axis) => axis.step > 1).map((axis) => `${axis.step} ${axis.several}`);
  const sides = [map.down.length ? `${named(map.down)} down` : "", `${named(map.across)} across`].filter(Boolean).join(", ");
  return size.length ? `${sides}; a block is ${size.join(" × ")}` : sides;
}

/** The figure of a row that has a map. */
export function errorMap(row) {
  const map = read(row.map, row.strings);
  const kind = row.kind;
  const canvas = element("canvas", "map");
  canvas.tabIndex = 0;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `Error map, ${caption(map)}. ${map.said} Arrow keys read block by block.`);
  const readout = element("p", "readout");
  readout.setAttribute("aria-live", "polite");
  const state = { cursor: worstBlock(map), place: null };
  const box = element("div", "map-box", canvas);
  const redraw = () => (state.place = paint(canvas, map, box.clientWidth, state.cursor));
  const move = (block, prefix = "") => {
    state.cursor = block;
    const [where, what] = sayBlock(map, block, kind);
    readout.replaceChildren(element("b", "", prefix + where), ` ${what}`);
    if (box.clientWidth) redraw();
  };
  canvas.addEventListener("pointermove", (event) => {
    if (!state.place) return;
    const block = blockAt(map, state.place, event.offsetX, event.offsetY);
    if (block !== null && block !== state.cursor) move(block);
  });
  canvas.addEventListener("pointerleave", () => move(worstBlock(map), "worst: "));
  canvas.addEventListener("keydown", (event) => {
    const [row, column] = [Math.floor(state.cursor / map.width), state.cursor % map.width];
    const to = {
      ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      Home: [Math.floor(worstBlock(map) / map.width), worstBlock(map) % map.width],
    }[event.key];
    if (!to) return;
    event.preventDefault();
    const clamp = (value, size) => Math.min(Math.max(value, 0), size - 1);
    move(clamp(to[0], map.height) * map.width + clamp(to[1], map.width));
  });
  move(worstBlock(map), "worst: ");
  new ResizeObserver(redraw).observe(box);
  canvas.addEventListener("recolour", redraw);
  const text = element("p", "map-text muted", map.said);
  return element("figure", "evidence-map", element("figcaption", "", "Where it differs ", element("small", "muted", caption(map))), box, readout, legend(map, kind), text);
}

function blockAt(map, place, x, y) {
  const along = (parts, at, of, size) => {
    for (const part of parts) {
      const start = of(part.start);
      const i = Math.floor((at - start) / size);
      if (i >= 0 && i < part.length) return part.start + i;
    }
    return null;
  };
  const row = along(place.down, y, place.y, place.tall);
  const column = along(place.across, x, place.x, place.wide);
  return row === null || column === null ? null : row * map.width + column;
}
