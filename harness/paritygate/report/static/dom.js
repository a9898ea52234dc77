// Elements and tables made of text: nothing that a name says is ever markup.

export function element(tag, className, ...inner) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...inner);
  return made;
}

export function table(titles, lines, rightFrom, rightTo) {
  const side = (i) => (i >= rightFrom && i <= rightTo ? "right" : "");
  const head = element("tr", "", ...titles.map((title, i) => element("th", side(i), title)));
  const body = lines.map((line) => element("tr", "", ...line.map((cell, i) => element("td", side(i), cell))));
  return element("div", "scroll", element("table", "", element("thead", "", head), element("tbody", "", ...body)));
}
