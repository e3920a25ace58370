// The view Try: images in, and for each a card with what the models say.

import { ApiError, json } from "../api.js";
import { el } from "../dom.js";
import { Card } from "./card.js";
import { Choices } from "./choices.js";
import { Intake } from "./intake.js";
import { Turns } from "./turns.js";

// Images in flight at once: browsers have six connections, and a batch is worth seeing.
const IN_FLIGHT = 4;
const MOST_CARDS = 200;

/** Show the view in its section; see main.js. */
export function mount(section) {
  const turns = new Turns(IN_FLIGHT);
  const cards = new Set();
  const list = el("div", { class: "results" });
  const fault = el("p", { class: "fault", role: "alert", hidden: true });
  const clear = el("button", { type: "button", class: "quiet", hidden: true, onclick: clearAll }, "Remove all");
  const choices = new Choices(() => cards.forEach(run));
  const intake = new Intake(add);
  const side = el("div", { class: "side stack" }, intake.element, fault, choices.element, clear);
  const body = el("div", { class: "try" }, side, list);
  section.append(body);

  function add(files) {
    refuse("");
    for (const file of files) {
      if (cards.size === MOST_CARDS) {
        refuse(`There are ${MOST_CARDS} images here, which is the most; remove some first.`);
        break;
      }
      const card = new Card(file, { again: run, remove });
      cards.add(card);
      list.prepend(card.element);
      run(card);
    }
    settle();
  }

  function run(card) {
    const asked = choices.asked();
    list.classList.toggle("comparing", asked.length > 1);
    if (asked.length) card.run(asked, choices.topK, turns);
  }

  function remove(card) {
    card.close();
    cards.delete(card);
    settle();
  }

  function clearAll() {
    cards.forEach(remove);
    intake.focus();
  }

  function settle() {
    clear.hidden = cards.size < 2;
    body.classList.toggle("has-results", cards.size > 0);
  }

  function refuse(why) {
    fault.textContent = why;
    fault.hidden = !why;
  }

  async function refresh() {
    try {
      choices.offer((await json("v1/models")).models);
      refuse("");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      refuse(`The models cannot be listed: ${error.message}.`);
    }
  }

  return {
    show() {
      intake.listen();
      refresh();
    },
    hide() {
      intake.ignore();
    },
  };
}
