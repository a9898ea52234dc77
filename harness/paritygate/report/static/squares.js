// The squares of the heat map: of the chosen rows, the worst at each site, cell and mode; and how their colours scale.

export const kindOfSite = (site) => site.replace(/\d+/g, "*");

/**
 * `columns` are [cell, mode] that chosen rows have, as places among their names; `lines` are sites, or headings where they are
 * grouped; `worst[line * columns.length + column]` is a row or -1, and `total` and `failing` count what is there.
 */
export function squaresOf(run, rows, group) {
  const modes = run.names.mode.length;
  const width = run.names.cell.length * modes;
  const placeOf = (row) => run.places.cell[row] * modes + run.places.mode[row];
  const severities = new Float64Array(run.sites.length * width).fill(-1);
  const worst = new Int32Array(severities.length).fill(-1);
  const total = new Uint32Array(severities.length);
  const failing = new Uint32Array(severities.length);
  const used = new Uint8Array(width);
  const siteUsed = new Uint8Array(run.sites.length);
  const passing = run.names.state.indexOf("pass");
  for (const row of rows) {
    const at = run.siteOf[row] * width + placeOf(row);
    const severe = run.severity[row];
    total[at]++;
    failing[at] += run.places.state[row] !== passing;
    used[at % width] = 1;
    siteUsed[run.siteOf[row]] = 1;
    if (severe > severities[at]) {
      severities[at] = severe;
      worst[at] = row;
    }
  }
  const columns = Array.from(used.keys()).filter((i) => used[i]);
  const at = (line, column) => line.site * width + columns[column];
  return {
    columns: columns.map((i) => [Math.floor(i / modes), i % modes]),
    lines: linesOf(run, siteUsed, group),
    worst: (line, column) => (line.site === undefined ? -1 : worst[at(line, column)]),
    total: (line, column) => total[at(line, column)],
    failing: (line, column) => failing[at(line, column)],
  };
}

function linesOf(run, siteUsed, group) {
  const used = run.sites.map((name, site) => ({ name, site })).filter(({ site }) => siteUsed[site]);
  if (group !== "kind") return used;
  const kinds = new Map();
  for (const line of used) {
    const kind = kindOfSite(line.name);
    kinds.set(kind, [...(kinds.get(kind) ?? []), line]);
  }
  return [...kinds].flatMap(([kind, own]) => (own.length > 1 ? [{ name: `${kind} × ${own.length}` }, ...own] : own));
}

const DECADES = 3; // below the limit, which the logarithmic scale of shares shows

/** `of(value)` is 0 to 1; `low` and `high` are the values of both ends. A share of null has no end. */
export function scaleOf(values, metric, scale) {
  if (metric === "share") {
    const clip = (x) => Math.max(0, Math.min(1, x));
    if (scale === "log") return { low: 10 ** -DECADES, high: 1, of: (v) => clip(v > 0 ? 1 + Math.log10(v) / DECADES : 0) };
    return { low: 0, high: 1, of: clip };
  }
  const known = values.filter((v) => typeof v === "number" && Number.isFinite(v) && (scale !== "log" || v > 0));
  const [low, high] = known.length ? [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))] : [0, 1];
  const put = scale === "log" ? (v) => Math.log10(v) : (v) => v;
  const [from, to] = [put(low), put(high)];
  return { low, high, of: (v) => (scale === "log" && v <= 0 ? 0 : to > from ? (put(v) - from) / (to - from) : 0.5) };
}
