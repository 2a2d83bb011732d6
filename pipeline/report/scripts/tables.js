"use strict";
// Sort and filter the page's tables and faces. itables, a library for this, adds a megabyte, keeps the table in a script
// instead of the page, and needs a policy that allows `eval`. The page's policy forbids it, as text may come from strangers.

const find = (id) => document.getElementById(id);

// Numbers are compared at full precision. Missing values always come last.
function valueOf(cell) {
  const number = cell.querySelector("data");
  if (number) return Number(number.value);
  const text = cell.textContent.trim();
  return text === "" || text === "–" ? null : !isNaN(text) ? Number(text) : text;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sortBy(table, column, direction) {
  const rows = [...table.tBodies[0].rows].map((row) => [valueOf(row.cells[column]), row]);
  rows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return direction * compare(a, b);
  });
  table.tBodies[0].append(...rows.map(([, row]) => row));
}

function makeSortable(table) {
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const isRising = heading.getAttribute("aria-sort") === "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", isRising ? "descending" : "ascending");
      sortBy(table, column, isRising ? -1 : 1);
    });
  });
}

const runs = find("runs");
if (runs) {
  const filter = find("runs-filter");
  const split = find("runs-split");
  const show = () => {
    const words = filter.value.toLowerCase().split(/\s+/);
    let count = 0;
    for (const row of runs.tBodies[0].rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      count += !row.hidden;
    }
    for (const cell of runs.querySelectorAll("[data-part]")) {
      const part = cell.dataset.part;
      cell.hidden = part !== "" && split.value !== "" && part !== split.value;
    }
    find("runs-count").textContent = count === 1 ? "1 run" : `${count} runs`;
  };
  makeSortable(runs);
  filter.addEventListener("input", show);
  split.addEventListener("change", show);
  show();
}
