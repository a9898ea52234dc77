// The sides of an error map: which indices a block has, in words, and where rows, heads and named parts begin.

/** Axes as `details.py` packs them. */
export function axesOf(packed, strings) {
  return packed.map(([one, several, size, step, first]) => ({
    one: strings[one], several: strings[several], size, step, first, blocks: Math.ceil(size / step),
  }));
}

export const blocksOf = (axes) => axes.reduce((product, axis) => product * axis.blocks, 1);

/** The block of each axis, of a block of the whole side. */
function placesOf(axes, block) {
  const places = [];
  for (const axis of [...axes].reverse()) {
    places.unshift(block % axis.blocks);
    block = Math.floor(block / axis.blocks);
  }
  return places;
}

/** `row 1, tokens 8–9` */
export function words(axes, block) {
  const places = placesOf(axes, block);
  const said = axes.map((axis, i) => {
    const first = places[i] * axis.step;
    const last = Math.min(first + axis.step, axis.size) - 1;
    if (axis.size === 1 && axes.length > 1) return "";
    return first === last ? `${axis.one} ${axis.first + first}` : `${axis.several} ${axis.first + first}–${axis.first + last}`;
  });
  return said.filter(Boolean).join(", ");
}

/** Blocks of a side at which an index of an outer axis begins, with that index; the first block is one. */
export function groups(axes) {
  const inner = axes.at(-1)?.blocks ?? 1;
  const outer = axes.slice(0, -1);
  return Array.from({ length: blocksOf(axes) / inner }, (_, i) => ({ start: i * inner, length: inner, text: words(outer, i) }));
}

/**
 * Where a part with a name begins within a side: its place in blocks, that may lie inside one, and its number.
 * `depth` says which axis of the side: edges of an outer one lie between its groups.
 */
export function edgesOn(axes, depth, every) {
  const axis = axes[depth];
  const inner = blocksOf(axes.slice(depth + 1));
  const before = blocksOf(axes.slice(0, depth));
  const found = [];
  for (let outer = 0; outer < before; outer++) {
    for (let at = Math.ceil((axis.first + 1) / every) * every; at < axis.first + axis.size; at += every) {
      const place = (at - axis.first) / axis.step;
      found.push({ place: (outer * axis.blocks + place) * inner, index: at, part: at / every });
    }
  }
  return found;
}
