
// The map of the features: a point for each chosen face, the nearest face at the pointer, and regions to drag over.
const SPAN = 65535; // of a coordinate
const NEAR = 12; // pixels from the pointer

function classColours(count) {
  const style = getComputedStyle(document.documentElement);
  const own = [...Array(8).keys()].map((index) => style.getPropertyValue(`--c${index}`).trim());
  return [...Array(count).keys()].map((index) => (count <= 8 ? own[index] : `hsl(${(index * 360) / count} 60% 50%)`));
}

// `describe` returns the elements of a face, and `choose` takes a region, [left, top, right, bottom], or null.
function featureMap(canvas, data, describe, choose) {
  const figure = canvas.closest("figure");
  const near = figure.querySelector(".near");
  const context = canvas.getContext("2d");
  let [shown, size, start, box] = [[], 0, null, null];

  // The longer axis spans the map, and the shorter one is centred; y grows upwards.
  const margin = 8;
  const [wide, high] = [data.x, data.y].map((column) => column.reduce((most, value) => Math.max(most, value), 0));
  const across = (x) => margin + ((x + (SPAN - wide) / 2) / SPAN) * (size - 2 * margin);
  const down = (y) => size - margin - ((y + (SPAN - high) / 2) / SPAN) * (size - 2 * margin);
  const back = ([left, top]) => [
    ((left - margin) / (size - 2 * margin)) * SPAN - (SPAN - wide) / 2,
    ((size - margin - top) / (size - 2 * margin)) * SPAN - (SPAN - high) / 2,
  ];

  const draw = () => {
    const scale = devicePixelRatio;
    size = canvas.clientWidth;
    canvas.width = canvas.height = size * scale;
    context.scale(scale, scale);
    const colours = classColours(data.classes.length);
    figure.querySelectorAll(".key i").forEach((swatch, index) => (swatch.style.background = colours[index]));
    const side = shown.length > 5000 ? 2 : shown.length > 500 ? 3 : 5;
    context.globalAlpha = 0.75;
    colours.forEach((colour, label) => {
      context.fillStyle = colour; // which costs more than a point
      for (const face of shown)
        if (data.label[face] === label)
          context.fillRect(across(data.x[face]) - side / 2, down(data.y[face]) - side / 2, side, side);
    });
    context.globalAlpha = 1;
    if (box) {
      context.strokeStyle = getComputedStyle(canvas).color;
      context.strokeRect(box[0], box[1], box[2] - box[0], box[3] - box[1]);
    }
  };
  const place = (event) => {
    const at = canvas.getBoundingClientRect();
    return [event.clientX - at.left, event.clientY - at.top];
  };
  const nearest = ([x, y]) => {
    let [best, distance] = [null, NEAR ** 2];
    for (const face of shown) {
      const away = (across(data.x[face]) - x) ** 2 + (down(data.y[face]) - y) ** 2;
      if (away < distance) [best, distance] = [face, away];
    }
    return best;
  };
  const point = (at) => {
    const face = nearest(at);
    near.hidden = face === null;
    if (face === null) return;
    near.replaceChildren(...describe(face));
    near.style.left = `${Math.min(at[0] + 12, size - 130)}px`;
    near.style.top = `${at[1] + 12}px`;
  };

  canvas.addEventListener("pointerdown", (event) => {
    start = place(event);
    canvas.setPointerCapture(event.pointerId);
    point(start);
  });
  canvas.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (!start) return point(at);
    near.hidden = true;
    box = [...start, ...at];
    draw();
  });
  canvas.addEventListener("pointerup", (event) => {
    const at = place(event);
    const isDrag = start && Math.hypot(at[0] - start[0], at[1] - start[1]) > 5;
    if (isDrag) {
      const [[a, b], [c, d]] = [back(start), back(at)];
      choose([Math.min(a, c), Math.min(b, d), Math.max(a, c), Math.max(b, d)]);
    } else if (box) {
      box = null;
      choose(null);
    }
    start = null;
  });
  canvas.addEventListener("pointercancel", () => ([start, box] = [null, null]));
  canvas.addEventListener("pointerleave", () => (near.hidden = true));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  addEventListener("resize", draw);
  return {
    draw(faces) {
      shown = faces;
      draw();
    },
  };
}
