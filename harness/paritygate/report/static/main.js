// Joins the parts of the page to what a reader does: one state, in the address, that every part shows.

import { load } from "./data.js";
import { drawer } from "./drawer.js";
import { choose } from "./filter.js";
import { heatMap } from "./heat.js";
import { drawInFull } from "./in_full.js";
import { reachable } from "./scrollers.js";
import { sitePages } from "./site.js";
import { parse, write, FACETS } from "./state.js";
import { filterLine, strip } from "./strip.js";
import { rowTable } from "./table.js";

const SETTLING_FRAMES = 4;

/** Opens what an anchor names, and scrolls to it until what lies before it has been laid out. */
function reveal(anchor) {
  const target = anchor && document.getElementById(anchor);
  if (!target) return;
  target.hidden = false;
  if (target instanceof HTMLDetailsElement) target.open = true;
  const scroll = (left) => {
    target.scrollIntoView();
    if (left) requestAnimationFrame(() => scroll(left - 1));
  };
  scroll(SETTLING_FRAMES);
}

function start(run) {
  let state = parse(location.hash);
  let chosen = { by: "" };

  function go(change, how = "push") {
    const next = { ...state, ...(typeof change === "function" ? change(state) : change) };
    const address = write(next);
    if (address !== write(state)) history[`${how}State`](null, "", address);
    show(next);
  }

  const parts = [
    strip(document.getElementById("strip"), go),
    filterLine(run, go),
    heatMap(document.getElementById("heat"), run, go),
    sitePages(run, go),
  ];
  const table = document.getElementById("rows") ? rowTable(document.getElementById("rows"), run, go) : ({ rows }) => () => rows;
  const side = drawer(run, go);

  function show(next) {
    const moved = next.at !== state.at;
    state = next;
    const by = JSON.stringify([state.q, ...FACETS.map((facet) => state[facet])]);
    if (by !== chosen.by) chosen = { by, ...choose(run, state) };
    const view = { state, at: run.find(state.row), ...chosen };
    if (moved) reveal(state.at);
    for (const part of parts) part(view);
    side(view, table(view));
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const { row } = link.dataset;
    if (row && run.find(row) >= 0) {
      go({ at: "", row });
      return;
    }
    const at = decodeURIComponent(link.getAttribute("href").slice(1));
    go({ at, row: "" });
    reveal(at);
  });
  window.addEventListener("popstate", () => show(parse(location.hash)));
  show(state);
  reachable();
  reveal(state.at);
  if (state.at) show(state); // a site's page that the address names is open only now
  requestAnimationFrame(() => setTimeout(() => {
    performance.mark("interactive"); // painted, and every handler is there
    document.documentElement.dataset.state = "interactive";
    drawInFull(run); // in the place of something that can be read
  }));
}

load().then(start, (problem) => {
  const words = `This browser cannot read the rows of this page (${problem.message}); rows.jsonl beside it has them.`;
  document.getElementById("rows")?.append(words);
});
