// The view Models: every version with its state, its proof, and what whoever may can change.

import { json } from "../api.js";
import { el, say } from "../dom.js";
import { Poll } from "../poll.js";
import { Version } from "./version.js";

/** Show the view in its section; see main.js. */
export function mount(section) {
  const poll = new Poll(refresh);
  const hint = el("p", { class: "hint" });
  const names = el("div", { class: "stack names" });
  section.append(el("div", { class: "stack" }, el("div", { class: "row" }, el("h1", {}, "Models"), hint), poll.fault, names));
  /** @type {Map<string, Version>} */
  const versions = new Map();

  async function refresh() {
    const [board, loaded] = await Promise.all([json("v1/versions"), json("v1/models")]);
    show(board, loaded.models);
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
    return poll.now();
  }

  return { show: () => poll.show(), hide: () => poll.hide() };
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
