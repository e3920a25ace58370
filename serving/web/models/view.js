// The view Models: every version with its state, its proof, and what whoever may can change.

import { ApiError, json } from "../api.js";
import { el, say } from "../dom.js";
import { Version } from "./version.js";

const REFRESH_MS = 3000;

/** Show the view in its section; see main.js. */
export function mount(section) {
  const fault = el("p", { class: "fault", role: "alert", hidden: true });
  const hint = el("p", { class: "hint" });
  const names = el("div", { class: "stack names" });
  section.append(el("div", { class: "stack" }, el("div", { class: "row" }, el("h1", {}, "Models"), hint), fault, names));
  /** @type {Map<string, Version>} */
  const versions = new Map();
  let isShown = false;
  let timer = 0;

  document.addEventListener("visibilitychange", () => isShown && !document.hidden && refresh());

  /** Ask what there is, now and from time to time, while somebody looks. */
  async function refresh() {
    clearTimeout(timer);
    try {
      const [board, loaded] = await Promise.all([json("v1/versions"), json("v1/models")]);
      refuse("");
      show(board, loaded.models);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      refuse(`The models cannot be listed: ${error.message}.`);
      if ([401, 403].includes(error.status)) return;
    }
    clearTimeout(timer);
    if (isShown && !document.hidden) timer = setTimeout(refresh, REFRESH_MS);
  }

  function show(board, models) {
    hint.textContent = mayWhat(board);
    const there = board.versions.map((entry) => `${entry.name} ${entry.version}`);
    for (const [key, version] of versions) {
      if (there.includes(key)) continue;
      version.close();
      versions.delete(key);
    }
    board.versions.forEach((entry, at) => {
      const key = there[at];
      const model = models.find(({ name, version }) => `${name} ${version}` === key);
      if (!versions.has(key)) versions.set(key, new Version(entry, changed));
      versions.get(key).show(entry, model, board);
    });
    arrange(board.versions);
  }

  /** Put the versions under their names, the newest first. */
  function arrange(entries) {
    const wanted = [...new Set(entries.map(({ name }) => name))];
    const before = [...names.children].map((element) => element.dataset.name);
    if (`${wanted}` !== `${before}`) {
      names.replaceChildren(...wanted.map((name) => nameSection(name)));
    }
    for (const element of names.children) {
      const mine = entries.filter(({ name }) => name === element.dataset.name).reverse();
      const cards = mine.map(({ name, version }) => versions.get(`${name} ${version}`).element);
      const list = element.lastElementChild;
      // Only if it must be: whoever types in a card would lose the focus.
      if (cards.length !== list.children.length || cards.some((card, at) => list.children[at] !== card)) {
        list.replaceChildren(...cards);
      }
    }
  }

  function changed(what) {
    say(what);
    return refresh();
  }

  function refuse(why) {
    fault.textContent = why;
    fault.hidden = !why;
  }

  return {
    show() {
      isShown = true;
      refresh();
    },
    hide() {
      isShown = false;
      clearTimeout(timer);
    },
  };
}

function nameSection(name) {
  return el(
    "section",
    { "data-name": name, "aria-label": name, class: "stack" },
    el("h2", { class: "name" }, name),
    el("div", { class: "stack" }),
  );
}

function mayWhat({ may_load: mayLoad, may_label: mayLabel }) {
  if (mayLoad) return "";
  if (mayLabel) return "Versions come and go as --model-control says; you may change labels.";
  return "You may look here, and change nothing: that needs a server with --repository, and the role admin if it asks for tokens.";
}
