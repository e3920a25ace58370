// Light or dark: as the system says, unless the user has said otherwise. Not a module: it runs
// before anything is drawn, so that nothing flashes. Whoever draws on a canvas listens for
// "themechange" on the document. A browser that keeps nothing for this site refuses localStorage:
// then the choice is that of the page.
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
    kept(() => localStorage.setItem("theme", theme));
    apply(theme);
  }

  function kept(work) {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      return null;
    }
  }

  const saved = kept(() => localStorage.getItem("theme"));
  apply(Object.hasOwn(NAMES, saved) ? saved : "system");
  addEventListener("DOMContentLoaded", () => {
    apply(root.dataset.theme);
    document.getElementById("theme").addEventListener("click", next);
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(root.dataset.theme));
})();
