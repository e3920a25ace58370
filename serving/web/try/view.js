// The view Try: images in, and for each a card with what the models say.

import { ApiError, json } from "../api.js";
import { el, Fault } from "../dom.js";
import { Poll } from "../poll.js";
import { Turns } from "../turns.js";
import { Card } from "./card.js";
import { Choices } from "./choices.js";
import { Intake } from "./intake.js";
import { Samples } from "./samples.js";

// Images in flight at once: browsers have six connections, and a batch is worth seeing.
const IN_FLIGHT = 4;
const MOST_CARDS = 200;

/** Show the view in its section; see main.js. */
export function mount(section) {
  const turns = new Turns(IN_FLIGHT);
  const cards = new Set();
  const list = el("div", { class: "results" });
  const fault = new Fault();
  const clear = el("button", { type: "button", class: "quiet", hidden: true, onclick: clearAll }, "Remove all");
  const choices = new Choices(() => cards.forEach(run));
  const poll = new Poll(async () => choices.offer((await json("v1/models")).models));
  const samples = new Samples();
  const intake = new Intake(add, sample, fault);
  const side = el("div", { class: "side stack" }, intake.element, fault.element, poll.fault, choices.element, clear);
  const body = el("div", { class: "try" }, side, list);
  section.append(body);

  function add(files) {
    for (const file of files) {
      if (cards.size === MOST_CARDS) {
        fault.tell(`There are ${MOST_CARDS} images here, which is the most; remove some first.`);
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

  async function sample() {
    const [choice] = choices.asked();
    if (!choice) {
      fault.tell("There is no sample before a model is loaded.");
      return;
    }
    try {
      add([await samples.take(choice)]);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      fault.tell(`There is no sample: ${error.message}.`);
    }
  }

  function remove(card) {
    const next = card.element.nextElementSibling ?? card.element.previousElementSibling;
    card.close();
    cards.delete(card);
    settle();
    // Whoever uses the keyboard goes on from there.
    if (next) next.querySelector(".result-actions").lastElementChild.focus();
    else intake.focus();
  }

  function clearAll() {
    cards.forEach((card) => card.close());
    cards.clear();
    settle();
    intake.focus();
  }

  function settle() {
    if (cards.size < MOST_CARDS) fault.tell("");
    clear.hidden = cards.size < 2;
    body.classList.toggle("has-results", cards.size > 0);
  }

  return {
    show() {
      intake.listen();
      poll.show();
    },
    hide() {
      intake.ignore();
      poll.hide();
    },
  };
}
