
"use strict";
for (const matrix of document.querySelectorAll(".matrix")) {
  const form = matrix.querySelector("form");
  const shown = matrix.querySelector("[role=status]");
  const [groups, heads] = matrix.querySelectorAll("thead tr");
  const rows = [...matrix.querySelectorAll("tbody tr")].map((row) => ({
    row, name: row.cells[0].textContent.toLowerCase(), cells: [...row.cells].slice(1),
  }));
  const columns = [...groups.cells].slice(1).flatMap((head) =>
    Array.from({ length: head.colSpan }, () => ({ group: head, target: head.textContent })));
  columns.forEach((column, place) => { column.head = heads.cells[place]; column.python = column.head.textContent; });

  const asked = () => Object.fromEntries([...new FormData(form)].filter(([, value]) => value));

  const showColumns = ({ target, python }) => {
    const left = new Map();
    columns.forEach((column, place) => {
      const hidden = Boolean((target && target !== column.target) || (python && python !== column.python));
      if (!hidden) left.set(column.group, (left.get(column.group) || 0) + 1);
      if (hidden === column.head.hidden) return;
      column.head.hidden = hidden;
      for (const { cells } of rows) cells[place].hidden = hidden;
    });
    for (const { group } of columns) {
      group.hidden = !left.has(group);
      group.colSpan = left.get(group) || 1;
    }
  };

  const showRows = ({ search = "", state }) => {
    const words = search.toLowerCase().split(/\s+/);
    let count = 0;
    for (const { row, name, cells } of rows) {
      row.hidden = !words.every((word) => name.includes(word))
        || Boolean(state && !cells.some((cell) => !cell.hidden && cell.classList.contains(state)));
      count += !row.hidden;
    }
    const all = `${rows.length} ${rows.length === 1 ? "package" : "packages"}`;
    shown.textContent = count === rows.length ? all : `${count} of ${all}`;
  };

  const show = () => {
    showColumns(asked());
    showRows(asked());
  };

  const remember = () => {
    const said = new URLSearchParams(asked()).toString();
    history.replaceState(null, "", said ? `#${said}` : location.pathname + location.search);
  };

  const recall = () => {
    if (!location.hash.includes("=")) return;
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      const field = form.elements.namedItem(name);
      if (field) field.value = value;
      if (field && field.tagName === "SELECT" && field.selectedIndex < 0) field.value = "";
    }
    show();
  };

  form.addEventListener("input", () => { show(); remember(); });
  form.addEventListener("reset", () => setTimeout(() => { show(); remember(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  window.addEventListener("hashchange", recall);
  form.hidden = false;
  recall();
}
