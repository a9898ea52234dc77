// Elements and tables made of text: nothing that a name says is ever markup.

export function element(tag, className, ...inner) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...inner);
  return made;
}

export function button(className, text, act, label) {
  const made = element("button", className, text);
  made.type = "button";
  if (label) {
    made.setAttribute("aria-label", label);
    made.title = label;
  }
  made.addEventListener("click", act);
  return made;
}

export function table(titles, lines, rightFrom, rightTo) {
  const side = (i) => (i >= rightFrom && i <= rightTo ? "right" : "");
  const head = element("tr", "", ...titles.map((title, i) => element(title ? "th" : "td", side(i), title)));
  const body = lines.map((line) => element("tr", "", ...line.map((cell, i) => element("td", side(i), cell))));
  return element("div", "scroll", element("table", "", element("thead", "", head), element("tbody", "", ...body)));
}

/** A few buttons of which one is pressed. `show` presses another. */
export function segments(label, options, choose) {
  const buttons = options.map(([value, text]) => {
    const made = button("", text, () => choose(value));
    made.dataset.value = value;
    return made;
  });
  const group = element("div", "segments", ...buttons);
  group.setAttribute("role", "group");
  group.setAttribute("aria-label", label);
  const show = (value) => buttons.forEach((b) => b.setAttribute("aria-pressed", String(b.dataset.value === value)));
  return { group, show };
}

/** Calls `act` once a frame, however often it is asked. */
export function eachFrame(act) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      act();
    });
  };
}

/** Calls `act`, when asked, as soon as `place` is near the window: what nobody scrolls to costs nothing. */
export function whenNear(place, act) {
  let near = false;
  let asked = false;
  const perhaps = () => {
    if (!near || !asked) return;
    asked = false;
    act();
  };
  new IntersectionObserver(([entry]) => {
    near = entry.isIntersecting;
    perhaps();
  }, { rootMargin: "50% 0%" }).observe(place);
  window.addEventListener("beforeprint", () => {
    near = true;
    perhaps();
  });
  return () => {
    asked = true;
    perhaps();
  };
}
