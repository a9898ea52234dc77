// Rows that stand in full elsewhere than on their site's page: drawn in the place of what the file has without a script.

import { load, rowOf } from "./data.js";
import { panel } from "./panel.js";

/** The row of a case, cell, mode and address; -1 where there is none. */
function find(run, { address, ...named }) {
  const wanted = Object.entries(named).map(([column, text]) => [run.places[column], run.names[column].indexOf(text)]);
  for (let at = 0; at < run.count; at++) {
    if (wanted.every(([places, place]) => places[at] === place) && run.address(at) === address) return at;
  }
  return -1;
}

async function draw(place) {
  if (place.dataset.drawn) return;
  place.dataset.drawn = "yes";
  const { case: of, cell, mode, address } = place.dataset;
  const run = await load();
  const at = find(run, { case: of, cell, mode, address });
  if (at >= 0) place.replaceChildren(panel(await rowOf(run, at)));
}

/** Draws each such row as soon as it can be seen. */
export function drawInFull() {
  for (const place of document.querySelectorAll(".row-in-full")) {
    const details = place.closest("details");
    if (!details || details.open) draw(place);
    details?.addEventListener("toggle", () => details.open && draw(place));
  }
}
