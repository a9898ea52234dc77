// One row in full at the side of the page, wherever it was chosen: with those before and after it, and those of its place.

import { rowOf } from "./data.js";
import { button, element } from "./dom.js";
import { count, shareWords } from "./format.js";
import { rowView } from "./row_view.js";

const OTHERS = 60;

export function drawer(run, go) {
  const title = element("h3", "title");
  title.tabIndex = -1;
  const place = element("span", "muted");
  const step = (by) => {
    const next = rows[rows.indexOf(shown) + by];
    if (shown >= 0 && next !== undefined) go({ row: run.key(next) }, "replace");
  };
  const before = button("plain", "←", () => step(-1), "Row before (k)");
  const after = button("plain", "→", () => step(1), "Row after (j)");
  const page = button("plain", "Site page", () => go({ at: run.anchors[run.siteOf[shown]] }));
  const close = button("plain", "✕", () => go({ row: "" }), "Close (Esc)");
  const body = element("div", "drawer-body");
  const made = element("div", "drawer",
    element("div", "drawer-head", element("div", "tools", before, after, place, element("span", "grow"), page, close), title),
    body);
  made.setAttribute("role", "dialog");
  made.setAttribute("aria-label", "One row");
  made.hidden = true;
  document.body.append(made);
  let shown = -1;
  let rows = [];
  let from = null; // what had the focus before

  const KEYS = { Escape: () => go({ row: "" }), j: () => step(1), k: () => step(-1) };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest?.("input, select, textarea, details.menu");
    if (made.hidden || typing || event.ctrlKey || event.metaKey || event.altKey || !(event.key in KEYS)) return;
    KEYS[event.key]();
    event.preventDefault();
  });

  /** The other rows of the same site, cell and mode, the worst first. */
  function others(at) {
    const site = run.siteOf[at];
    const alike = (row) => row !== at && ["cell", "mode"].every((c) => run.places[c][row] === run.places[c][at]);
    const found = Array.from({ length: run.sizes[site] }, (_, i) => run.starts[site] + i).filter(alike);
    found.sort((a, b) => run.severity[b] - run.severity[a]);
    if (!found.length) return [];
    const lines = found.slice(0, OTHERS).map((row) => element("li", run.text("state", row),
      button("plain", `${run.text("port", row)}`, () => go({ row: run.key(row) }, "replace")),
      element("span", "muted", run.text("case", row)),
      element("span", "right", `${run.text("mark", row)} ${shareWords(run.numbers.share[row])}`.trim())));
    const more = found.length - OTHERS;
    return [element("h3", "", `Other rows of ${run.sites[site]} in ${run.labels[run.text("cell", at)]}, ${run.text("mode", at)}`),
      element("ul", "others", ...lines), ...(more > 0 ? [element("p", "muted", `and ${count(more)} more`)] : [])];
  }

  async function fill(at) {
    title.textContent = run.address(at);
    const index = rows.indexOf(at);
    place.textContent = index < 0 ? "not among the filtered" : `${count(index + 1)} of ${count(rows.length)}`;
    before.disabled = index <= 0;
    after.disabled = index < 0 || index + 1 >= rows.length;
    const row = await rowOf(run, at);
    if (at !== shown) return; // another was chosen meanwhile
    body.replaceChildren(rowView(row), ...others(at));
    made.scrollTop = 0;
  }

  return ({ state, at }, ordered) => {
    const onItsPage = at >= 0 && state.at === run.anchors[run.siteOf[at]];
    const next = onItsPage ? -1 : at;
    if (next < 0 && !made.hidden) {
      made.hidden = true;
      if (made.contains(document.activeElement) || document.activeElement === document.body) from?.focus({ preventScroll: true });
    }
    if (next >= 0 && made.hidden) {
      from = document.activeElement;
      made.hidden = false;
      title.focus({ preventScroll: true });
    }
    document.body.classList.toggle("with-drawer", next >= 0);
    shown = next;
    if (next < 0) return;
    rows = ordered();
    fill(next);
  };
}
