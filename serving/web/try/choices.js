// Which models are asked, and for how many classes.

import { el } from "../dom.js";

const TOP = [1, 3, 5, 10];
const NAMED = 12;

/**
 * A version of a model to ask, or a label of one.
 * @typedef {{model: string, version: string, title: string, detail: string, labels: string[],
 *   multilabel: boolean}} Choice
 */

/** The boxes with which the user chooses. */
export class Choices {
  /** @type {Choice[]} */
  #offered = [];
  #first = el("select", { id: "model" });
  #second = el("select", { id: "compare" });
  #top = el("select", { id: "top" }, ...TOP.map((k) => el("option", { value: k, selected: k === 5 }, `${k}`)));
  #about = el("p", { class: "hint" });

  /** @param {() => void} changed is called when others are chosen */
  constructor(changed) {
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
    this.changed = changed;
  }

  /** How many classes are asked for. */
  get topK() {
    return Number(this.#top.value);
  }

  /** Return what is chosen: none if no model is loaded, or one, or two. @returns {Choice[]} */
  asked() {
    return [this.#first.value, this.#second.value].map((key) => this.#offered[key]).filter(Boolean);
  }

  /** Offer the loaded models, as /v1/models describes them; what was chosen stays chosen. */
  offer(models) {
    const before = this.asked().map((choice) => choice.title);
    const isFirst = !this.#offered.length;
    this.#offered = models.flatMap(choicesOf);
    const options = () => this.#offered.map((choice, at) => el("option", { value: at }, choice.title));
    this.#first.replaceChildren(...options());
    this.#second.replaceChildren(el("option", { value: "" }, "nothing"), ...options());
    this.#first.value = Math.max(0, this.#find(before[0] ?? usual(models)));
    const second = this.#find(before[1]);
    this.#second.value = second < 0 ? "" : second;
    this.element.hidden = false;
    this.#describe();
    const after = this.asked().map((choice) => choice.title);
    if (isFirst || `${before}` !== `${after}`) this.changed();
  }

  #find(title) {
    return this.#offered.findIndex((choice) => choice.title === title);
  }

  #describe() {
    const [choice] = this.asked();
    if (!choice) {
      this.#about.textContent = "No model is loaded; the server may be loading one.";
      return;
    }
    const { labels } = choice;
    const more = labels.length > NAMED ? `, and ${labels.length - NAMED} more` : "";
    this.#about.textContent = `It knows ${labels.length} classes: ${labels.slice(0, NAMED).join(", ")}${more}.`;
  }
}

/** @returns {Choice[]} */
function choicesOf(model) {
  const about = {
    model: model.name,
    detail: `${model.precision} · ${model.runtime} · ${model.device}`,
    labels: model.labels,
    multilabel: model.task === "multilabel",
  };
  const labelled = (model.version_labels ?? []).map(({ label }) => ({
    ...about,
    version: label,
    title: `${model.name} ${label} (${model.version})`,
  }));
  return [{ ...about, version: model.version, title: `${model.name} ${model.version}` }, ...labelled];
}

/** Return the title of the version of the first model that answers who names none. */
function usual(models) {
  const versions = models.filter(({ name }) => name === models[0].name); // sorted, the oldest first
  const isStable = ({ version_labels: labels = [] }) => labels.some(({ label }) => label === "stable");
  const model = versions.find(isStable) ?? versions.at(-1);
  return model && `${model.name} ${model.version}`;
}
