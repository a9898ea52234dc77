// A row in full with what the page had to leave out of it: in the drawer, and on its site's page.

import { element } from "./dom.js";
import { panel } from "./panel.js";

export function rowView(row) {
  const made = element("div", "row-view", panel(row));
  if (row.left_out.length) {
    const words = `To keep this page under its cap in size, it goes without ${row.left_out.join(", ")}; rows.jsonl has them.`;
    made.append(element("p", "muted left-out", words));
  }
  return made;
}
