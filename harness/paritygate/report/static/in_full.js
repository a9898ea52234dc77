// Rows that stand in full elsewhere than on their site's page: drawn in the place of what the file has without a script.

import { rowOf } from "./data.js";
import { rowView } from "./row_view.js";

async function draw(run, place) {
  const at = run.find(place.dataset.row);
  if (at < 0 || place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  place.replaceChildren(rowView(await rowOf(run, at)));
}

/** Draws each such row as soon as it is unfolded. */
export function drawInFull(run) {
  for (const place of document.querySelectorAll(".row-in-full")) {
    const details = place.closest("details");
    if (!details || details.open) draw(run, place);
    details?.addEventListener("toggle", () => details.open && draw(run, place));
  }
}
