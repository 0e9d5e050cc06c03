// A click or Enter on a picture shows it as large as the window; a click, Escape or Enter closes it again.
(() => {
  const viewer = document.createElement("dialog");
  viewer.className = "enlarged";
  viewer.setAttribute("aria-label", "Enlarged picture");
  document.body.append(viewer);
  viewer.addEventListener("click", () => viewer.close());
  document.querySelectorAll("[data-enlarge] figure").forEach((figure) => {
    const open = () => {
      const copy = figure.cloneNode(true);
      copy.querySelectorAll("[id]").forEach((node) => node.removeAttribute("id"));
      copy.removeAttribute("tabindex");
      viewer.replaceChildren(copy);
      viewer.showModal();
    };
    figure.tabIndex = 0;
    figure.addEventListener("click", open);
    figure.addEventListener("keydown", (event) => { if (event.key === "Enter") open(); });
  });
})();
