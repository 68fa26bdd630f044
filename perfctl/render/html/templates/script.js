"use strict";
// Everything here is a help on top of a page that is complete without it: sorting, filtering, and the values
// of marks under the pointer, which are read from the table behind the chart.
(() => {
  const cells = (row) => Array.from(row.cells);
  const keyOf = (cell) => {
    if (!cell) return "";
    if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
    const text = cell.textContent.trim();
    const number = Number(text.replace(/,/g, "").replace(/ .*$/, ""));
    return text !== "" && Number.isFinite(number) ? number : text;
  };
  const compare = (one, two) => {
    if (typeof one === "number" && typeof two === "number") return one - two;
    if (typeof one === "number") return -1;
    if (typeof two === "number") return 1;
    return one.localeCompare(two);
  };
  const sortBy = (table, heading) => {
    const column = cells(heading.parentElement).indexOf(heading);
    const isUp = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", isUp ? "ascending" : "descending");
    const body = table.tBodies[0];
    const rows = Array.from(body.rows).map((row, place) => [keyOf(row.cells[column]), place, row]);
    rows.sort((a, b) => (isUp ? 1 : -1) * compare(a[0], b[0]) || a[1] - b[1]);
    body.append(...rows.map((entry) => entry[2]));
  };
  for (const table of document.querySelectorAll("table")) {
    if (table.tBodies[0].rows.length < 2) continue;
    for (const heading of table.querySelectorAll("thead th:not([data-fixed])")) {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      button.addEventListener("click", () => sortBy(table, heading));
      heading.append(button);
    }
  }

  const filter = document.getElementById("filter");
  const rows = Array.from(document.querySelectorAll("#costs table.figures tbody tr"));
  if (filter && rows.length > 1) {
    filter.closest("p").hidden = false;
    filter.addEventListener("input", () => {
      const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const row of rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
        if (!row.hidden) shown += 1;
      }
      document.getElementById("matches").textContent = `${shown} of ${rows.length} lines`;
    });
  }

  const tip = document.getElementById("tip");
  const pointsOf = (path) => {
    const isCross = path.classList.contains("invalid");
    const found = [];
    for (const match of path.getAttribute("d").matchAll(/M(-?[\d.]+) (-?[\d.]+)/g)) {
      found.push([Number(match[1]) + (isCross ? 3.5 : 0), Number(match[2]) + (isCross ? 3.5 : 0)]);
    }
    return found;
  };
  const textOf = (table, leg, block) => {
    const head = Array.from(table.tHead.rows[0].cells).findIndex((cell) => cell.textContent.trim() === leg);
    const row = Array.from(table.tBodies[0].rows).find((item) => item.cells[0].textContent.trim() === block);
    return row && head >= 0 ? row.cells[head].textContent.trim() : "";
  };
  const nearest = (svg, x, y) => {
    let best = null;
    for (const path of svg.querySelectorAll("path[data-leg]")) {
      const blocks = path.dataset.blocks ? path.dataset.blocks.split(" ") : null;
      pointsOf(path).forEach((point, place) => {
        const distance = Math.hypot(point[0] - x, point[1] - y);
        if (distance < 12 && (!best || distance < best.distance)) {
          best = { distance, leg: path.dataset.leg, block: blocks ? blocks[place] : String(place) };
        }
      });
    }
    return best;
  };
  for (const svg of document.querySelectorAll("svg[aria-details]")) {
    const table = document.getElementById(svg.getAttribute("aria-details"));
    if (!table) continue;
    svg.addEventListener("pointermove", (event) => {
      const matrix = svg.getScreenCTM();
      const at = matrix && new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
      const found = at && nearest(svg, at.x, at.y);
      tip.hidden = !found;
      if (!found) return;
      tip.textContent = `${found.leg}, block ${found.block}: ${textOf(table, found.leg, found.block)}`;
      tip.style.left = `${Math.min(event.pageX + 12, document.documentElement.clientWidth - tip.offsetWidth - 4)}px`;
      tip.style.top = `${event.pageY + 14}px`;
    });
    svg.addEventListener("pointerleave", () => { tip.hidden = true; });
  }
})();
