"use strict";
// Pieces of a page that change by themselves, and switches.
document.documentElement.classList.add("js");

for (const place of document.querySelectorAll("[data-refresh]")) {
  let wasRunning = false;
  const refresh = async () => {
    try {
      const answer = await fetch(place.dataset.refresh, { credentials: "same-origin" });
      if (answer.ok) place.innerHTML = await answer.text();
    } catch { /* the station is away: try again */ }
    const isRunning = place.querySelector("[data-again]") !== null;
    if (wasRunning && place.querySelector("[data-ended]")) location.reload();
    wasRunning = wasRunning || isRunning;
    setTimeout(refresh, isRunning ? 700 : 5000);
  };
  refresh();
}

for (const toggle of document.querySelectorAll("[data-hides]")) {
  toggle.addEventListener("change", () => {
    document.getElementById(toggle.dataset.hides).classList.toggle("without-map", !toggle.checked);
  });
}
