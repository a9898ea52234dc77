// The rows of the run: columns for the table and the heat map, and each row in full when it is asked for.

import { block } from "./blocks.js";

const NUMBERS_PER_JUDGEMENT = 7;

const STATES = ["pass", "propagated", "fail"];

const known = { run: null };

/**
 * Columns of all rows, in the order of the sites' pages. A row is its place in them. `severity` sorts them by how much they
 * need a reader: to blame, propagated, near to the limit.
 */
export function load() {
  return (known.run ??= block("index").then(read));
}

function read(index) {
  const { sites, sizes, names, places } = index;
  const count = sizes.reduce((sum, size) => sum + size, 0);
  const siteOf = new Uint32Array(count);
  const starts = [];
  let place = 0;
  sizes.forEach((size, site) => {
    starts.push(place);
    siteOf.fill(site, place, place + size);
    place += size;
  });
  const text = (column, row) => names[column][places[column][row]];
  const address = (row) => `${sites[siteOf[row]]}:${text("port", row)}`;
  const key = (row) => `${text("case", row)} ${text("cell", row)} ${text("mode", row)} ${address(row)}`;
  const ranks = names.state.map((state) => STATES.indexOf(state) * 2);
  const severity = Float64Array.from(places.state, (state, row) => {
    const share = index.numbers.share[row];
    return ranks[state] + (share === null ? 1 : share / (1 + share));
  });
  const found = new Map([["", -1]]);
  const find = (wanted) => {
    for (let row = 0; !found.has(wanted) && row < count; row++) if (key(row) === wanted) found.set(wanted, row);
    return found.get(wanted) ?? -1;
  };
  const strings = [...index.strings, ...index.metrics];
  return { ...index, strings, count, siteOf, starts, severity, text, address, key, find };
}

/** The values of one metric, null for rows that do not have it; null as a whole where the page goes without. */
export async function metricOf(run, name) {
  return block(`metric-${run.metrics.indexOf(name)}`);
}

/**
 * The row in full: a field for each column and each kind of detail (`details.py`), as `panel.js` draws it; an empty
 * text where it has none. `said` are parts, as `pack.py` packs them, and `commands` templates. `left_out` are the words of
 * what the page goes without for such a row.
 */
export async function rowOf(run, at) {
  const row = { at, strings: run.strings, site: run.sites[run.siteOf[at]], address: run.address(at) };
  for (const column of Object.keys(run.names)) row[column] = run.text(column, at);
  row.share = run.numbers.share[at];
  const chunk = Math.floor(at / run.chunk);
  const among = placeAmongItsState(run, at, chunk * run.chunk);
  for (const name of run.details) row[name] = (await block(`${name}-${chunk}-${row.state}`))?.[among] || "";
  const judged = new Set();
  for (let i = 0; i < row.judgements.length; i += NUMBERS_PER_JUDGEMENT) judged.add(row.strings[row.judgements[i]]);
  row.metrics = [];
  for (const name of run.metrics) {
    const value = judged.has(name) ? null : (await metricOf(run, name))?.[at];
    if (value !== null && value !== undefined) row.metrics.push(run.strings.indexOf(name), value);
  }
  row.meaning = run.meanings[row.diagnosis] ?? "";
  row.said = (await block("said"))?.[at] ?? [];
  row.commands = run.commands;
  row.left_out = run.dropped.filter(([, state]) => state === "all" || state === row.state).map(([, , words]) => words);
  return row;
}

function placeAmongItsState(run, at, start) {
  const states = run.places.state;
  let place = 0;
  for (let i = start; i < at; i++) place += states[i] === states[at];
  return place;
}

/** The rows of one site: their columns, and their drift in words. */
export async function rowsOf(run, site) {
  const rows = [];
  for (let at = run.starts[site]; at < run.starts[site] + run.sizes[site]; at++) {
    const row = { at, share: run.numbers.share[at] };
    for (const column of Object.keys(run.names)) row[column] = run.text(column, at);
    const chunk = Math.floor(at / run.chunk);
    const words = await block(`words-${chunk}-${row.state}`);
    row.words = words?.[placeAmongItsState(run, at, chunk * run.chunk)] || "";
    rows.push(row);
  }
  return rows;
}
