// A site's page, drawn when it is opened: one table a case, ports down, cells and modes across.

import { rowOf, rowsOf } from "./data.js";
import { element } from "./dom.js";
import { levelOf, shareWords } from "./format.js";
import { rowView } from "./row_view.js";

// A square chosen shows its row in full below.
function matrix(run, rows, choose) {
  const cells = [...new Set(rows.map((row) => row.cell))];
  const places = [...new Set(rows.map((row) => `${row.cell} ${row.mode}`))];
  const modesOf = (cell) => places.filter((place) => place.startsWith(`${cell} `)).map((place) => place.slice(cell.length + 1));
  const ports = [...new Set(rows.map((row) => row.port))];
  const groups = element("tr", "", element("td", ""), ...cells.map((cell) => {
    const group = element("th", "", run.labels[cell]);
    group.colSpan = modesOf(cell).length;
    group.scope = "colgroup";
    return group;
  }));
  const columns = cells.flatMap((cell) => modesOf(cell).map((mode) => [`${cell} ${mode}`, mode]));
  const head = element("tr", "", element("td", ""), ...columns.map(([, mode]) => {
    const column = element("th", "", mode);
    column.scope = "col";
    return column;
  }));
  const found = new Map(rows.map((row) => [`${row.port} ${row.cell} ${row.mode}`, row]));
  const body = ports.map((port) => {
    const line = element("tr", "", element("th", "", port));
    line.firstChild.scope = "row";
    for (const [place] of columns) {
      const row = found.get(`${port} ${place}`);
      const cell = element("td", row ? `${row.state} l${levelOf(row.share)}` : "empty");
      if (row) {
        const button = element("button", "", `${row.mark} ${shareWords(row.share)}`.trim() || "·");
        button.title = row.words;
        button.setAttribute("aria-label", `${port}, ${place}: ${row.verdict}, ${row.words}`);
        button.addEventListener("click", () => choose(row.at));
        cell.dataset.row = String(row.at);
        cell.append(button);
      }
      line.append(cell);
    }
    return line;
  });
  return element("div", "scroll heat-scroll",
    element("table", "heat", element("thead", "", groups, head), element("tbody", "", ...body)));
}

async function draw(run, details, choose) {
  const rows = await rowsOf(run, Number(details.dataset.page));
  for (const name of new Set(rows.map((row) => row.case))) {
    const own = rows.filter((row) => row.case === name);
    details.append(element("div", "case", element("h3", "", name), matrix(run, own, choose)));
  }
}

function worstOf(run, site) {
  const rows = Array.from({ length: run.sizes[site] }, (_, i) => run.starts[site] + i);
  return rows.reduce((best, row) => (run.severity[row] > run.severity[best] ? row : best));
}

export function sitePages(run, go) {
  const pages = [...document.querySelectorAll("details.site")];
  const drawn = new Map();

  async function show(details, wanted) {
    const site = Number(details.dataset.page);
    const choose = (row) => go({ at: details.id, row: run.key(row) });
    if (!drawn.has(details)) drawn.set(details, draw(run, details, choose));
    await drawn.get(details);
    const at = wanted >= 0 && run.siteOf[wanted] === site ? wanted : worstOf(run, site);
    const cell = details.querySelector(`td[data-row="${at}"]`);
    details.querySelector("td.chosen")?.classList.remove("chosen");
    details.querySelector(".row-view")?.remove();
    cell.classList.add("chosen");
    const made = rowView(await rowOf(run, at));
    details.querySelector(".row-view")?.remove(); // of a choice that was made meanwhile
    cell.closest(".case").append(made);
  }

  for (const details of pages) {
    details.addEventListener("toggle", () => details.open && !drawn.has(details) && show(details, -1));
    details.querySelector("summary").addEventListener("click", () => !details.open && go({ at: details.id, row: "" }, "replace"));
  }

  let last = null;
  return ({ state, sites, at }) => {
    if (sites !== last) {
      for (const details of pages) details.hidden = !sites[Number(details.dataset.page)] && details.id !== state.at;
    }
    last = sites;
    const target = pages.find((details) => details.id === state.at);
    if (target?.open) show(target, at);
  };
}
