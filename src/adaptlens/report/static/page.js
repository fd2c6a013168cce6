"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const words = new Intl.Collator(undefined, { numeric: true });

  // What spreadsheets take for a formula, after blanks and in full width too (OWASP, CSV injection).
  const FORMULA = /^\s*[=+\-@\uff1d\uff0b\uff0d\uff20|]|^[\t\r\n]/;
  const NUMBER = /^[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i;

  // A page opened from a folder may be denied storage; the theme then lasts as long as the page.
  const kept = (value) => {
    try {
      if (value !== undefined) localStorage.setItem("adaptlens-theme", value);
      return localStorage.getItem("adaptlens-theme");
    } catch { return value; }
  };
  const themes = ["auto", "light", "dark"];
  const setTheme = (theme) => {
    if (theme === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    find("theme").querySelector("span").textContent = theme;
  };
  let theme = themes.includes(kept()) ? kept() : "auto";
  setTheme(theme);
  find("theme").hidden = false;
  find("theme").addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    kept(theme);
    setTheme(theme);
  });

  const mark = (header, direction) => {
    for (const other of header.parentElement.children) other.removeAttribute("aria-sort");
    if (direction) header.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
  };

  // Undefined entries stay last in both directions.
  for (const table of document.querySelectorAll("table.grid:not(#grid-answers)")) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      header.querySelector("button").addEventListener("click", () => {
        const direction = header.getAttribute("aria-sort") === "ascending" ? -1 : 1;
        const numeric = header.classList.contains("number");
        const key = (row) => {
          const text = row.cells[column].dataset.sort;
          return numeric ? { inf: Infinity, "-inf": -Infinity, "": NaN }[text] ?? Number(text) : text;
        };
        const compare = (a, b) => {
          const left = key(a), right = key(b);
          if (!numeric) return direction * words.compare(left, right);
          if (Number.isNaN(left) || Number.isNaN(right)) return Number.isNaN(left) - Number.isNaN(right);
          return left === right ? 0 : direction * (left < right ? -1 : 1);
        };
        body.append(...[...body.rows].sort(compare));
        mark(header, direction);
      });
    });
  }

  const folded = () => [...document.querySelectorAll("main details:not(#grid-answers details)")];
  const unfold = find("unfold");
  const label = () => {
    unfold.textContent = folded().every((one) => one.open) ? "Fold all" : "Unfold all";
  };
  unfold.hidden = folded().length === 0;
  unfold.addEventListener("click", () => {
    const open = !folded().every((one) => one.open);
    for (const one of folded()) one.open = open;
    label();
  });
  document.addEventListener("toggle", label, true);
  label();

  // What is printed is whole; afterwards, what was folded is folded again.
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = folded().filter((one) => !one.open);
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => {
    for (const one of closed) one.open = false;
    closed = [];
  });

  // A link to what is folded unfolds it, also where the address already ends in it.
  const reveal = (hash) => {
    let target = null;
    try { target = find(decodeURIComponent(hash.slice(1))); } catch { /* no target's name */ }
    for (let one = target; one; one = one.parentElement) if (one.tagName === "DETAILS") one.open = true;
    return target;
  };
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.('a[href^="#"]');
    if (link) reveal(link.hash);
  });
  addEventListener("hashchange", () => reveal(location.hash)?.scrollIntoView());
  if (location.hash) reveal(location.hash)?.scrollIntoView();

  const links = [...document.querySelectorAll("nav a")];
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links) {
        if (link.hash === `#${entry.target.id}`) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }
  }, { rootMargin: "-20% 0px -70% 0px" });
  for (const section of document.querySelectorAll("main section")) watch.observe(section);

  if (find("data")) browse(JSON.parse(find("data").textContent));

  function browse({ rows, columns }) {
    for (const column of columns) {
      const { kind, values, codes, numbers } = column;
      if (kind === "text") {
        const order = values.map((_, i) => i).sort((a, b) => words.compare(values[a], values[b]));
        const rank = new Uint32Array(values.length);
        order.forEach((code, place) => { rank[code] = place; });
        column.order = order;
        column.few = values.length <= 30 && values.every((text) => text.length <= 24);
        column.text = (row) => values[codes[row]];
        column.compare = (a, b) => rank[codes[a]] - rank[codes[b]];
      } else {
        const flags = ["wrong", "right"];
        const missing = (row) => numbers[row] === null || (column.name === "draw" && numbers[row] < 0);
        column.text = (row) => missing(row) ? "–"
          : kind === "flag" ? flags[numbers[row]]
          : String(numbers[row]).replace("-", "−").replace("Infinity", "∞");
        column.compare = (a, b) => (numbers[a] === numbers[b] ? 0 : numbers[a] < numbers[b] ? -1 : 1);
        column.missing = missing;
      }
    }

    const noun = find("browser").dataset.noun;
    const filters = new Map();
    let sorted = null, direction = 1, page = 0, shown = [];

    // Returns a test of a row, or null where the text is not understood.
    const test = (column, text) => {
      if (column.few) {
        const code = column.values.indexOf(text.slice(1));
        return (row) => column.codes[row] === code;
      }
      if (column.kind === "text") {
        const wanted = text.toLowerCase();
        const hit = column.values.map((value) => value.toLowerCase().includes(wanted));
        return (row) => hit[column.codes[row]];
      }
      const { numbers, missing } = column;
      if (column.kind === "flag") return (row) => column.text(row) === text.slice(1);
      const plain = text.replace(/−/g, "-").replace(/\s+/g, "").replace("≤", "<=").replace("≥", ">=");
      const [, sign, single, low, high] =
        plain.match(/^(?:(<=|>=|<|>|=)?(-?\d*\.?\d+(?:e[+-]?\d+)?)|(-?\d*\.?\d+)\.\.(-?\d*\.?\d+))$/i) ?? [];
      if (low !== undefined) return (row) => !missing(row) && numbers[row] >= +low && numbers[row] <= +high;
      if (single === undefined) return null;
      const bound = +single;
      const holds = {
        "<": (x) => x < bound, "<=": (x) => x <= bound, ">": (x) => x > bound, ">=": (x) => x >= bound,
      }[sign] ?? ((x) => x === bound);
      return (row) => !missing(row) && holds(numbers[row]);
    };

    const select = () => {
      const tests = [...filters.values()];
      shown = [];
      for (let row = 0; row < rows; row++) if (tests.every((holds) => holds(row))) shown.push(row);
      if (sorted) {
        const gone = sorted.missing ?? (() => false);
        shown.sort((a, b) => gone(a) - gone(b) || direction * sorted.compare(a, b) || a - b);
      }
      page = 0;
      draw();
    };

    const entry = (column, row) => {
      const text = column.text(row);
      const cell = make("td");
      if (column.kind === "flag") cell.className = text;
      else if (column.kind === "number") cell.className = "number";
      if (text.length <= 140) {
        cell.textContent = text;
        if (text.length > 28) cell.className = "long";
      } else {
        const folded = make("details");
        const summary = make("summary", `${text.slice(0, 120)}…`);
        folded.append(summary);
        folded.addEventListener("toggle", () => {
          summary.textContent = folded.open ? text : `${text.slice(0, 120)}…`;
        });
        cell.className = "long";
        cell.append(folded);
      }
      return cell;
    };

    const draw = () => {
      const size = +find("size").value;
      const pages = Math.max(1, Math.ceil(shown.length / size));
      page = Math.min(Math.max(page, 0), pages - 1);
      find("grid-answers").tBodies[0].replaceChildren(
        ...shown.slice(page * size, (page + 1) * size).map((row) => {
          const line = make("tr");
          line.append(...columns.map((column) => entry(column, row)));
          return line;
        }),
      );
      find("found").textContent = shown.length === rows
        ? `${rows.toLocaleString("en")} ${noun}`
        : `${shown.length.toLocaleString("en")} of ${rows.toLocaleString("en")} ${noun}`;
      find("where").textContent = `Page ${page + 1} of ${pages}`;
      find("first").disabled = find("previous").disabled = page === 0;
      find("last").disabled = find("next").disabled = page === pages - 1;
      find("clear").disabled = filters.size === 0;
    };

    const headings = make("tr"), boxes = make("tr", undefined, { class: "filter" });
    for (const column of columns) {
      const header = make("th", undefined, { scope: "col" });
      if (column.kind === "number") header.className = "number";
      const button = make("button", column.heading, { type: "button", class: "sort" });
      button.addEventListener("click", () => {
        direction = sorted === column ? -direction : 1;
        sorted = column;
        mark(header, direction);
        select();
      });
      header.append(button);
      headings.append(header);

      const listed = column.kind === "flag" ? ["right", "wrong"]
        : column.few ? column.order.map((i) => column.values[i])
        : null;
      const label = { "aria-label": `Filter ${column.heading}`, "data-column": column.name };
      const box = make(listed ? "select" : "input", undefined, label);
      if (listed) {
        // The leading "=" keeps an empty text apart from no filter.
        box.append(make("option", "all", { value: "" }));
        for (const text of listed) box.append(make("option", text, { value: `=${text}` }));
      } else {
        box.type = "search";
        box.placeholder = column.kind === "number" ? ">0" : "contains";
      }
      let timer;
      box.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          const text = listed ? box.value : box.value.trim();
          const holds = text && test(column, text);
          box.setAttribute("aria-invalid", String(text !== "" && holds === null));
          if (text && holds === null) return;
          if (text) filters.set(column, holds);
          else filters.delete(column);
          select();
        }, listed ? 0 : 120);
      });
      const place = make("th");
      place.append(box);
      boxes.append(place);
    }
    find("grid-answers").tHead.append(headings, boxes);

    find("clear").addEventListener("click", () => {
      for (const box of boxes.querySelectorAll("input, select")) {
        box.value = "";
        box.setAttribute("aria-invalid", "false");
      }
      filters.clear();
      select();
    });
    const turn = (id, to) => find(id).addEventListener("click", () => { page = to(); draw(); });
    turn("first", () => 0);
    turn("previous", () => page - 1);
    turn("next", () => page + 1);
    turn("last", () => Infinity);
    find("size").addEventListener("change", () => { page = 0; draw(); });

    find("save").addEventListener("click", () => {
      // A text that a spreadsheet would take for a formula is marked as text; a number is none.
      const still = (text) => FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
      const quote = (text) => `"${still(String(text)).replaceAll('"', '""')}"`;
      const value = (column, row) => column.kind === "text" ? quote(column.text(row)) : column.numbers[row] ?? "";
      const lines = [columns.map((column) => quote(column.name)).join(",")];
      for (const row of shown) lines.push(columns.map((column) => value(column, row)).join(","));
      const link = make("a", undefined, { download: `${noun}.csv` });
      link.href = URL.createObjectURL(new Blob([`${lines.join("\r\n")}\r\n`], { type: "text/csv" }));
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });

    find("browser").hidden = false;
    select();
  }
})();
