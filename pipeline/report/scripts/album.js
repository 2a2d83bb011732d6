
// Search, filter and sort all faces, page by page. The columns are typed arrays; only the faces of one page are elements.
const PAGE = 60;
const STEPS = 10000; // of the confidence between 0 and 1

function readAlbum() {
  const data = JSON.parse(find("album-data").textContent);
  const unpacked = (text) => {
    const characters = atob(text);
    const bytes = new Uint8Array(characters.length);
    for (let place = 0; place < bytes.length; place++) bytes[place] = characters.charCodeAt(place);
    return new Uint16Array(bytes.buffer);
  };
  for (const name of ["split", "dataset", "label", "predicted", "confidence", "x", "y"])
    if (name in data) data[name] = unpacked(data[name]);
  data.groups = data.groups.map(unpacked);
  data.lower = data.ids.map((id) => id.toLowerCase());
  data.sheets = find("album-sheets").textContent.split("\n").filter(Boolean);
  return data;
}

// A sheet of faces becomes a rule of the style when one of its faces is shown.
function thumbnails({ sheets, columns }) {
  const style = document.head.appendChild(document.createElement("style"));
  const drawn = new Set();
  return (face) => {
    const box = document.createElement("div");
    const sheet = Math.floor(face / columns ** 2);
    if (!sheets[sheet]) {
      box.className = "absent";
      box.textContent = "no face";
      return box;
    }
    if (!drawn.has(sheet)) {
      drawn.add(sheet);
      style.sheet.insertRule(`.sheet-${sheet} { background-image: url(data:image/webp;base64,${sheets[sheet]}) }`);
    }
    const place = face % columns ** 2;
    const share = (step) => `${(step / (columns - 1)) * 100}%`;
    box.className = `thumb sheet-${sheet}`;
    box.style.backgroundSize = `${columns * 100}%`;
    box.style.backgroundPosition = `${share(place % columns)} ${share(Math.floor(place / columns))}`;
    return box;
  };
}

function sortedFaces(data) {
  const all = () => [...data.ids.keys()];
  const makers = {
    page: all,
    sure: () => all().sort((a, b) => data.confidence[b] - data.confidence[a]),
    unsure: () => all().sort((a, b) => data.confidence[a] - data.confidence[b]),
    id: () => all().sort((a, b) => (data.ids[a] < data.ids[b] ? -1 : 1)),
  };
  const known = {};
  return (order) => (known[order] ??= makers[order]());
}

if (find("album")) {
  const data = readAlbum();
  const [thumbnail, inOrder] = [thumbnails(data), sortedFaces(data)];
  const control = (name) => find(`album-${name}`);
  let [chosen, first, region] = [[], 0, null];

  const words = (face) => {
    const [what, id] = [document.createElement("p"), document.createElement("p")];
    const [label, predicted] = ["label", "predicted"].map((name) => {
      const bold = document.createElement("b");
      bold.textContent = data.classes[data[name][face]];
      return bold;
    });
    const isRight = data.label[face] === data.predicted[face];
    what.append(label, ...(isRight ? [] : [" → ", predicted]), ` ${(data.confidence[face] / STEPS).toFixed(2)}`);
    id.className = "id";
    id.textContent = `${data.ids[face]} · ${data.splits[data.split[face]]}`;
    return [what, id];
  };

  const tests = () => {
    const wanted = [];
    const equal = (name, column) => {
      const value = control(name)?.value;
      if (value) wanted.push((face) => column[face] === Number(value));
    };
    for (const name of ["split", "label", "predicted", "dataset"]) equal(name, data[name]);
    data.groups.forEach((column, index) => equal(`group-${index}`, column));
    const answer = control("answer").value; // 0: right, 1: wrong
    if (answer) wanted.push((face) => (data.label[face] !== data.predicted[face]) === (answer === "1"));
    const [low, high] = [control("from"), control("to")].map((input) => Math.round(input.value * STEPS));
    if (low > 0) wanted.push((face) => data.confidence[face] >= low);
    if (control("to").value && high < STEPS) wanted.push((face) => data.confidence[face] <= high);
    const text = control("id").value.trim().toLowerCase();
    if (text) wanted.push((face) => data.lower[face].includes(text));
    if (region) {
      const [left, top, right, bottom] = region;
      const [x, y] = [data.x, data.y];
      wanted.push((face) => x[face] >= left && x[face] <= right && y[face] >= top && y[face] <= bottom);
    }
    return wanted;
  };

  const showPage = () => {
    const last = Math.min(first + PAGE, chosen.length);
    const items = chosen.slice(first, last).map((face) => {
      const item = document.createElement("li");
      item.append(thumbnail(face), ...words(face));
      return item;
    });
    control("faces").replaceChildren(...items);
    const count = chosen.length.toLocaleString("en");
    control("count").textContent = chosen.length ? `${(first + 1).toLocaleString("en")} to ${last.toLocaleString("en")} of ${count} faces` : "0 faces";
    control("before").disabled = first === 0;
    control("after").disabled = last === chosen.length;
  };
  const choose = () => {
    const wanted = tests();
    chosen = inOrder(control("sort").value).filter((face) => wanted.every((test) => test(face)));
    first = 0;
    showPage();
    map?.draw(chosen);
  };
  const turn = (pages) => {
    first += pages * PAGE;
    showPage();
  };

  const map = control("map") && featureMap(control("map"), data, (face) => [thumbnail(face), ...words(face)], (box) => {
    region = box;
    choose();
  });
  for (const input of find("album").querySelectorAll("input, select")) input.addEventListener("input", choose);
  control("before").addEventListener("click", () => turn(-1));
  control("after").addEventListener("click", () => turn(1));
  choose(); // browsers may restore a selection
}
