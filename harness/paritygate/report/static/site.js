// A site's page, drawn when it is opened: one table a case, ports down, cells and modes across.

import { load, rowsOf } from "./data.js";
import { element } from "./dom.js";
import { levelOf, shareWords } from "./format.js";
import { panel } from "./panel.js";

// A square chosen shows its row in full below.
function matrix(rows, choose) {
  const places = [...new Set(rows.map((row) => `${row.cell} ${row.mode}`))];
  const cells = [...new Set(rows.map((row) => row.cell))];
  const modesOf = (cell) => places.filter((place) => place.startsWith(`${cell} `)).map((place) => place.slice(cell.length + 1));
  const ports = [...new Set(rows.map((row) => row.port))];
  const groups = element("tr", "", element("td", ""), ...cells.map((cell) => {
    const group = element("th", "", cell);
    group.colSpan = modesOf(cell).length;
    return group;
  }));
  const columns = cells.flatMap((cell) => modesOf(cell).map((mode) => [`${cell} ${mode}`, mode]));
  const head = element("tr", "", element("td", ""), ...columns.map(([, mode]) => {
    const column = element("th", "", mode);
    column.scope = "col";
    return column;
  }));
  const body = ports.map((port) => {
    const line = element("tr", "", element("th", "", port));
    line.firstChild.scope = "row";
    for (const [place] of columns) {
      const row = rows.find((r) => r.port === port && `${r.cell} ${r.mode}` === place);
      const cell = element("td", row ? `${row.state} l${levelOf(row.share)}` : "empty");
      if (row) {
        const button = element("button", "", `${row.mark} ${shareWords(row.share)}`.trim() || "·");
        button.title = row.words;
        button.setAttribute("aria-label", `${port}, ${place}: ${row.verdict}, ${row.words}`);
        button.addEventListener("click", () => choose(row, cell));
        row.square_cell = cell;
        cell.append(button);
      }
      line.append(cell);
    }
    return line;
  });
  return element("div", "scroll heat-scroll",
    element("table", "heat", element("thead", "", groups, head), element("tbody", "", ...body)));
}

function worstOf(rows) {
  const rank = (row) => ["pass", "propagated", "fail"].indexOf(row.state) * 10 + levelOf(row.share);
  return rows.reduce((best, row) => (rank(row) > rank(best) ? row : best));
}

export async function draw(details) {
  if (details.dataset.drawn) return;
  details.dataset.drawn = "yes";
  const rows = await rowsOf(await load(), Number(details.dataset.page));
  const place = element("div", "");
  const choose = (row, cell) => {
    details.querySelector("td.chosen")?.classList.remove("chosen");
    cell.classList.add("chosen");
    place.replaceChildren(panel(row));
    cell.closest(".case").append(place);
  };
  for (const name of new Set(rows.map((row) => row.case))) {
    const own = rows.filter((row) => row.case === name);
    details.append(element("div", "case", element("h3", "", name), matrix(own, choose)));
  }
  const first = worstOf(rows);
  choose(first, first.square_cell);
}
