// Elements from code: text is always text, never markup.

// A longer label is cut where it stands beside others; ImageNet's longest has 131 characters.
const LONGEST = 160;
// An image with fewer pixels is shown with its pixels, not blurred.
const FEW = 160;

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

/** Return a label or another name: however it is written, it leaves the text around it alone. */
export function named(text) {
  const letters = [...text];
  if (letters.length <= LONGEST) return el("bdi", {}, text);
  return el("bdi", { title: text }, `${letters.slice(0, LONGEST).join("")}…`);
}

/** Return an image. @param {string} src @param {string} alt */
export function picture(src, alt) {
  const image = el("img", { src, alt, decoding: "async" });
  image.addEventListener("load", () => image.classList.toggle("few", image.naturalWidth < FEW));
  return image;
}

/** Return a bar of which a share of 0 to 1 is filled. */
export function meter(share) {
  const fill = el("span", { class: "meter-fill" });
  fill.style.setProperty("--share", share);
  return el("span", { class: "meter", "aria-hidden": "true" }, fill);
}

/** A line that says what is wrong, and is hidden as long as nothing is. */
export class Fault {
  element = el("p", { class: "fault", role: "alert", hidden: true });

  /** @param {string} why empty: nothing is wrong */
  tell(why) {
    if (this.element.textContent === why) return; // else it would be read aloud again
    this.element.textContent = why;
    this.element.hidden = !why;
  }
}

/** Have screen readers say something, once they have finished what they say. */
export function say(text) {
  document.getElementById("announcer").textContent = text;
}

/** Return a button that copies what `text()` returns, and says so; null where browsers allow none. */
export function copyButton(text, what) {
  if (!navigator.clipboard) return null; // over plain HTTP from another machine
  const button = el("button", { type: "button", class: "quiet small", "aria-label": `Copy ${what}` }, "Copy");
  const told = (short, long) => {
    button.textContent = short;
    say(long);
    setTimeout(() => (button.textContent = "Copy"), 1500);
  };
  button.addEventListener("click", () =>
    navigator.clipboard.writeText(text()).then(
      () => told("Copied", `${what} is copied`),
      () => told("Not allowed", `the browser does not let this page copy ${what}`),
    ),
  );
  return button;
}
