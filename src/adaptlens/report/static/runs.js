"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const make = (tag, text, attributes = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const runs = JSON.parse(find("runs-data").textContent);
  const rows = [...find("grid-runs").tBodies[0].rows];

  const filter = find("filter");
  filter.closest("p").hidden = false;
  const select = () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      if (!row.hidden) shown += 1;
    }
    find("left").textContent = words.length ? `${shown} of ${rows.length} runs` : "";
  };
  filter.addEventListener("input", select);
  select();

  if (!find("pair")) return;
  const sides = [find("left-run"), find("right-run")];
  find("choose").hidden = false;
  sides[1].selectedIndex = 1;

  // The address names the pair, so that it can be sent to someone: #pair?left=a&right=b
  const chosen = () => {
    const [place, query] = location.hash.split("?");
    if (place !== "#pair" || !query) return false;
    const asked = new URLSearchParams(query);
    const names = [asked.get("left"), asked.get("right")];
    if (!names.every((name) => Object.hasOwn(runs, name))) return false;
    sides.forEach((side, i) => { side.value = names[i]; });
    return true;
  };

  const table = (caption, lines, names) => {
    if (!lines.length) return make("p", `${caption}: no difference.`, { class: "lead" });
    const whole = make("div", undefined, { class: "box", role: "region", tabindex: "0", "aria-label": caption });
    const grid = make("table", undefined, { class: "grid" });
    const head = make("tr");
    for (const text of ["", ...names]) head.append(make("th", text, { scope: "col" }));
    const body = make("tbody");
    for (const line of lines) {
      const row = make("tr");
      for (const text of line) row.append(make("td", text, { class: "words" }));
      body.append(row);
    }
    const top = make("thead");
    top.append(head);
    grid.append(make("caption", caption), top, body);
    whole.append(grid);
    const section = make("div");
    section.append(make("h3", caption), whole);
    return section;
  };

  const paired = (left, right) => {
    const names = new Set([...left.keys(), ...right.keys()]);
    return [...names].map((name) => [name, left.get(name) ?? "–", right.get(name) ?? "–"]);
  };
  const settings = (run) => new Map(Object.entries(run.settings));
  const numbers = (run) => new Map(run.numbers.map((one) => [`${one.about}: ${one.name}`, one.value]));
  const findings = (run) => new Map(run.findings.map((one) => [one.about, `${one.state}${one.line}`]));

  const draw = () => {
    const names = sides.map((side) => side.value);
    const [left, right] = names.map((name) => runs[name]);
    const differ = ([, a, b]) => a !== b;
    find("differs").replaceChildren(
      table("Settings that differ", paired(settings(left), settings(right)).filter(differ), names),
      table("What was found", paired(findings(left), findings(right)), names),
      table("Numbers", paired(numbers(left), numbers(right)), names),
    );
    const query = new URLSearchParams({ left: names[0], right: names[1] });
    find("share").href = `#pair?${query}`;
  };
  for (const side of sides) side.addEventListener("change", draw);
  const asked = () => { if (chosen()) { draw(); find("pair").scrollIntoView(); } };
  addEventListener("hashchange", asked);
  draw();
  asked();
})();
