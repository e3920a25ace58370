// One image: what it looks like, what the network saw of it, and what the models say.

import { ApiError, call, jsonOf, reading } from "../api.js";
import { el, named, picture, say } from "../dom.js";
import { likelihood, size } from "../numbers.js";
import { answerOf } from "./answer.js";
import { snippets } from "./snippets.js";

/** The card of an image. */
export class Card {
  #file;
  #running = new AbortController();
  #looks = el("div", { class: "looks" });
  #verdict = el("p", { class: "verdict" });
  #answers = el("div", { class: "answers" }, el("p", { class: "hint" }, "No answer yet."));
  #same = el("div");

  /**
   * @param {File} file
   * @param {{again: (card: Card) => void, remove: (card: Card) => void}} actions
   */
  constructor(file, { again, remove }) {
    this.#file = file;
    const button = (text, what, action) =>
      el(
        "button",
        { type: "button", class: "quiet small", "aria-label": `${what} ${file.name}`, onclick: () => action(this) },
        text,
      );
    this.element = el(
      "article",
      { class: "card result", "aria-label": file.name },
      el(
        "header",
        { class: "result-head" },
        el("h2", { title: file.name }, el("bdi", {}, file.name)),
        el("p", { class: "hint" }, size(file.size)),
        el("div", { class: "result-actions" }, button("Run again", "Run again:", again), button("Remove", "Remove", remove)),
      ),
      el(
        "div",
        { class: "result-body" },
        this.#looks,
        el("div", { class: "says" }, this.#verdict, this.#answers, this.#same),
      ),
    );
    this.#looks.append(look(file, "The image", `The image ${file.name}`));
  }

  /**
   * Ask the models; a run that goes on is given up.
   * @param {import("./choices.js").Choice[]} choices
   * @param {number} topK
   * @param {import("../turns.js").Turns} turns
   */
  async run(choices, topK, turns) {
    this.#running.abort();
    const { signal } = (this.#running = new AbortController());
    this.element.setAttribute("aria-busy", "true");
    try {
      await turns.take(() => this.#ask(choices, topK, signal));
    } catch (error) {
      if (error.name !== "AbortError") throw error;
      return; // another run goes on, or the card is gone
    }
    this.element.removeAttribute("aria-busy");
  }

  /** Leave the page. */
  close() {
    this.#running.abort();
    release(this.element);
    this.element.remove();
  }

  async #ask(choices, topK, signal) {
    const isOneOfTwo = choices.length > 1;
    const found = [];
    for (const choice of choices) {
      signal.throwIfAborted();
      found.push(await this.#classify(choice, topK, signal));
    }
    const good = found.filter(({ result }) => result);
    const seen = await Promise.all(good.map(({ choice }) => this.#seen(choice, signal)));
    signal.throwIfAborted();
    const [original, ...before] = this.#looks.children;
    before.forEach(release);
    this.#looks.replaceChildren(original, ...good.map(({ choice }, at) => this.#lookOf(seen[at], isOneOfTwo && choice)));
    this.#answers.replaceChildren(...found.map((one) => answerOf(one, isOneOfTwo)));
    const firsts = found.map(({ result }) => result?.classes[0]);
    this.#verdict.replaceChildren(...verdict(firsts));
    this.#same.replaceChildren(snippets(this.#file, choices[0], topK));
    const [first] = found;
    say(`${this.#file.name}: ${first.error ?? `${firsts[0].label}, ${likelihood(firsts[0].probability)}`}`);
  }

  async #classify(choice, topK, signal) {
    const query = new URLSearchParams({ model: choice.model, version: choice.version, top_k: topK });
    try {
      if (!this.#file.size) throw new ApiError(0, "the file is empty");
      const response = await call(`v1/classify?${query}`, { method: "POST", body: this.#file, signal });
      const answer = await jsonOf(response);
      return { choice, result: answer.results[0], tookMs: response.tookMs };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return { choice, error: error.message };
    }
  }

  /** Return the pixels that a model saw, or why they cannot be shown. @returns {Promise<Blob|string>} */
  async #seen(choice, signal) {
    const query = new URLSearchParams({ model: choice.model, version: choice.version });
    try {
      const response = await call(`v1/pixels?${query}`, { method: "POST", body: this.#file, signal });
      return await reading(response.blob());
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return error.message;
    }
  }

  #lookOf(seen, choice) {
    if (!(seen instanceof Blob)) return el("p", { class: "fault" }, `What the network saw cannot be shown: ${seen}`);
    const what = choice ? `What ${choice.title} saw` : "What the network saw";
    return look(seen, what, `${what} of ${this.#file.name}`);
  }
}

function look(blob, caption, alt) {
  const sides = el("span", { class: "number" });
  const image = picture(URL.createObjectURL(blob), alt);
  image.addEventListener("load", () => (sides.textContent = `${image.naturalWidth} × ${image.naturalHeight}`));
  image.addEventListener("error", () => {
    URL.revokeObjectURL(image.src);
    image.replaceWith(el("div", { class: "no-look" }, "no image"));
  });
  return el("figure", {}, image, el("figcaption", {}, caption, sides));
}

/** Let the browser forget the images in an element: it keeps them until the page is left, or it is told. */
function release(element) {
  element.querySelectorAll("img").forEach((image) => URL.revokeObjectURL(image.src));
}

function verdict([first, second]) {
  if (!first || !second) return [];
  if (first.label === second.label) return ["Both say ", named(first.label), "."];
  return ["They differ: ", named(first.label), ", or ", named(second.label), "."];
}
