// A box that scrolls can be reached by keyboard, and one that has nothing to scroll is no stop on the way.

const look = new ResizeObserver((entries) => entries.forEach(({ target }) => mark(target)));

function mark(box) {
  if (box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1) box.tabIndex = 0;
  else box.removeAttribute("tabindex");
}

function watch(root) {
  for (const box of root.querySelectorAll(".scroll:not(.heat-view):not(.rows-scroll)")) look.observe(box);
}

/** Watches every such box of the page, also those that come later. */
export function reachable() {
  watch(document);
  new MutationObserver((changes) => {
    for (const place of new Set(changes.map(({ target }) => target))) watch(place);
  }).observe(document.body, { childList: true, subtree: true });
}
