/** Lets a few pieces of work run at once; the others wait in their order. */
export class Turns {
  #free;
  #waiting = [];

  /** @param {number} most pieces at once */
  constructor(most) {
    this.#free = most;
  }

  /**
   * Return what `work` returns, once it had its turn.
   * @template T
   * @param {() => Promise<T>} work
   * @returns {Promise<T>}
   */
  async take(work) {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}
