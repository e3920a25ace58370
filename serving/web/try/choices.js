// Which models are asked, and for how many classes.

import { el, named } from "../dom.js";
import { brief } from "../numbers.js";

const TOP = [1, 3, 5, 10];
const NAMED = 12;

/**
 * A version of a model to ask, or a label of one.
 * @typedef {{model: string, version: string, title: string, detail: string, labels: string[],
 *   digest: string, multilabel: boolean}} Choice
 */

/** The boxes with which the user chooses. */
export class Choices {
  /** @type {Choice[]} */
  #offered = [];
  #changed;
  #told = "";
  #first = el("select", { id: "model" });
  #second = el("select", { id: "compare" });
  #top = el("select", { id: "top" }, ...TOP.map((k) => el("option", { value: k, selected: k === 5 }, `${k}`)));
  #about = el("p", { class: "hint" });

  /** @param {() => void} changed is called when others are chosen */
  constructor(changed) {
    this.#changed = changed;
    this.element = el(
      "div",
      { class: "choices", hidden: true },
      el("label", { class: "field" }, "Model", this.#first),
      el("label", { class: "field" }, "Compare with", this.#second),
      el("label", { class: "field" }, "Classes shown", this.#top),
      this.#about,
    );
    this.element.addEventListener("change", () => {
      this.#describe();
      changed();
    });
  }

  /** How many classes are asked for. */
  get topK() {
    return Number(this.#top.value);
  }

  /** Return what is chosen: none if no model is loaded, or one, or two. @returns {Choice[]} */
  asked() {
    return [this.#first.value, this.#second.value].map((key) => this.#offered[key]).filter(Boolean);
  }

  /** Offer the loaded models, as /v1/models describes them; what was chosen and is still there stays chosen. */
  offer(models) {
    const offered = models.flatMap(choicesOf);
    if (JSON.stringify(offered) === this.#told) return; // a box may be open
    this.#told = JSON.stringify(offered);
    const before = this.asked();
    this.#offered = offered;
    const options = () => offered.map((choice, at) => el("option", { value: at }, choice.title));
    this.#first.replaceChildren(...options());
    this.#second.replaceChildren(el("option", { value: "" }, "nothing"), ...options());
    const [first, second] = before.map((choice) => this.#find(choice));
    this.#first.value = [first, this.#find(usual(models)), 0].find((at) => at >= 0);
    this.#second.value = second >= 0 ? second : "";
    this.element.hidden = false;
    this.#describe();
    const digests = (choices) => `${choices.map(({ digest }) => digest)}`;
    if (digests(before) !== digests(this.asked())) this.#changed();
  }

  #find({ model, version } = {}) {
    return this.#offered.findIndex((choice) => choice.model === model && choice.version === version);
  }

  #describe() {
    const [choice] = this.asked();
    if (!choice) {
      this.#about.textContent = "No model is loaded yet. Images wait here until one is.";
      return;
    }
    const { labels } = choice;
    const some = labels.slice(0, NAMED).flatMap((label, at) => [at ? ", " : "", named(label)]);
    const more = labels.length > NAMED ? `, and ${brief(labels.length - NAMED)} more.` : ".";
    this.#about.replaceChildren(`It knows ${brief(labels.length)} classes: `, ...some, more);
  }
}

/** @returns {Choice[]} */
function choicesOf(model) {
  const about = {
    model: model.name,
    detail: `${model.precision} · ${model.runtime} · ${model.device}`,
    labels: model.labels,
    digest: model.digest,
    multilabel: model.task === "multilabel",
  };
  const labelled = (model.version_labels ?? []).map(({ label }) => ({
    ...about,
    version: label,
    title: `${model.name} ${label} (${model.version})`,
  }));
  return [{ ...about, version: model.version, title: `${model.name} ${model.version}` }, ...labelled];
}

/** Return the version of the first model that answers who names none. */
function usual(models) {
  const versions = models.filter(({ name }) => name === models[0].name); // sorted, the oldest first
  const isStable = ({ version_labels: labels = [] }) => labels.some(({ label }) => label === "stable");
  const model = versions.find(isStable) ?? versions.at(-1);
  return model && { model: model.name, version: model.version };
}
