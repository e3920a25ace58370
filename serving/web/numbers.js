// Numbers as people read them.

/** Return a number, however small it is, with two or three digits: `0.11`, `1.3 · 10⁻⁶`. */
export function exact(number) {
  if (number === 0 || number >= 0.001) return `${Number(number.toPrecision(3))}`;
  const [digits, power] = number.toExponential(1).split("e-");
  return `${Number(digits)} · 10⁻${[...power].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`;
}

/** Return a number that is read at a glance; a dash if there is none. */
export function brief(number) {
  if (number === null || number === undefined) return "–";
  const digits = number >= 100 || Number.isInteger(number) ? 0 : number >= 10 ? 1 : 2;
  return number.toLocaleString([], { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

/** Return a share of 0 to 1 in percent, with so many digits after the point. */
export function percent(share, digits = 2) {
  return `${(100 * share).toFixed(digits)}\u00a0%`;
}

/** Return a probability in percent: none is said to be certain or impossible that is not. */
export function likelihood(probability) {
  if (probability > 0 && probability < 0.001) return "<\u00a00.1\u00a0%";
  return probability < 1 && probability >= 0.9995 ? ">\u00a099.9\u00a0%" : percent(probability, 1);
}

/** Return a time. */
export function milliseconds(ms) {
  return `${ms.toFixed(ms < 10 ? 2 : 1)}\u00a0ms`;
}

/** Return the size of a file. */
export function size(nbytes) {
  if (nbytes < 1000) return `${nbytes}\u00a0bytes`;
  return nbytes < 1e6 ? `${(nbytes / 1e3).toFixed(1)}\u00a0kB` : `${(nbytes / 1e6).toFixed(1)}\u00a0MB`;
}
