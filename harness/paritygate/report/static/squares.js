// The squares of the heat map: of the chosen rows, the worst at each site, cell and mode; and how their colours scale.

const kindOfSite = (site) => site.replace(/\d+/g, "*");

/** The sites that have chosen rows, under headings where they are grouped. */
export function linesOf(run, sites, group) {
  const used = run.sites.map((name, site) => ({ name, site })).filter(({ site }) => sites[site]);
  if (group !== "kind") return used;
  const kinds = new Map();
  for (const line of used) {
    const kind = kindOfSite(line.name);
    kinds.set(kind, [...(kinds.get(kind) ?? []), line]);
  }
  return [...kinds].flatMap(([kind, own]) => (own.length > 1 ? [{ name: `${kind} × ${own.length}` }, ...own] : own));
}

/**
 * `columns` are [cell, mode] that chosen rows have, as places among their names. At a line and column, `worst` is the row
 * that needs a reader most, or -1, and `total` and `failing` count what is there; `shown` is the row of the number that
 * stands there: the worst, but under a metric the one with the worst of its `values`, if there is any.
 */
export function squaresOf(run, rows, lines, metric, values) {
  const modes = run.names.mode.length;
  const width = run.names.cell.length * modes;
  const placeOf = (row) => run.places.cell[row] * modes + run.places.mode[row];
  const severities = new Float64Array(run.sites.length * width).fill(-1);
  const worst = new Int32Array(severities.length).fill(-1);
  const total = new Uint32Array(severities.length);
  const failing = new Uint32Array(severities.length);
  const used = new Uint8Array(width);
  const shown = worst.slice();
  const sign = run.rising.includes(metric) ? -1 : 1;
  const passing = run.names.state.indexOf("pass");
  for (const row of rows) {
    const at = run.siteOf[row] * width + placeOf(row);
    const severe = run.severity[row];
    total[at]++;
    failing[at] += run.places.state[row] !== passing;
    used[at % width] = 1;
    if (severe > severities[at]) {
      severities[at] = severe;
      worst[at] = row;
    }
    if (typeof values?.[row] !== "number") continue;
    if (shown[at] < 0 || sign * (values[row] - values[shown[at]]) > 0) shown[at] = row;
  }
  for (const at of worst.keys()) if (shown[at] < 0) shown[at] = worst[at];
  const columns = Array.from(used.keys()).filter((i) => used[i]);
  const at = (line, column) => line.site * width + columns[column];
  const rowAt = (found) => (line, column) => (line.site === undefined ? -1 : found[at(line, column)]);
  return {
    columns: columns.map((i) => [Math.floor(i / modes), i % modes]),
    lines,
    worst: rowAt(worst),
    shown: rowAt(shown),
    total: (line, column) => total[at(line, column)],
    failing: (line, column) => failing[at(line, column)],
  };
}

const DECADES = 3; // below the limit, which the logarithmic scale of shares shows

/** `of(value)` is 0, pale, to 1, dark, which is worse; `pale` and `dark` are the values of both ends. A share of null has no end. */
export function scaleOf(run, values, metric, scale) {
  if (metric === "share") {
    const clip = (x) => Math.max(0, Math.min(1, x));
    if (scale === "log") return { pale: 10 ** -DECADES, dark: 1, of: (v) => clip(v > 0 ? 1 + Math.log10(v) / DECADES : 0) };
    return { pale: 0, dark: 1, of: clip };
  }
  const known = values.filter((v) => typeof v === "number" && Number.isFinite(v) && (scale !== "log" || v > 0));
  const [low, high] = known.length ? [known.reduce((a, b) => Math.min(a, b)), known.reduce((a, b) => Math.max(a, b))] : [0, 1];
  const [pale, dark] = run.rising.includes(metric) ? [high, low] : [low, high];
  const put = scale === "log" ? (v) => Math.log10(Math.max(v, low)) : (v) => v;
  const [from, to] = [put(pale), put(dark)];
  return { pale, dark, of: (v) => (to === from ? 0.5 : (put(v) - from) / (to - from)) };
}
