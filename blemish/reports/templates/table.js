// The table of all images: sorted by a click on a heading, filtered by kind of mistake and by words.
(() => {
  const table = document.getElementById("image-table");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows];
  const kind = document.getElementById("filter-kind"), text = document.getElementById("filter-text");
  const headings = [...table.querySelectorAll("th[aria-sort]")];
  const value = (row, column) => row.cells[column].dataset.value;

  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => {
    const isNumber = column > 2;
    const first = isNumber ? "descending" : "ascending", second = isNumber ? "ascending" : "descending";
    const order = heading.getAttribute("aria-sort") === first ? second : first;
    headings.forEach((other) => other.setAttribute("aria-sort", other === heading ? order : "none"));
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => sign * (isNumber ? value(a, column) - value(b, column) : value(a, column).localeCompare(value(b, column), undefined, { numeric: true })));
    body.append(...rows);
  }));

  const filter = () => {
    const wanted = kind.value, words = text.value.trim().toLowerCase();
    let count = 0;
    rows.forEach((row) => {
      const isKind = !wanted || row.dataset.kind === wanted || (wanted === "mistake" && ["escape", "false-reject"].includes(row.dataset.kind));
      const isNamed = !words || `${value(row, 0)} ${value(row, 1)}`.toLowerCase().includes(words);
      row.hidden = !(isKind && isNamed);
      count += !row.hidden;
    });
    document.getElementById("filter-count").textContent = count === rows.length ? "" : `${count} of ${rows.length} images`;
  };
  kind.addEventListener("change", filter);
  text.addEventListener("input", filter);
})();
