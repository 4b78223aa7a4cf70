// Chooses the colours before anything is drawn; a classic script, since modules come too late.
// The reader's choice is kept in this browser: "light", "dark", or nothing, which follows the system.

(() => {
  const KEY = "hub-theme";
  const dark = matchMedia("(prefers-color-scheme: dark)");

  function read() {
    try {
      const kept = localStorage.getItem(KEY);
      return kept === "light" || kept === "dark" ? kept : "auto";
    } catch {
      return "auto"; // a browser that keeps nothing
    }
  }

  function keep(choice) {
    try {
      if (choice === "auto") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, choice);
    } catch {
      // It holds until the page is left.
    }
  }

  let choice = read();

  function apply() {
    const theme = choice === "auto" ? (dark.matches ? "dark" : "light") : choice;
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
    const control = document.getElementById("theme");
    control.value = choice;
    control.addEventListener("change", () => {
      choice = control.value;
      keep(choice);
      apply();
    });
  });
})();
