// The chosen rows as a file, in the order of the table: CSV or JSON, all that the table knows and every metric.

import { metricOf } from "./data.js";

const FIELDS = ["case", "cell", "mode", "site", "port", "kind", "verdict", "diagnosis", "judged"];
const NUMBERS = ["share", "measured", "rho", "limit"];

async function records(run, rows) {
  const metrics = [];
  for (const name of run.metrics) metrics.push([name, await metricOf(run, name)]);
  const held = metrics.filter(([, values]) => values !== null);
  return Array.from(rows, (row) => {
    const record = {};
    for (const field of FIELDS) record[field] = field === "site" ? run.sites[run.siteOf[row]] : run.text(field, row);
    for (const name of NUMBERS) record[name] = run.numbers[name][row];
    if (record.share === null) record.share = "inf"; // what fails without a number
    for (const [name, values] of held) record[`metric.${name}`] = values[row];
    return record;
  });
}

/** A spreadsheet takes a text that begins with one of `=+-@` for a formula; an apostrophe keeps it a text. */
function field(value) {
  if (value === null || typeof value === "number") return value ?? "";
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function csv(found) {
  const names = Object.keys(found[0] ?? {});
  return [names, ...found.map((record) => Object.values(record))].map((line) => line.map(field).join(",")).join("\n") + "\n";
}

const KINDS = {
  csv: ["text/csv", csv],
  json: ["application/json", (found) => JSON.stringify(found, null, 1) + "\n"],
};

export async function save(run, rows, kind) {
  const [type, text] = KINDS[kind];
  const address = URL.createObjectURL(new Blob([text(await records(run, rows))], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = `rows.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
