// Filters by verdict and diagnosis at the top, and the line at the foot that says what is filtered.

import { button, element } from "./dom.js";
import { count } from "./format.js";
import { FACETS, filtered, toggled, unfiltered } from "./state.js";

/** Makes the counts of the page's head buttons; returns what shows which are pressed. */
export function strip(place, go) {
  if (!place) return () => {};
  const buttons = [...place.querySelectorAll("li")].map((item) => {
    const { column, value } = item.dataset;
    const made = button("", "", () => go((state) => ({ [column]: toggled(state[column], value) })));
    made.append(...item.childNodes);
    item.replaceChildren(made);
    return [made, column, value];
  });
  return ({ state }) => {
    for (const [made, column, value] of buttons) made.setAttribute("aria-pressed", String(state[column].includes(value)));
  };
}

/** The line at the foot of the window, there while anything is filtered. */
export function filterLine(run, go) {
  const line = element("div", "filter-line");
  line.setAttribute("role", "status");
  document.body.append(line);
  return ({ state, rows }) => {
    line.hidden = !filtered(state);
    document.body.classList.toggle("filtering", !line.hidden);
    if (line.hidden) return;
    const chips = FACETS.flatMap((facet) => state[facet].map((value) => {
      const shown = facet === "cell" ? run.labels[value] ?? value : value || "none";
      return button("chip", `${shown} ✕`, () => go((now) => ({ [facet]: toggled(now[facet], value) })),
        `Without the filter ${facet} ${value || "none"}`);
    }));
    if (state.q) chips.unshift(button("chip code", `${state.q} ✕`, () => go({ q: "" }), "Without the regular expression"));
    line.replaceChildren(
      element("span", "", element("b", "", count(rows.length)), ` of ${count(run.count)} rows`),
      element("span", "chips", ...chips),
      button("plain", "Clear", () => go(unfiltered()), "Clear all filters"),
    );
  };
}
