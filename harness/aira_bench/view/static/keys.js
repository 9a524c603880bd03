// Keys and choices: j and k go through a list or from step to step, Enter opens, / filters, x chooses two to compare.
"use strict";

(function () {
  const root = document.body.dataset.root;
  const canCompare = document.body.dataset.compare === "yes";  // a folder of pages has none of these
  const chosen = [];  // addresses of rows, at most two
  let current = null;  // the address of the row that keys are at
  const filters = new Map();

  const rowsOf = (list) => Array.from(list.tBodies[0].rows).filter((row) => row.dataset.open);
  const shown = () => Array.from(document.querySelectorAll("table.list")).flatMap(rowsOf).filter((row) => !row.hidden);

  function place(address) {
    const step = /^(\d+-\d+)\.html$/.exec(address);
    if (step) return [window.location.pathname.split("/").slice(-2)[0], step[1]];
    const run = /^runs\/([A-Za-z0-9._-]+)\/index\.html$/.exec(address);
    return run ? [run[1], "run"] : null;
  }

  function compared() {
    const [left, right] = chosen.map(place);
    return left && right ? `${root}compare/${left[0]}/${left[1]}/${right[0]}/${right[1]}.html` : null;
  }

  function choose(address, wanted) {
    const at = chosen.indexOf(address);
    if (at >= 0) chosen.splice(at, 1);
    if (wanted) chosen.push(address);
    if (chosen.length > 2) chosen.shift();
    refresh();
  }

  function refresh() {
    for (const row of document.querySelectorAll("table.list tr[data-open]")) {
      row.classList.toggle("current", row.dataset.open === current);
      const box = row.querySelector("input.choose");
      if (box) box.checked = chosen.includes(row.dataset.open);
    }
    for (const way of document.querySelectorAll("a.compare")) {
      const address = compared();
      way.hidden = !address;
      if (address) way.href = address;
    }
  }

  function filter(list, text) {
    const words = text.toLowerCase().split(/\s+/).filter(Boolean);
    let left = 0;
    for (const row of rowsOf(list)) {
      const said = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => said.includes(word));
      left += row.hidden ? 0 : 1;
    }
    return left;
  }

  function prepare(list) {
    const section = list.closest("section");
    if (!section || section.querySelector(".tools") || !rowsOf(list).length) return;
    const tools = document.createElement("p");
    tools.className = "tools";
    const input = document.createElement("input");
    input.type = "search";
    input.placeholder = "Filter (/)";
    input.setAttribute("aria-label", `Filter: ${section.querySelector("h2").textContent}`);
    input.value = filters.get(section.id) || "";
    const count = document.createElement("span");
    count.setAttribute("role", "status");
    const apply = () => {
      filters.set(section.id, input.value);
      const left = filter(list, input.value);
      count.textContent = input.value ? `${left} of ${rowsOf(list).length}` : "";
    };
    input.addEventListener("input", apply);
    const way = document.createElement("a");
    way.className = "compare";
    way.textContent = "Compare the two chosen (c)";
    way.hidden = true;
    tools.append(input, count, way);
    section.insertBefore(tools, list.closest(".wide"));
    if (canCompare) {
      for (const row of rowsOf(list)) {
        const box = document.createElement("input");
        box.type = "checkbox";
        box.className = "choose";
        box.setAttribute("aria-label", `Choose ${row.querySelector("a").textContent} to compare`);
        box.addEventListener("change", () => choose(row.dataset.open, box.checked));
        row.cells[0].prepend(box);
      }
    }
    apply();
  }

  function prepareAll() {
    document.querySelectorAll("table.list").forEach(prepare);
    refresh();
  }

  function go(way) {
    const rows = shown();
    if (!rows.length) {
      const link = document.querySelector(way > 0 ? "a[rel=next]" : "a[rel=prev]");
      if (link) link.click();
      return;
    }
    const at = rows.findIndex((row) => row.dataset.open === current);
    const next = rows[Math.min(Math.max(at < 0 ? (way > 0 ? 0 : rows.length - 1) : at + way, 0), rows.length - 1)];
    current = next.dataset.open;
    refresh();
    const link = next.querySelector("a");
    link.focus({ preventScroll: true });
    next.scrollIntoView({ block: "center" });
  }

  function pressed(event) {
    const writing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) && event.target.type !== "checkbox";
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (writing) {
      if (event.key === "Escape" || event.key === "Enter") {
        if (event.key === "Escape") {
          event.target.value = "";
          event.target.dispatchEvent(new Event("input"));
        }
        event.target.blur();
        event.preventDefault();
        if (event.key === "Enter") go(1);
      }
      return;
    }
    const act = {
      j: () => go(1),
      k: () => go(-1),
      "/": () => { const input = document.querySelector(".tools input[type=search]"); if (input) input.focus(); },
      x: () => { if (current && canCompare) choose(current, !chosen.includes(current)); },
      c: () => { const address = compared(); if (address) window.location.assign(address); },
      u: () => { const up = document.querySelectorAll("header nav a"); if (up.length) up[up.length - 1].click(); },
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  document.addEventListener("DOMContentLoaded", prepareAll);
  document.addEventListener("aira:renewed", prepareAll);
  document.addEventListener("keydown", pressed);
})();
