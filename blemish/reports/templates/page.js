// Theme: follows the system until the reader chooses; "#dark" and "#light" in the address choose, too.
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const system = matchMedia("(prefers-color-scheme: dark)");
  let chosen = ["dark", "light"].find((name) => location.hash === "#" + name) ?? null;
  try { chosen ??= localStorage.getItem("blemish-theme"); } catch { /* pages opened from a file may have no storage */ }
  const apply = () => { root.dataset.theme = chosen ?? (system.matches ? "dark" : "light"); };
  apply();
  system.addEventListener("change", apply);
  addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      chosen = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("blemish-theme", chosen); } catch { /* chosen for this visit only */ }
      apply();
    });
    const opened = [];
    addEventListener("beforeprint", () => document.querySelectorAll("details:not([open])").forEach((part) => {
      if (!part.dataset.long) { part.open = true; opened.push(part); }
    }));
    addEventListener("afterprint", () => opened.splice(0).forEach((part) => { part.open = false; }));
  });
})();
