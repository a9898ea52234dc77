// The table of all chosen rows. Only the lines in sight are drawn, so that it takes any number of them.

import { COLUMNS, sorted } from "./columns.js";
import { button, eachFrame, element, whenNear } from "./dom.js";
import { save } from "./export.js";
import { facets } from "./facets.js";
import { count } from "./format.js";

const TONES = { pass: "good", accepted: "warn", skipped: "warn" };
const AROUND = 8; // lines drawn beyond each edge
const WAIT_MS = 120; // after the last key of a regular expression
const NARROW = window.matchMedia("(max-width: 640px)");
const NARROW_COLUMNS = ["verdict", "value", "share"];

export function rowTable(place, run, go) {
  let shown = { rows: null, state: null, at: -1 };
  let cursor = 0;
  let first = -1;

  const search = element("input", "");
  Object.assign(search, { type: "search", placeholder: "regex, as attn:inner\\.q", spellcheck: false, autocomplete: "off" });
  search.setAttribute("aria-label", "Filter values by a regular expression over site and port");
  let typed = 0;
  search.addEventListener("input", () => {
    clearTimeout(typed);
    typed = setTimeout(() => go({ q: search.value }, "replace"), WAIT_MS);
  });
  const problem = element("p", "bad");
  problem.setAttribute("role", "alert");
  const menus = facets(run, go);
  const found = element("span", "muted");
  const tools = element("div", "tools", search, ...menus.menus, element("span", "grow"), found,
    button("plain", "CSV", () => save(run, ordered(), "csv"), "Save the chosen rows as CSV"),
    button("plain", "JSON", () => save(run, ordered(), "json"), "Save the chosen rows as JSON"));

  const body = element("tbody", "");
  const head = element("tr", "");
  const grid = element("table", "rows", element("thead", "", head), body);
  grid.setAttribute("role", "grid");
  grid.setAttribute("aria-label", "All rows");
  grid.tabIndex = 0;
  const scroller = element("div", "scroll rows-scroll", grid);
  const note = element("p", "muted caption",
    "Arrows move, Enter opens a row in full. A share of 1 is at the limit.");
  place.replaceChildren(tools, problem, scroller, note);

  const columns = () => (NARROW.matches ? COLUMNS.filter((c) => NARROW_COLUMNS.includes(c.name)) : COLUMNS);
  const lineHeight = () => (NARROW.matches ? 52 : 32);
  const longest = run.names.cell.reduce((most, cell) => Math.max(most, run.labels[cell].length), 0);
  grid.style.setProperty("--cell", `${Math.min(longest, 24)}ch`);

  /** The chosen rows in the table's order, which nobody waits for before they are seen. */
  function ordered() {
    return (shown.ordered ??= sorted(run, shown.rows, shown.state.sort));
  }

  function drawHead() {
    head.replaceChildren(...columns().map((column) => {
      const sort = shown.state.sort;
      const by = sort.replace("-", "") === column.name;
      const down = sort.startsWith("-");
      const next = by && down ? column.name : `-${column.name}`;
      const made = button("", column.title, () => go({ sort: next }), `Sort by ${column.title}`);
      if (by) made.append(element("span", "arrow", down ? " ↓" : " ↑"));
      const cell = element("th", `${column.right ? "right" : ""} c-${column.name}`, made);
      cell.scope = "col";
      if (by) cell.setAttribute("aria-sort", down ? "descending" : "ascending");
      return cell;
    }));
  }

  function cellOf(column, row) {
    const text = column.text(run, row);
    const made = element("td", `${column.right ? "right" : ""} c-${column.name}`);
    if (column.name === "verdict") {
      made.append(element("span", TONES[text] ?? "bad", text));
    } else if (column.name === "value") {
      made.append(element("code", "", element("bdi", "", text)));
      const where = [run.labels[run.text("cell", row)], run.text("mode", row), run.text("case", row)].join(" · ");
      if (NARROW.matches) made.append(element("small", "muted", where));
    } else if (column.name === "share") {
      const share = run.numbers.share[row];
      const bar = element("span", `bar ${run.text("state", row)}`);
      bar.style.setProperty("--share", Math.min(share ?? 1, 1));
      made.append(bar, text);
    } else made.append(text);
    if (column.name === "diagnosis" && text !== "propagated") made.classList.add("bad");
    if (["value", "case", "cell"].includes(column.name)) made.title = text;
    return made;
  }

  function lineOf(row, i) {
    const line = element("tr", `${i === cursor ? "current" : ""}`, ...columns().map((column) => cellOf(column, row)));
    line.id = `row-${i}`;
    line.setAttribute("aria-rowindex", String(i + 2));
    line.setAttribute("aria-selected", String(row === shown.at));
    line.dataset.i = String(i);
    return line;
  }

  function filler(lines) {
    const cell = element("td", "filler");
    cell.colSpan = columns().length;
    cell.style.height = `${lines * lineHeight()}px`;
    const made = element("tr", "", cell);
    made.setAttribute("aria-hidden", "true");
    return made;
  }

  function draw(how) {
    const height = lineHeight();
    const from = Math.max(0, Math.floor(scroller.scrollTop / height) - AROUND);
    if (how === "scrolled" && from === first) return;
    first = from;
    const rows = ordered();
    const to = Math.min(rows.length, from + Math.ceil(scroller.clientHeight / height) + 2 * AROUND);
    const lines = Array.from(rows.subarray(from, to), (row, i) => lineOf(row, from + i));
    const none = element("tr", "", element("td", "muted", "No row is as these filters say."));
    none.firstChild.colSpan = columns().length;
    body.replaceChildren(...(rows.length ? [filler(from), ...lines, filler(rows.length - to)] : [none]));
    grid.setAttribute("aria-rowcount", String(rows.length + 1));
    if (rows.length) grid.setAttribute("aria-activedescendant", `row-${cursor}`);
    else grid.removeAttribute("aria-activedescendant");
  }

  function moveTo(i) {
    cursor = Math.max(0, Math.min(shown.rows.length - 1, i));
    const height = lineHeight();
    const top = cursor * height;
    const space = scroller.clientHeight - head.offsetHeight - height;
    if (top < scroller.scrollTop) scroller.scrollTop = top;
    else if (top > scroller.scrollTop + space) scroller.scrollTop = top - space;
    draw("moved");
  }

  const open = (i) => shown.rows.length && go({ row: run.key(ordered()[i]), at: "" });
  const STEPS = { ArrowDown: 1, ArrowUp: -1, PageDown: 12, PageUp: -12, Home: -Infinity, End: Infinity };
  grid.addEventListener("keydown", (event) => {
    if (event.target !== grid) return;
    if (event.key in STEPS) moveTo(cursor + STEPS[event.key]);
    else if (event.key === "Enter") open(cursor);
    else return;
    event.preventDefault();
  });
  body.addEventListener("click", (event) => {
    const line = event.target.closest("tr[data-i]");
    if (!line || String(window.getSelection())) return; // text that is being selected is not a click
    cursor = Number(line.dataset.i);
    open(cursor);
  });
  scroller.addEventListener("scroll", eachFrame(() => shown.ordered && draw("scrolled")), { passive: true });
  const draws = whenNear(scroller, () => {
    drawHead();
    draw("changed");
    if (shown.at >= 0) moveTo(cursor);
  });
  NARROW.addEventListener("change", draws);
  window.addEventListener("resize", eachFrame(draws));

  /** Shows another choice of rows; returns what gives them in the table's order. */
  return (view) => {
    const { state, rows, at } = view;
    const same = shown.rows === rows && shown.state.sort === state.sort;
    const scrolled = shown.rows !== null;
    shown = { state, at, rows, ordered: same ? shown.ordered : undefined };
    if (!same) {
      cursor = 0;
      if (scrolled) scroller.scrollTop = 0; // it lays the page out, which can wait while nothing is there yet
      scroller.style.setProperty("--lines", String(Math.max(rows.length, 1)));
    }
    const place = at < 0 ? -1 : ordered().indexOf(at);
    if (place >= 0) cursor = place;
    if (document.activeElement !== search) search.value = state.q;
    problem.textContent = view.problem;
    search.setAttribute("aria-invalid", String(view.problem !== ""));
    found.textContent = `${count(rows.length)} rows`;
    menus.update(view);
    draws();
    return ordered;
  };
}
