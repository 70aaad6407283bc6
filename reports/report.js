"use strict";
// Sorts, filters and opens the table of cells. Everything it shows comes from the JSON above it and
// is set as text, never as markup: names and reasons are the user's.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const table = document.getElementById("table");
  if (!table) return;
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...body.rows].map((tr, index) => ({ tr, ...data.rows[index], text: tr.textContent.toLowerCase(), more: null }));
  let order = rows;

  const element = (name, text = "") => {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  };

  // ---- sorting: stable, rows without a value always last
  const compare = (column, sign) => (a, b) => {
    const x = a.keys[column], y = b.keys[column];
    if (x === null || y === null) return (x === null) - (y === null);
    return sign * (x < y ? -1 : x > y ? 1 : 0);
  };

  const sortBy = (column) => {
    const head = heads[column];
    const up = head.getAttribute("aria-sort") !== "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    order = [...order].sort(compare(column, up ? 1 : -1));
    body.append(...order.flatMap((row) => (row.more ? [row.tr, row.more] : [row.tr])));
  };

  heads.forEach((head, column) => {
    const button = element("button", head.textContent);
    button.type = "button";
    button.addEventListener("click", () => sortBy(column));
    head.replaceChildren(button);
  });

  // ---- filtering
  const form = document.getElementById("controls");
  const find = document.getElementById("find");
  const selects = [...form.querySelectorAll("select")];
  const value = (row, name) => {
    const column = data.columns.indexOf(name);
    return column < 0 ? row[name] : row.keys[column];
  };

  const filter = () => {
    const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    const wanted = selects.filter((select) => select.value).map((select) => [select.dataset.filter, select.value]);
    let shown = 0;
    for (const row of rows) {
      const match = words.every((word) => row.text.includes(word)) && wanted.every(([name, is]) => value(row, name) === is);
      row.tr.hidden = !match;
      if (row.more) row.more.hidden = !match;
      shown += match;
    }
    document.getElementById("count").textContent = `${shown} of ${rows.length} cells`;
    document.getElementById("empty").hidden = shown > 0;
    document.getElementById("clear").hidden = words.length + wanted.length === 0;
    table.hidden = shown === 0;
  };

  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(filter));
  form.hidden = false;
  filter();

  // ---- opening
  const section = ([title, lines]) => {
    const made = element("section");
    const grid = element("table");
    const wide = lines[0].length > 2;
    for (const [index, line] of lines.entries()) {
      const tr = grid.insertRow();
      line.forEach((text, column) => {
        if (text === "" && !wide) return;
        const cell = element(column === 0 || (wide && index === 0) ? "th" : "td", text);
        if (cell.tagName === "TH") cell.scope = wide && index === 0 ? "col" : "row";
        tr.append(cell);
      });
    }
    made.classList.toggle("wide", wide);
    made.append(element("h4", title), grid);
    return made;
  };

  const open = (row) => {
    const cell = element("td");
    cell.colSpan = heads.length;
    const box = element("div");
    box.className = "opened";
    box.append(...row.sections.map((index) => section(data.sections[index])));
    cell.append(box);
    row.more = element("tr");
    row.more.className = "more";
    row.more.append(cell);
    row.tr.after(row.more);
  };

  const toggle = (row, button) => {
    if (row.more) {
      row.more.remove();
      row.more = null;
    } else {
      open(row);
    }
    button.setAttribute("aria-expanded", String(row.more !== null));
  };

  for (const row of rows) {
    const name = row.tr.cells[0];
    const button = element("button", name.firstChild.textContent);
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("click", () => toggle(row, button));
    name.firstChild.replaceWith(button);
  }
})();
