// Conveniences only: every number is on the page without them.
"use strict";
const all = (selector, root = document) => [...root.querySelectorAll(selector)];
const make = (name, properties) => Object.assign(document.createElement(name), properties);

// A key of the legend switches its series.
for (const key of all(".key")) {
  const button = make("button", { className: "key", type: "button", title: "show or hide" });
  button.append(...key.childNodes);
  button.setAttribute("aria-pressed", "true");
  button.onclick = () => {
    const hidden = document.body.classList.toggle("hide-" + key.dataset.series);
    button.setAttribute("aria-pressed", String(!hidden));
  };
  key.replaceWith(button);
}

// The text of a mark beside the pointer, at once and not after a second.
const tip = make("div", { className: "tip", hidden: true });
document.body.append(tip);
document.addEventListener("pointermove", (event) => {
  const title = event.target.closest?.("svg .mark, svg .line, svg .ring, svg .event, svg .column")?.querySelector("title");
  tip.hidden = !title;
  if (!title) return;
  tip.textContent = title.textContent;
  tip.style.left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8) + "px";
  tip.style.top = event.clientY + 16 + "px";
});

// A heading sorts its table: by number and unit where there are numbers, by text otherwise.
const scales = { ns: 1, "µs": 1e3, ms: 1e6, s: 1e9, k: 1e3, M: 1e6, G: 1e9, "B/s": 1, "kB/s": 1e3, "MB/s": 1e6, "GB/s": 1e9, B: 1, KiB: 1024, MiB: 1048576 };
const value = (cell) => {
  const text = cell ? cell.textContent.trim().replace("−", "-").replace(/,/g, "") : "";
  const match = /^[+±<-]*([\d.]+)\s*([^\s(]*)/.exec(text);
  if (!match) return text;
  const size = Number(match[1]) * (scales[match[2]] || 1);
  return text.startsWith("-") ? -size : size;
};
const compare = (a, b) => {
  const [x, y] = [typeof a === "number", typeof b === "number"];
  return x && y ? a - b : x ? -1 : y ? 1 : a.localeCompare(b);
};
for (const table of all("table.sortable")) {
  const heads = all("thead th", table);
  heads.forEach((head, column) => {
    if (!head.textContent) return;
    const button = make("button", { textContent: head.textContent, type: "button" });
    head.replaceChildren(button);
    button.onclick = () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = all("tbody tr", table);
      rows.sort((a, b) => (down ? -1 : 1) * compare(value(a.cells[column]), value(b.cells[column])));
      table.tBodies[0].append(...rows);
    };
  });
}

// A box that keeps the rows with all its words.
for (const table of all("table.filterable")) {
  const box = make("input", { type: "search", placeholder: "filter rows", ariaLabel: "filter rows" });
  box.oninput = () => {
    const words = box.value.toLowerCase().split(/\s+/);
    for (const row of all("tbody tr", table)) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
    }
  };
  const section = table.closest("section");
  const tools = section.querySelector(".tools") || make("p", { className: "tools" });
  if (!tools.isConnected) table.parentElement.before(tools);
  tools.prepend(box);
}

// The command of a cell to the clipboard.
for (const cell of all(".repro")) {
  const button = make("button", { className: "copy", type: "button", textContent: "copy" });
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(cell.querySelector("code").textContent);
      button.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(cell.querySelector("code"));
      button.textContent = "selected";
    }
    setTimeout(() => (button.textContent = "copy"), 1500);
  };
  cell.append(button);
}

// The run file inside this page as a download.
const data = document.getElementById("run");
for (const tools of all("#cells .tools")) {
  const link = make("a", { href: "#cells", textContent: "the run file as JSON" });
  link.onclick = (event) => {
    event.preventDefault();
    const url = URL.createObjectURL(new Blob([data.textContent], { type: "application/json" }));
    make("a", { href: url, download: "run.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  tools.append(link);
}
