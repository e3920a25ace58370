// Numbers as people read them.

/** Return a number, however small it is, with two or three digits: `0.11`, `1.3 · 10⁻⁶`. */
export function exact(number) {
  if (number === 0 || number >= 0.001) return `${Number(number.toPrecision(3))}`;
  const [digits, power] = number.toExponential(1).split("e-");
  return `${Number(digits)} · 10⁻${[...power].map((digit) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[digit]).join("")}`;
}
