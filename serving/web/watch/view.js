/** Show the view in its section; see main.js. */
export function mount(section) {
  section.append("…");
  return { show() {}, hide() {} };
}
