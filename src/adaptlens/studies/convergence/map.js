"use strict";
(() => {
  const find = (id) => document.getElementById(id);
  const maps = JSON.parse(find("map-data").textContent);
  const space = "http://www.w3.org/2000/svg";
  const make = (tag, attributes = {}) => {
    const element = document.createElementNS(space, tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  };
  const canvas = find("map-canvas"), thread = find("map-thread"), slider = find("map-layer");
  const choice = find("map-query");
  const hidden = new Set();
  let map = maps[0], marks = [], followed = -1;

  const layer = () => +slider.value;
  const place = (condition, query) => map.places[layer()][condition][query];

  const tell = () => {
    const [id, gold] = map.queries[followed] ?? [];
    find("map-said").textContent = followed < 0 ? "" : `${id}, right answer: ${gold}`;
  };

  const follow = (query) => {
    followed = query;
    choice.value = String(query);
    for (const mark of marks) {
      mark.element.classList.toggle("followed", mark.query === query);
      mark.element.classList.toggle("faded", query >= 0 && mark.query !== query);
      if (mark.query === query) mark.element.parentNode.append(mark.element);
    }
    const points = query < 0 ? [] : map.conditions
      .map((condition, i) => (hidden.has(condition.label) ? null : place(i, query)))
      .filter((point) => point);
    thread.replaceChildren();
    if (points.length > 1) thread.append(make("polyline", { points: points.map((p) => p.join(",")).join(" ") }));
    tell();
  };

  const show = () => {
    for (const mark of marks) {
      const point = place(mark.condition, mark.query);
      mark.element.style.display = point && !hidden.has(map.conditions[mark.condition].label) ? "" : "none";
      if (point) mark.element.style.transform = `translate(${point[0]}px,${point[1]}px)`;
    }
    find("map-where").textContent = map.layers[layer()];
    slider.setAttribute("aria-valuetext", map.layers[layer()]);
    canvas.setAttribute("aria-label", `Map of states, ${map.name}, ${map.layers[layer()]}`);
    follow(followed);
  };

  const legend = () => {
    find("map-legend").replaceChildren(...map.conditions.map((condition) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = !hidden.has(condition.label);
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(condition.label);
        else hidden.add(condition.label);
        show();
      });
      const swatch = make("svg", { class: "swatch", viewBox: "-6 -6 12 12", "aria-hidden": "true" });
      swatch.append(make("path", { d: condition.shape, fill: `var(${condition.color})` }));
      label.append(box, swatch, condition.label);
      return label;
    }));
  };

  const open = (chosen) => {
    map = chosen;
    followed = -1;
    slider.max = String(map.layers.length - 1);
    slider.value = slider.max;
    const options = [["-1", "all"], ...map.queries.map(([id], i) => [String(i), id])];
    choice.replaceChildren(...options.map(([value, text]) => new Option(text, value)));
    marks = map.conditions.flatMap((condition, i) => map.queries.map(([, gold], query) => {
      const element = make("path", { d: condition.shape });
      element.style.setProperty("--mark", `var(${condition.color})`);
      if (map.hollow && gold === map.hollow) element.classList.add("hollow");
      const title = make("title");
      title.textContent = `${condition.label}, ${map.queries[query][0]}, ${gold}`;
      element.append(title);
      return { element, condition: i, query };
    }));
    find("map-marks").replaceChildren(...marks.map((mark) => mark.element));
    legend();
    show();
  };

  // A finger is wider than a mark: the nearest mark within reach is meant.
  const nearest = (event) => {
    const box = canvas.getBoundingClientRect();
    const scale = canvas.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let best = -1, reach = (22 * scale) ** 2;
    for (const mark of marks) {
      if (mark.element.style.display === "none") continue;
      const [left, top] = place(mark.condition, mark.query);
      const far = (left - x) ** 2 + (top - y) ** 2;
      if (far < reach) [best, reach] = [mark.query, far];
    }
    return best;
  };
  canvas.addEventListener("pointermove", (event) => {
    if (event.pointerType !== "mouse") return;
    const query = nearest(event);
    if (query !== followed) follow(query);
  });
  canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") follow(-1); });
  canvas.addEventListener("click", (event) => follow(nearest(event)));
  slider.addEventListener("input", show);
  choice.addEventListener("change", () => follow(+choice.value));
  find("map-which")?.addEventListener("change", (event) => open(maps[+event.target.value]));

  find("map-controls").hidden = false;
  open(map);
})();
