// The shell: which view is shown. A view is a folder with a module `view.js` that exports
//
//   mount(section) -> { show(), hide() }
//
// It is called when the view is first looked at. `show` is called whenever it comes into sight,
// `hide` whenever it leaves: a view that is hidden asks the server for nothing. Its style is in a
// file of its own beside it, which index.html names.

import { say } from "./dom.js";
import { mount as mountModels } from "./models/view.js";
import { startTokens } from "./token.js";
import { mount as mountTry } from "./try/view.js";
import { mount as mountWatch } from "./watch/view.js";

// All at once: a view that came later might be of a newer server than the rest of the page.
const VIEWS = { try: mountTry, watch: mountWatch, models: mountModels };
const FIRST = "try";

/** @type {Map<string, {show(): void, hide(): void}>} */
const mounted = new Map();
let shown = "";

function asked() {
  const name = location.hash.slice(1);
  return Object.hasOwn(VIEWS, name) ? name : FIRST;
}

function route() {
  const name = asked();
  if (name === shown) return;
  mounted.get(shown)?.hide();
  for (const other of Object.keys(VIEWS)) section(other).hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${section(name).ariaLabel} · resnext-serving`;
  if (shown) say(`${section(name).ariaLabel} is shown`);
  shown = name;
  if (!mounted.has(name)) mounted.set(name, VIEWS[name](section(name)));
  mounted.get(name).show();
}

function section(name) {
  return document.getElementById(`view-${name}`);
}

// Else the browser would show a file that is dropped instead of the page.
for (const step of ["dragover", "drop"]) addEventListener(step, (event) => event.preventDefault());
// Not by its address: that names the view.
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
startTokens();
addEventListener("hashchange", route);
route();
