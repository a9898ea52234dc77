// Commands to be copied: the clipboard where the browser gives it to a file, else the text is selected.

import { element } from "./dom.js";

const PLAIN = /^[\w@%+=:,./-]+$/; // what a shell takes as it is
const EXPLAINS = "explains it";

const quoted = (word) => (PLAIN.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

async function copy(code, button) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "copied";
  } catch {
    getSelection().selectAllChildren(code);
    button.textContent = "selected";
  }
  setTimeout(() => (button.textContent = "copy"), 1600);
}

/** What to type next about a row: `row.commands` are templates. */
export function commands(row) {
  const words = { case: row.case, cell: row.cell, mode: row.mode, row: `${row.case}/${row.cell}/${row.mode}/${row.address}` };
  const explained = row.judgements.length + row.metrics.length > 0 && row.mode !== "gradient" && row.kind === "float";
  const lines = row.commands.filter(([does]) => explained || does !== EXPLAINS).map(([does, text]) => {
    const code = element("code", "", text.replace(/\{\{|\}\}|\{(\w+)\}/g, (found, name) => (name ? quoted(words[name]) : found[0])));
    const button = element("button", "copy", "copy");
    button.setAttribute("aria-label", `copy the command that ${does}`);
    button.addEventListener("click", () => copy(code, button));
    return element("li", "", element("span", "muted", does), code, button);
  });
  return element("ul", "commands", ...lines);
}
