// Joins the parts of the page to what a reader does.

import { drawInFull } from "./in_full.js";
import { draw } from "./site.js";

function open(hash) {
  const target = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
  if (target instanceof HTMLDetailsElement) {
    target.open = true;
    target.scrollIntoView();
  }
}

for (const details of document.querySelectorAll("details.site")) {
  details.addEventListener("toggle", () => details.open && draw(details));
}
document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href^="#"]');
  if (link) open(link.getAttribute("href"));
});
drawInFull();
window.addEventListener("hashchange", () => open(location.hash));
open(location.hash);
