// Elements from code: text is always text, never markup.

/**
 * Return an element.
 * @param {string} tag of the element
 * @param {Record<string, any>} attributes; `on…` are listeners, `null` and `false` are left out
 * @param {...(Node|string|null|false)} children
 */
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

const SVG = "http://www.w3.org/2000/svg";

/** Return an element of SVG; see `el`. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== false && child !== undefined));
  return element;
}

/** Have screen readers say something, once they have finished what they say. */
export function say(text) {
  document.getElementById("announcer").textContent = text;
}

/** Return a button that copies what `text()` returns, and says so; null where browsers allow none. */
export function copyButton(text, what) {
  if (!navigator.clipboard) return null; // over plain HTTP from another machine
  const button = el("button", { type: "button", class: "quiet small", "aria-label": `Copy ${what}` }, "Copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text());
    button.textContent = "Copied";
    say(`${what} is copied`);
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  return button;
}
