// What a view asks the server from time to time, while somebody looks.

import { ApiError } from "./api.js";
import { Fault } from "./dom.js";

const EVERY_MS = 3000;
const REFUSED = [401, 403];

/** Asks for the models. */
export class Poll {
  #ask;
  #timer = 0;
  #isShown = false;
  #fault = new Fault();
  /** Says why there is no answer. */
  fault = this.#fault.element;

  /** @param {() => Promise<void>} ask asks, and shows what is answered */
  constructor(ask) {
    this.#ask = ask;
    document.addEventListener("visibilitychange", () => this.#isWanted && this.now());
  }

  get #isWanted() {
    return this.#isShown && !document.hidden;
  }

  /** Ask from now on. */
  show() {
    this.#isShown = true;
    this.now();
  }

  /** Ask no more. */
  hide() {
    this.#isShown = false;
    clearTimeout(this.#timer);
  }

  /** Ask at once. */
  async now() {
    clearTimeout(this.#timer);
    try {
      await this.#ask();
      this.#fault.tell("");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#fault.tell(`The models cannot be listed: ${error.message}.`);
      if (REFUSED.includes(error.status)) return; // else who has no token would be asked for one forever
    }
    clearTimeout(this.#timer); // of another that ended meanwhile
    if (this.#isWanted) this.#timer = setTimeout(() => this.now(), EVERY_MS);
  }
}
