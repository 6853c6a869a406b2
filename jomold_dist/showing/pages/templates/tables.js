"use strict";
// Tables that sort by a click on a heading, and long ones that filter and unfold. Without scripts all rows are there.
for (const box of document.querySelectorAll("[data-table]")) {
  const body = box.querySelector("tbody");
  if (!body) continue;
  const rows = () => [...body.rows];
  const shown = Number(box.dataset.shown || 0);
  let wanted = "", all = !shown;
  const tools = document.createElement("div");
  tools.className = "tools";
  const told = document.createElement("span");
  told.setAttribute("role", "status");
  const refresh = () => {
    let seen = 0;
    const total = rows().length;
    for (const row of rows()) {
      const fits = row.cells[0].textContent.toLowerCase().includes(wanted);
      row.hidden = !fits || (!all && !wanted && seen >= shown);
      if (!row.hidden) seen += 1;
    }
    told.textContent = seen === total ? `${total} rows` : `${seen} of ${total} rows`;
  };
  if ("filter" in box.dataset) {
    const label = document.createElement("label");
    const field = document.createElement("input");
    field.type = "search";
    field.addEventListener("input", () => { wanted = field.value.trim().toLowerCase(); refresh(); });
    label.append("Filter ", field);
    tools.append(label);
  }
  if (shown) {
    const button = document.createElement("button");
    button.type = "button";
    const name = () => { button.textContent = all ? `Show the first ${shown}` : "Show all"; };
    button.addEventListener("click", () => { all = !all; name(); refresh(); });
    name();
    tools.append(button);
  }
  if (tools.childElementCount) {
    tools.append(told);
    box.before(tools);
    refresh();
  }
  const value = (row, at) => {
    const cell = row.cells[at], text = cell.dataset.v ?? cell.textContent.trim();
    const number = Number(text);
    return text === "" || Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => {
    if (a === b) return 0;
    if (a === "" || b === "") return a === "" ? 1 : -1;  // what is not known comes last
    return typeof a === "number" && typeof b === "number" ? b - a : String(a).localeCompare(String(b));
  };
  const headings = [...box.querySelectorAll("thead th")];
  headings.forEach((heading, at) => {
    if (!heading.textContent.trim() || heading.colSpan > 1) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const again = heading.dataset.turned === "no";
      for (const other of headings) { other.removeAttribute("aria-sort"); }
      const sorted = rows().sort((a, b) => {
        const [left, right] = [value(a, at), value(b, at)];
        return again && left !== "" && right !== "" ? -compare(left, right) : compare(left, right);
      });
      const numbers = sorted.some((row) => typeof value(row, at) === "number");
      heading.setAttribute("aria-sort", numbers !== again ? "descending" : "ascending");
      for (const other of headings) { delete other.dataset.turned; }
      if (!again) heading.dataset.turned = "no";
      body.append(...sorted);
      refresh();
    });
  });
}
