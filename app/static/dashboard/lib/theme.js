// Chooses the colours before anything is drawn; a classic script, since modules run too late.
// The browser stores the user's choice: "light", "dark", or nothing to follow the system.

(() => {
  const KEY = "hub-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function read() {
    try {
      const stored = localStorage.getItem(KEY);
      return stored === "light" || stored === "dark" ? stored : "auto";
    } catch {
      return "auto"; // storage is disabled
    }
  }

  /** @param {string} choice */
  function store(choice) {
    try {
      if (choice === "auto") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, choice);
    } catch {
      // It is valid until the user leaves the page.
    }
  }

  /** @type {string} */
  let choice = read();

  function apply() {
    const system = dark.matches ? "dark" : "light";
    const theme = choice === "auto" ? system : choice;
    if (document.documentElement.dataset.theme === theme) return;
    document.documentElement.dataset.theme = theme;
    document.dispatchEvent(new CustomEvent("themechange", { detail: { theme } }));
  }

  apply();
  dark.addEventListener("change", apply);
  addEventListener("storage", (event) => {
    if (event.key === KEY) {
      choice = read();
      apply();
    }
  });
  addEventListener("DOMContentLoaded", () => {
    const control = /** @type {HTMLSelectElement} */ (document.getElementById("theme"));
    control.value = choice;
    control.addEventListener("change", () => {
      choice = control.value;
      store(choice);
      apply();
    });
  });
})();
