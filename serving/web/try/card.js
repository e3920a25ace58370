// One image: what it looks like, what the network saw of it, and what the models say.

import { ApiError, call } from "../api.js";
import { el, say } from "../dom.js";
import { answerOf, percent } from "./answer.js";
import { snippets } from "./snippets.js";

/** The card of an image. */
export class Card {
  #file;
  #urls = new Set();
  #running = new AbortController();
  #looks = el("div", { class: "looks" });
  #verdict = el("p", { class: "verdict" });
  #answers = el("div", { class: "answers" });
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
        el("h2", { title: file.name }, file.name),
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
    this.#looks.append(this.#look(file, "The image", `The image ${file.name}`));
  }

  /**
   * Ask the models; a run that goes on is given up.
   * @param {import("./choices.js").Choice[]} choices
   * @param {number} topK
   * @param {import("./turns.js").Turns} turns
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
    this.#urls.forEach((url) => URL.revokeObjectURL(url));
    this.element.remove();
  }

  async #ask(choices, topK, signal) {
    const found = [];
    for (const choice of choices) {
      signal.throwIfAborted();
      found.push(await this.#classify(choice, topK, signal));
    }
    const shown = found.map((one) => answerOf(one, choices.length > 1));
    const [original] = this.#looks.children;
    const seen = found.filter((one) => one.result).map((one) => this.#seen(one.choice, choices.length > 1, signal));
    const pixels = (await Promise.all(seen)).filter(Boolean);
    this.#looks.replaceChildren(original, ...pixels);
    this.#answers.replaceChildren(...shown);
    const names = found.map(({ result }) => result?.classes[0]);
    this.#verdict.textContent = verdict(names);
    this.#same.replaceChildren(snippets(this.#file.name, choices[0], topK));
    const [first] = found;
    say(`${this.#file.name}: ${first.error ?? `${names[0].label}, ${percent(names[0].probability)}`}`);
  }

  async #classify(choice, topK, signal) {
    const query = new URLSearchParams({ model: choice.model, version: choice.version, top_k: topK });
    try {
      const response = await call(`v1/classify?${query}`, { method: "POST", body: this.#file, signal });
      const answer = await response.json();
      return { choice, answer, result: answer.results[0], tookMs: response.tookMs };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return { choice, error: error.message };
    }
  }

  async #seen(choice, isOneOfTwo, signal) {
    const query = new URLSearchParams({ model: choice.model, version: choice.version });
    try {
      const response = await call(`v1/pixels?${query}`, { method: "POST", body: this.#file, signal });
      const what = isOneOfTwo ? `What ${choice.title} saw` : "What the network saw";
      return this.#look(await response.blob(), what, `${what} of ${this.#file.name}`, true);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      return el("p", { class: "fault" }, `What the network saw cannot be shown: ${error.message}`);
    }
  }

  #look(blob, caption, alt, isSeen = false) {
    const url = URL.createObjectURL(blob);
    this.#urls.add(url);
    const sides = el("span", { class: "number" });
    const image = el("img", { src: url, alt, class: isSeen ? "seen" : null });
    const figure = el("figure", {}, image, el("figcaption", {}, caption, sides));
    image.addEventListener("load", () => {
      sides.textContent = `${image.naturalWidth} × ${image.naturalHeight}`;
      image.classList.toggle("few", image.naturalWidth < 160);
    });
    image.addEventListener("error", () => image.replaceWith(el("div", { class: "no-look" }, "no image")));
    return figure;
  }
}

function verdict([first, second]) {
  if (!first || !second) return "";
  return first.label === second.label ? `Both say ${first.label}.` : `They differ: ${first.label}, or ${second.label}.`;
}

function size(nbytes) {
  if (nbytes < 1000) return `${nbytes} bytes`;
  return nbytes < 1e6 ? `${(nbytes / 1e3).toFixed(1)} kB` : `${(nbytes / 1e6).toFixed(1)} MB`;
}
