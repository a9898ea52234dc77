// Drawings made of elements and attributes: the page's policy refuses styles in attributes, so looks are classes.

// The name of SVG's namespace, which is an address: the file names none, so that anyone sees that it asks for nothing.
const space = () => (known.space ??= new DOMParser().parseFromString("<svg></svg>", "text/html").body.firstChild.namespaceURI);
const known = { space: null };

export function svg(tag, attributes, ...inner) {
  const made = document.createElementNS(space(), tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...inner);
  return made;
}

/** A drawing of this size that scales with its place; `said` is what it shows, for those who do not see it. */
export function drawing(width, height, said, ...inner) {
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": said }, ...inner);
}

export function label(x, y, anchor, text, className = "tick") {
  return svg("text", { x, y, "text-anchor": anchor, class: className }, text);
}
