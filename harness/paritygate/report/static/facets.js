// One menu a facet: its values with the rows that each would choose.

import { element } from "./dom.js";
import { count } from "./format.js";
import { FACETS, toggled } from "./state.js";

function menu(run, facet, go) {
  const summary = element("summary", "", facet);
  const list = element("div", "menu-list");
  const made = element("details", "menu", summary, list);
  list.setAttribute("role", "group");
  list.setAttribute("aria-label", facet);
  const lines = run.names[facet].map((name, i) => {
    const box = element("input", "");
    box.type = "checkbox";
    box.addEventListener("change", () => go((state) => ({ [facet]: toggled(state[facet], name) })));
    const number = element("span", "muted right", "");
    list.append(element("label", "", box, element("span", name ? "" : "muted", name || "none"), number));
    return { box, number, name, i };
  });
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !made.open) return;
    made.open = false;
    summary.focus();
    event.stopPropagation();
  });
  const update = ({ state, counts }) => {
    const chosen = state[facet].length;
    summary.textContent = chosen ? `${facet} · ${chosen}` : facet;
    made.classList.toggle("on", chosen > 0);
    for (const { box, number, name, i } of lines) {
      box.checked = state[facet].includes(name);
      number.textContent = count(counts[facet][i]);
      box.parentElement.classList.toggle("none", counts[facet][i] === 0);
    }
  };
  return { made, update };
}

/** The menus of all facets with more than one value. */
export function facets(run, go) {
  const menus = FACETS.filter((facet) => run.names[facet].length > 1).map((facet) => menu(run, facet, go));
  document.addEventListener("click", (event) => {
    for (const { made } of menus) if (made.open && !made.contains(event.target)) made.open = false;
  });
  return { menus: menus.map(({ made }) => made), update: (view) => menus.forEach(({ update }) => update(view)) };
}
