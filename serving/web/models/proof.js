// The proof of a version: what it must answer to the golden images, and what it does here and now.

import { ApiError, call, json, pathOf, reading } from "../api.js";
import { el, named, picture, say } from "../dom.js";
import { exact, percent } from "../numbers.js";
import { Turns } from "../turns.js";
import { accuracyTable, parityTable } from "./parity.js";

// Golden images in flight at once: a bundle may have more than a server takes.
const IN_FLIGHT = 4;

/** What proves a version; it is asked for when somebody opens it. */
export class Proof {
  #name;
  #version;
  #model;
  #isRead = false;
  #urls = new Set();
  #content = el("div", { class: "stack proof" });
  /** @type {GoldenImage[]} */
  #images = [];

  constructor(name, version) {
    [this.#name, this.#version] = [name, version];
    this.element = el("details", { class: "more", hidden: true }, el("summary", {}, "The proof"), this.#content);
    this.element.addEventListener("toggle", () => this.element.open && this.#read());
  }

  /** Offer the proof of a model that is loaded, and of no other. */
  offer(model) {
    if (model?.digest !== this.#model?.digest) this.#forget();
    this.#model = model;
    this.element.hidden = !model;
    if (model && this.element.open) this.#read();
  }

  /** Leave the page. */
  close() {
    this.#forget();
  }

  #forget() {
    this.#urls.forEach((url) => URL.revokeObjectURL(url));
    this.#urls.clear();
    this.#isRead = false;
    this.#content.replaceChildren();
  }

  get #path() {
    return pathOf(this.#name, this.#version);
  }

  async #read() {
    if (this.#isRead) return;
    this.#isRead = true;
    try {
      const proof = await json(`${this.#path}/proof`);
      this.#show(proof);
      await Promise.all(this.#images.map((image, at) => this.#load(image, at)));
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#isRead = false; // opened again, it is asked for again
      this.#content.replaceChildren(el("p", { class: "fault", role: "alert" }, error.message));
    }
  }

  #show(proof) {
    const { labels } = this.#model;
    this.#images = proof.images.map((image, at) => new GoldenImage(image, proof, at, labels));
    const verdict = el("p", { class: "verdict" });
    const run = el("button", { type: "button", class: "primary", onclick: () => this.#run(run, verdict, proof) }, "Ask them now");
    const { parity } = proof;
    const parts = [
      el(
        "p",
        { class: "hint" },
        `The server proved ${proof.file} with these images before it answered anybody. Each probability may differ by ` +
          `${exact(proof.tolerance)} from what the original gave when it was exported. Ask them now, and they go the way of all images.`,
      ),
      el("div", { class: "row" }, run, verdict),
      el("div", { class: "golden" }, ...this.#images.map((image) => image.element)),
      ...(parity ? tables(parity, labels, this.#model) : []),
    ];
    this.#content.replaceChildren(...parts.filter(Boolean));
  }

  async #load(image, at) {
    const blob = await reading((await call(`${this.#path}/golden/${at}`)).blob());
    const url = URL.createObjectURL(blob);
    this.#urls.add(url);
    image.look(blob, url);
  }

  /** Send all images, and say how far the answers are from what was recorded. */
  async #run(button, verdict, proof) {
    button.disabled = true;
    verdict.textContent = "";
    const query = new URLSearchParams({
      model: this.#name,
      version: this.#version,
      top_k: 1,
      full_probabilities: true,
    });
    try {
      const turns = new Turns(IN_FLIGHT);
      const asking = this.#images.map((image) => turns.take(() => image.ask(`v1/classify?${query}`)));
      const found = await Promise.all(asking);
      const isProved = found.every(({ isWithin }) => isWithin);
      const largest = Math.max(...found.map(({ difference }) => difference));
      verdict.textContent = isProved
        ? `Proved: within ${exact(largest)}, and ${exact(proof.tolerance)} is allowed.`
        : `Not proved: an answer differs by ${exact(largest)}, or from the answers of this file; see the images.`;
      verdict.dataset.state = isProved ? "ready" : "failed";
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      verdict.textContent = `The images were not answered: ${error.message}`;
      verdict.dataset.state = "failed";
    }
    say(verdict.textContent);
    button.disabled = false;
  }
}

/** A golden image, what it must give, and what it gives. */
class GoldenImage {
  #expected;
  #own;
  #tolerance;
  #labels;
  #file;
  #image = el("div", { class: "no-look" });
  #actual = el("dd", { class: "number" }, "not asked yet");
  #difference = el("p", { class: "hint" });

  constructor({ path, probabilities }, { tolerance, own }, at, labels) {
    [this.#expected, this.#tolerance, this.#labels] = [probabilities, tolerance, labels];
    this.#own = own && { tolerance: own.tolerance, probabilities: own.probabilities[at] };
    this.title = path.split("/").at(-1);
    this.element = el(
      "figure",
      { "aria-label": this.title },
      this.#image,
      el(
        "figcaption",
        {},
        el("dl", {}, el("dt", {}, "Expected"), el("dd", { class: "number" }, ...this.#first(probabilities)), el("dt", {}, "Here"), this.#actual),
        this.#difference,
      ),
    );
  }

  /** Show it, once its file has come. */
  look(file, url) {
    this.#file = file;
    const image = picture(url, this.title);
    this.#image.replaceWith(image);
    this.#image = image;
  }

  /** Have the model answer it. */
  async ask(path) {
    if (!this.#file) throw new ApiError(0, `the file of ${this.title} has not come yet; try again`);
    const answer = await json(path, { method: "POST", body: this.#file });
    const { probabilities } = answer.results[0];
    const difference = largest(probabilities, this.#expected);
    const fromOwn = this.#own && largest(probabilities, this.#own.probabilities);
    const isWithin = difference <= this.#tolerance && !(fromOwn > this.#own?.tolerance);
    this.#actual.replaceChildren(...this.#first(probabilities));
    this.#difference.textContent = `${isWithin ? "✓ within" : "✗ differs by"} ${exact(difference)}`;
    this.#difference.dataset.state = isWithin ? "ready" : "failed";
    return { difference, isWithin };
  }

  #first(probabilities) {
    const at = probabilities.indexOf(Math.max(...probabilities));
    return [named(this.#labels[at]), ` ${percent(probabilities[at])}`];
  }
}

/** Return the tables of what the export measured: parity.json is the bundle's, and may be anything. */
function tables(parity, labels, model) {
  try {
    return [parityTable(parity), accuracyTable(parity, labels, model)];
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    return [el("p", { class: "fault" }, "The bundle's parity.json is not one that the export wrote.")];
  }
}

function largest(some, others) {
  return some.reduce((most, one, at) => Math.max(most, Math.abs(one - others[at])), 0);
}
