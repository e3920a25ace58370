// The card of a version.

import { ApiError, json } from "../api.js";
import { copyButton, el, Fault } from "../dom.js";
import { brief, exact, percent } from "../numbers.js";
import { LabelEditor } from "./labels.js";
import { Proof } from "./proof.js";

const STATES = {
  ready: "ready",
  loading: "loading",
  unloading: "unloading: it answers what it has",
  failed: "failed",
  invalid: "no valid bundle",
  idle: "not loaded",
};

/** A version, loaded or not. */
export class Version {
  #name;
  #version;
  #changed;
  #shown = "";
  #badge = el("span", { class: "badge" });
  #labels = el("span", { class: "row chips" });
  #actions = el("div", { class: "version-actions" });
  #reason = el("p", { class: "reason", hidden: true });
  #fault = new Fault();
  #facts = el("dl", { class: "facts", hidden: true });
  #editor;
  #proof;

  /**
   * @param {{name: string, version: string}} entry
   * @param {(what: string) => Promise<void>} changed is called after each change, with words for it
   */
  constructor({ name, version }, changed) {
    [this.#name, this.#version, this.#changed] = [name, version, changed];
    this.#editor = new LabelEditor((label, share) => this.#label(label, share));
    this.#proof = new Proof(name, version);
    this.element = el(
      "article",
      { class: "card version", "aria-label": `${name} ${version}`, tabindex: -1 },
      el("header", { class: "version-head" }, el("h3", {}, `Version ${version}`), this.#badge, this.#labels, this.#actions),
      this.#reason,
      this.#fault.element,
      this.#facts,
      this.#editor.element,
      this.#proof.element,
    );
  }

  /**
   * Show what has become of it.
   * @param {{state: string, reason: string}} entry as /v1/versions has it
   * @param {object|undefined} model as /v1/models has it, if it is loaded
   * @param {{may_load: boolean, may_label: boolean}} may
   */
  show(entry, model, may) {
    const shown = JSON.stringify([entry, model, may.may_load, may.may_label]);
    if (shown === this.#shown) return; // what is being typed or read stays as it is
    this.#shown = shown;
    const isLost = model && !model.ready && entry.state === "ready";
    this.#badge.textContent = isLost ? "loaded, but does not answer now" : STATES[entry.state];
    this.#badge.dataset.state = isLost ? "failed" : entry.state;
    this.#reason.textContent = entry.reason;
    this.#reason.hidden = !entry.reason;
    this.#reason.classList.toggle("fault", ["failed", "invalid"].includes(entry.state));
    this.#facts.hidden = !model;
    this.#facts.replaceChildren(...(model ? facts(model) : []));
    this.#exchange(this.#labels, (model?.version_labels ?? []).map((one) => this.#chip(one, may.may_label)));
    this.#exchange(this.#actions, this.#buttons(entry, may));
    this.#editor.element.hidden = !(model && may.may_label);
    this.#proof.offer(model);
  }

  /** Leave the page. */
  close() {
    this.#proof.close();
    this.element.remove();
  }

  /** Put others in the place of buttons; the keyboard stays in this card. */
  #exchange(place, others) {
    const hadFocus = place.contains(document.activeElement);
    place.replaceChildren(...others);
    if (hadFocus) (place.querySelector("button") ?? this.element).focus();
  }

  #buttons({ state }, { may_load: mayLoad }) {
    if (!mayLoad) return [];
    const title = `${this.#name} ${this.#version}`;
    const button = (text, verb) =>
      el("button", { type: "button", class: "small", "aria-label": `${text} ${title}`, onclick: () => this.#change(text, verb) }, text);
    if (state === "ready") return [button("Unload", "unload")];
    return ["loading", "unloading"].includes(state) ? [] : [button("Load", "load")];
  }

  #chip({ label, share }, mayLabel) {
    const text = share ? `${label} ${exact(100 * share)}\u00a0%` : label;
    const remove = () =>
      this.#do(`Label ${label} is removed`, `${this.#path}/labels/${encodeURIComponent(label)}`, { method: "DELETE" });
    const what = `Remove the label ${label} from ${this.#name} ${this.#version}`;
    return el(
      "span",
      { class: "chip" },
      text,
      mayLabel && el("button", { type: "button", "aria-label": what, title: what, onclick: remove }, "×"),
    );
  }

  #change(text, verb) {
    const body = JSON.stringify({ parameters: { version: this.#version } });
    const what = `${this.#name} ${this.#version} is ${verb}ed`;
    return this.#do(what, `${this.#path}/${verb}`, posted(body));
  }

  #label(label, share) {
    const body = JSON.stringify({ version: this.#version, share });
    const path = `${this.#path}/labels/${encodeURIComponent(label)}`;
    return this.#do(`${label} is now version ${this.#version}`, path, posted(body));
  }

  get #path() {
    return `v2/repository/models/${encodeURIComponent(this.#name)}`;
  }

  /** Have the server do something; return whether it did. */
  async #do(what, path, options) {
    if (this.element.hasAttribute("aria-busy")) return false;
    this.#fault.tell("");
    this.element.setAttribute("aria-busy", "true");
    let why = "";
    try {
      await json(path, options);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      why = error.message;
    }
    this.element.removeAttribute("aria-busy");
    this.#fault.tell(why);
    await this.#changed(why || what);
    return !why;
  }
}

function posted(body) {
  return { method: "POST", headers: { "content-type": "application/json" }, body };
}

function facts(model) {
  const [algorithm, digest] = model.digest.split(":");
  const shown = el("code", { title: model.digest }, `${algorithm}:${digest.slice(0, 12)}…`);
  return [
    ["Runs on", `${model.runtime}, ${model.device}`],
    ["Precision", model.precision],
    ["Network", `${model.architecture}, ${model.width} × ${model.height} pixels`],
    ["Classes", `${brief(model.labels.length)}${model.task === "multilabel" ? ", any number of them right" : ""}`],
    ["Accuracy", model.top1 ? `${percent(model.top1)} top-1 on its own evaluation set` : "not known"],
    ["Batches of", model.buckets.join(", ")],
    ["Digest", shown, copyButton(() => model.digest, `the digest of ${model.name} ${model.version}`)],
  ].map(([name, ...value]) => el("div", {}, el("dt", {}, name), el("dd", {}, ...value)));
}
