
// Show the values of curves at the pointer, and switch runs and splits on and off.
const legend = find("legend");
const isOn = (line) =>
  ["run", "split"].every((part) => {
    const button = legend && legend.querySelector(`[data-${part}="${line[part]}"]`);
    return !button || button.getAttribute("aria-pressed") === "true";
  });
const inWords = (value) => (Number.isInteger(value) ? String(value) : value.toPrecision(4));

for (const plot of document.querySelectorAll(".plot")) {
  const svg = plot.querySelector("svg");
  const readout = plot.querySelector("output");
  const lines = JSON.parse(plot.dataset.lines);
  const cursor = document.createElementNS(svg.namespaceURI, "g");
  cursor.classList.add("cursor");
  svg.append(cursor);
  let epoch = null;

  const draw = (name, attributes, className) => {
    const element = document.createElementNS(svg.namespaceURI, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.setAttribute("class", className);
    cursor.append(element);
  };
  const hide = () => {
    epoch = null;
    cursor.replaceChildren();
    readout.hidden = true;
  };
  const show = (wanted) => {
    const shown = lines.filter(isOn);
    const epochs = [...new Set(shown.flatMap((line) => line.epochs))].sort((a, b) => a - b);
    if (!epochs.length) return hide();
    epoch = epochs.reduce((best, some) => (Math.abs(some - wanted) < Math.abs(best - wanted) ? some : best));
    cursor.replaceChildren();
    const rows = [];
    let left = 0;
    for (const line of shown) {
      const place = line.epochs.indexOf(epoch);
      if (place < 0) continue;
      const [x, y] = line.places[place];
      left = x;
      draw("circle", { cx: x, cy: y, r: 4 }, `c${line.colour}`);
      const row = document.createElement("span");
      row.className = `c${line.colour}`;
      const name = [line.split, plot.dataset.runs && JSON.parse(plot.dataset.runs)[line.run]].filter(Boolean).join(", ");
      const value = document.createElement("b");
      value.textContent = inWords(line.values[place]);
      row.append(value, ` ${name}`);
      rows.push(row);
    }
    const box = svg.viewBox.baseVal;
    draw("line", { x1: left, x2: left, y1: 0, y2: box.height }, "");
    const head = document.createElement("span");
    head.textContent = `epoch ${epoch}`;
    readout.replaceChildren(head, ...rows);
    readout.hidden = false;
    // Beside the cursor, towards the middle.
    const share = (left / box.width) * 100;
    const isRight = share > 50;
    readout.style.left = isRight ? "auto" : `calc(${share}% + .6rem)`;
    readout.style.right = isRight ? `calc(${100 - share}% + .6rem)` : "auto";
  };
  const under = (event) => {
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    let [nearest, distance] = [1, Infinity];
    for (const line of lines.filter(isOn))
      line.places.forEach(([x], place) => {
        if (Math.abs(x - at.x) < distance) [nearest, distance] = [line.epochs[place], Math.abs(x - at.x)];
      });
    show(nearest);
  };
  plot.addEventListener("pointermove", under);
  plot.addEventListener("pointerdown", under);
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("blur", hide);
  plot.addEventListener("keydown", (event) => {
    const last = Math.max(...lines.flatMap((line) => line.epochs));
    const to = { ArrowLeft: (epoch ?? 2) - 1, ArrowRight: (epoch ?? 0) + 1, Home: 1, End: last }[event.key];
    if (event.key === "Escape") hide();
    if (to === undefined) return;
    event.preventDefault();
    show(Math.min(Math.max(to, 1), last));
  });
}

if (legend)
  legend.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    button.setAttribute("aria-pressed", button.getAttribute("aria-pressed") !== "true");
    for (const line of document.querySelectorAll(".plot [data-run]"))
      line.toggleAttribute("data-off", !isOn(line.dataset));
  });
