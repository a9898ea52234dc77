// The columns of the table of rows: what they show, how they sort, what they export.

import { number, shareWords, times } from "./format.js";

const named = (name, title = name) => ({
  name,
  title,
  text: (run, row) => run.text(name, row),
  key: (run, row) => run.places[name][row],
});

const numeric = (name, title, text) => ({
  name,
  title,
  right: true,
  text: (run, row) => text(run.numbers[name][row]),
  key: (run, row) => run.numbers[name][row] ?? -1,
});

export const COLUMNS = [
  { ...named("verdict"), key: (run, row) => run.severity[row] },
  { name: "value", title: "value", text: (run, row) => run.address(row), key: (run, row) => row },
  named("case"),
  { ...named("cell"), text: (run, row) => run.labels[run.text("cell", row)] },
  named("mode"),
  named("kind"),
  named("diagnosis"),
  {
    ...numeric("share", "of limit", (share) => (share === null ? "–" : shareWords(share))),
    key: (run, row) => run.numbers.share[row] ?? Infinity,
  },
  named("judged", "metric"),
  numeric("measured", "drift", (value) => (value === null ? "" : number(value))),
  numeric("rho", "ρ", (value) => (value === null ? "" : times(value))),
  numeric("limit", "limit", (value) => (value === null ? "" : number(value))),
];

/** The rows by a column, descending after a `-`; equal ones in the order of the run. */
export function sorted(run, rows, sort) {
  const column = COLUMNS.find((each) => each.name === sort.replace("-", ""));
  if (!column) return rows;
  const keys = new Float64Array(run.count);
  for (const row of rows) keys[row] = column.key(run, row);
  const sign = sort.startsWith("-") ? -1 : 1;
  const compare = (a, b) => (keys[a] === keys[b] ? a - b : sign * (keys[a] < keys[b] ? -1 : 1));
  return rows.slice().sort(compare);
}
