// The shell: which view is shown. A view is a folder with a module `view.js` that exports
//
//   mount(section) -> { show(), hide() }
//
// It is imported when it is first looked at. `show` is called whenever it comes into sight, `hide`
// whenever it leaves: a view that is hidden asks the server for nothing. Its style is in a file of
// its own beside it, which index.html names.

import { el, say } from "./dom.js";
import { startTokens } from "./token.js";

const VIEWS = {
  try: () => import("./try/view.js"),
  watch: () => import("./watch/view.js"),
  models: () => import("./models/view.js"),
};
const FIRST = "try";

/** @type {Map<string, {show(): void, hide(): void}>} */
const mounted = new Map();
let shown = "";

function asked() {
  const name = location.hash.slice(1);
  return Object.hasOwn(VIEWS, name) ? name : FIRST;
}

async function route() {
  if (location.hash === "#main") {
    document.getElementById("main").focus();
    return;
  }
  const name = asked();
  if (name === shown) return;
  mounted.get(shown)?.hide();
  const before = shown;
  shown = name;
  for (const other of Object.keys(VIEWS)) section(other).hidden = other !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${section(name).ariaLabel} · resnext-serving`;
  if (before) say(`${section(name).ariaLabel} is shown`);
  if (!mounted.has(name)) await load(name);
  if (shown === name) mounted.get(name)?.show();
}

async function load(name) {
  try {
    const { mount } = await VIEWS[name]();
    section(name).replaceChildren();
    mounted.set(name, mount(section(name)));
  } catch (error) {
    console.error(error);
    shown = "";
    section(name).replaceChildren(
      el("p", { class: "note", role: "alert" }, "This view cannot be loaded: the server cannot be reached."),
      el("p", { class: "note" }, el("button", { type: "button", onclick: route }, "Try again")),
    );
  }
}

function section(name) {
  return document.getElementById(`view-${name}`);
}

startTokens();
addEventListener("hashchange", route);
route();
