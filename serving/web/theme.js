// Light or dark: as the system says, unless the user has said otherwise. Not a module: it runs
// before anything is drawn, so that nothing flashes. Whoever draws on a canvas listens for
// "themechange" on the document.
(() => {
  const NAMES = { system: "Theme: system", light: "Theme: light", dark: "Theme: dark" };
  const root = document.documentElement;

  function apply(theme) {
    root.dataset.theme = theme;
    const button = document.getElementById("theme");
    if (button) button.textContent = NAMES[theme];
    document.dispatchEvent(new Event("themechange"));
  }

  function next() {
    const order = Object.keys(NAMES);
    const theme = order[(order.indexOf(root.dataset.theme) + 1) % order.length];
    localStorage.setItem("theme", theme);
    apply(theme);
  }

  const saved = localStorage.getItem("theme");
  apply(saved in NAMES ? saved : "system");
  addEventListener("DOMContentLoaded", () => {
    apply(root.dataset.theme);
    document.getElementById("theme").addEventListener("click", next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(root.dataset.theme));
})();
