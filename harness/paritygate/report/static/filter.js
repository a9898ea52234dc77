// Which rows are chosen, and how many more a facet's other values would choose.

import { FACETS } from "./state.js";

const NEVER = new RegExp("(?!)");

/** The regular expression that a reader types, over addresses; one that is none says why and chooses nothing. */
function pattern(text) {
  try {
    return [new RegExp(text, "i"), ""];
  } catch (problem) {
    return [NEVER, problem.message];
  }
}

/**
 * `rows` in the order of the run; `sites[i]` is 1 where the i-th site has one; `counts[facet][i]` are the rows with the
 * facet's i-th value which all other filters let through; `problem` is what is wrong with the regular expression.
 */
export function choose(run, state) {
  const [regex, problem] = pattern(state.q);
  const ports = run.names.port;
  const named = run.sites.map((site) => ports.map((port) => !state.q || regex.test(`${site}:${port}`)));
  const wanted = FACETS.map((facet) => run.names[facet].map((name) => state[facet].includes(name)));
  const asked = [...FACETS.keys()].filter((f) => state[FACETS[f]].length);
  const places = FACETS.map((facet) => run.places[facet]);
  const counts = FACETS.map((facet) => new Uint32Array(run.names[facet].length));
  const rows = new Uint32Array(run.count);
  const sites = new Uint8Array(run.sites.length);
  let found = 0;
  for (let row = 0; row < run.count; row++) {
    if (!named[run.siteOf[row]][run.places.port[row]]) continue;
    let refused = -1;
    let refusals = 0;
    for (const f of asked) {
      if (!wanted[f][places[f][row]]) {
        refused = f;
        refusals++;
      }
    }
    if (refusals === 0) {
      rows[found++] = row;
      sites[run.siteOf[row]] = 1;
      for (let f = 0; f < FACETS.length; f++) counts[f][places[f][row]]++;
    } else if (refusals === 1) counts[refused][places[refused][row]]++;
  }
  return { rows: rows.subarray(0, found), sites, counts: Object.fromEntries(FACETS.map((f, i) => [f, counts[i]])), problem };
}
