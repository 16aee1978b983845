"use strict";
const at = (id) => document.getElementById(id);
const canvas = at("canvas"), multiModel = document.documentElement.dataset.mode === "multi-model";
const MOST_SHOWN = 4096; // Pixels of the longer side on the canvas; larger images are drawn on a smaller copy.
const COLORS = { decode: "#3f8f6b", queue: "#c78f1e", model: "#3a76d6", encode: "#8d5fc4", other: "#8a8f99" };
let file = null, asked = null, shown = null; // The image; the request on its way; what is on the canvas.

// ---- asking -------------------------------------------------------------------------------------------------

function contentType(of) {
  if (/\.npy$/i.test(of.name)) return "application/x-npy";
  // The server goes by the bytes; what the browser does not know it may.
  return /^image\/(jpeg|png|webp|tiff|bmp)$/.test(of.type) ? of.type : "application/x-image";
}
const address = () => multiModel ? `models/${encodeURIComponent(at("model").value)}/invoke` : "invocations";
const attributes = () => ["tile", "flip"].filter((name) => at(name).checked).map((name) => `${name}=true`).join(",");

async function segment(chosen) {
  if (!chosen) return;
  file = chosen;
  if (multiModel && !at("model").value) {
    return refused({ error: "no model is loaded; load one with POST /models and reload this page", error_type: "ModelNotFound" });
  }
  asked?.abort();
  const mine = asked = new AbortController();
  document.body.classList.add("used");
  at("problem").hidden = true;
  at("again").hidden = false;
  tell(`Segmenting ${file.name}…`, true);
  // Before the request: JPEG and PNG are upright in it by EXIF, as on the server. Others may not be known here.
  const picture = createImageBitmap(file).catch(() => null);
  const headers = { "Content-Type": contentType(file), Accept: "application/json" };
  const options = ["polygons=false", attributes()].filter(Boolean).join(",");
  headers["X-Amzn-SageMaker-Custom-Attributes"] = options;
  const begun = performance.now();
  try {
    const response = await fetch(address(), { method: "POST", body: file, headers, signal: mine.signal, cache: "no-store" });
    const text = await response.text();
    const trip = performance.now() - begun;
    if (!response.ok) throw Object.assign(new Error(), { refusal: refusalOf(text, response) });
    const answer = JSON.parse(text);
    const ids = decode(answer);
    const drawn = await picture;
    if (mine === asked) show({ answer, ids, picture: drawn, file, trip, timing: response.headers.get("Server-Timing") });
  } catch (error) {
    if (mine !== asked || error.name === "AbortError") return;
    refused(error.refusal ?? { error: `no answer that can be read came from the server: ${error.message}`, error_type: "NoAnswer" });
  } finally {
    if (mine === asked) asked = null;
  }
}

function refusalOf(text, response) {
  const retry = response.headers.get("Retry-After");
  const status = `${response.status}${retry ? `, try again after ${retry} s` : ""}`;
  try { return { status, ...JSON.parse(text) }; } catch { return { status, error: text.slice(0, 2000) || response.statusText }; }
}

function refused(refusal) {
  tell("", false);
  at("problem-name").textContent = refusal.error_type ?? "Refused";
  at("problem-status").textContent = refusal.status ?? "";
  at("problem-words").textContent = refusal.error ?? "";
  at("problem").hidden = false;
  at("result").hidden = true;
}

function tell(words, busy) {
  at("state").textContent = words;
  at("state").classList.toggle("busy", busy);
}

// ---- COCO's run lengths ---------------------------------------------------------------------------------------

/// The counts of pycocotools' text: groups of 5 bits, the lowest first, 32 if more follow; from the fourth on less the one two before.
function counts(text) {
  const all = [];
  let value = 0, unit = 1;
  for (let i = 0; i < text.length; i++) {
    const group = text.charCodeAt(i) - 48;
    value += (group & 31) * unit;
    unit *= 32;
    if (group & 32) continue;
    if (group & 16) value -= unit;
    if (all.length > 2) value += all[all.length - 2];
    all.push(value);
    value = 0;
    unit = 1;
  }
  return all;
}

/// The class id of every pixel, row by row; runs go down the columns.
function decode({ width, height, classes }) {
  const ids = new Uint8Array(width * height);
  for (const { id, rle } of classes) {
    if (id === 0 || !rle) continue;
    let x = 0, y = 0, covered = false;
    for (let left of counts(rle.counts)) {
      if (!covered) {
        x += Math.floor((y + left) / height);
        y = (y + left) % height;
      } else {
        for (; left > 0; left--) {
          ids[y * width + x] = id;
          if (++y === height) { y = 0; x++; }
        }
      }
      covered = !covered;
    }
  }
  return ids;
}

// ---- showing --------------------------------------------------------------------------------------------------

function show(result) {
  const { answer, ids, picture } = result, { width, height } = answer;
  const scale = Math.min(1, MOST_SHOWN / Math.max(width, height));
  const w = Math.max(1, Math.round(width * scale)), h = Math.max(1, Math.round(height * scale));
  let small = ids;
  if (scale < 1) {
    small = new Uint8Array(w * h);
    for (let y = 0, i = 0; y < h; y++) {
      const row = Math.floor((y + .5) * height / h) * width;
      for (let x = 0; x < w; x++) small[i++] = ids[row + Math.floor((x + .5) * width / w)];
    }
  }
  const classes = new Map(answer.classes.map((c) => [c.id, { ...c, rgb: rgb(c.color) }]));
  shown?.picture?.close();
  shown = { ...result, classes, small, edges: edgesOf(small, w, h), w, h, mask: new ImageData(w, h), hidden: new Set(), point: null };
  canvas.width = w;
  canvas.height = h;
  at("result").hidden = false;
  fit();
  legend();
  times();
  const present = answer.classes.length;
  const notes = picture ? "" : "; this browser cannot show the image itself";
  tell(`${result.file.name}: ${width} × ${height} pixels, ${present} ${present === 1 ? "class" : "classes"}, ${ms(result.trip)}${notes}`, false);
  canvas.setAttribute("aria-label", `Mask of ${result.file.name}`);
  if (!picture && view() !== "mask") document.querySelector("input[value=mask]").checked = true;
  for (const name of ["overlay", "image"]) document.querySelector(`input[value=${name}]`).disabled = !picture;
  at("curl").textContent = `curl --data-binary @'${result.file.name.replaceAll("'", "'\\''")}' \\\n  -H 'Content-Type: ${contentType(result.file)}' -H 'Accept: image/png' \\\n`
    + (attributes() ? `  -H 'X-Amzn-SageMaker-Custom-Attributes: ${attributes()}' \\\n` : "") + `  '${new URL(address(), location)}' -o mask.png`;
  pointAt(null);
  controls();
  draw();
}

/// Where a neighbor has another class, as far off as an outline must be thick to be seen.
function edgesOf(ids, w, h) {
  const edges = new Uint8Array(w * h), thick = Math.max(1, Math.floor(Math.max(w, h) / 400));
  for (let y = 0, i = 0; y < h; y++) {
    const up = (Math.max(0, y - thick) - y) * w, down = (Math.min(h - 1, y + thick) - y) * w;
    for (let x = 0; x < w; x++, i++) {
      const id = ids[i], left = x < thick ? -x : -thick, right = x + thick < w ? thick : w - 1 - x;
      edges[i] = ids[i + left] !== id || ids[i + right] !== id || ids[i + up] !== id || ids[i + down] !== id;
    }
  }
  return edges;
}

const view = () => document.querySelector("input[name=view]:checked").value;
const layer = document.createElement("canvas");

function draw() {
  if (!shown) return;
  const { small, edges, w, h, mask, classes, hidden, picture } = shown, kind = view(), context = canvas.getContext("2d");
  const cover = kind === "mask" ? 1 : at("opacity").value / 100, outline = Math.min(1, 2 * cover);
  context.clearRect(0, 0, w, h);
  if (kind !== "mask" && picture) context.drawImage(picture, 0, 0, w, h);
  if (kind === "image") return;
  // A class's red, green and blue as they lie in memory, without opacity; nothing for those that are not painted.
  const paint = new Array(256).fill(null);
  for (const { id, rgb } of classes.values()) {
    // The background stays as it is in an overlay.
    if (!hidden.has(id) && (id !== 0 || kind === "mask")) paint[id] = rgb;
  }
  const inside = Math.round(255 * cover), border = Math.round(255 * outline), data = mask.data;
  for (let i = 0, p = 0; i < small.length; i++, p += 4) {
    const color = paint[small[i]];
    if (color) {
      data[p] = color[0]; data[p + 1] = color[1]; data[p + 2] = color[2];
      data[p + 3] = edges[i] ? border : inside;
    } else {
      data[p + 3] = 0;
    }
  }
  layer.width = w;
  layer.height = h;
  layer.getContext("2d").putImageData(mask, 0, 0);
  context.drawImage(layer, 0, 0);
}

let due = false;
function controls() {
  at("opacity").disabled = view() !== "overlay";
  at("percent").textContent = `${at("opacity").value} %`;
}

function redraw() {
  // At once: the next key may already be for the slider.
  controls();
  if (!due) requestAnimationFrame(() => { due = false; draw(); });
  due = true;
}

/// As large as there is room, small images enlarged to be seen.
function fit() {
  if (!shown) return;
  const { width, height } = shown.answer, room = at("stage").parentElement.clientWidth - 32;
  const scale = Math.min(room / width, Math.max(240, innerHeight * .72) / height, Math.max(1, 640 / Math.max(width, height)));
  canvas.style.width = `${Math.max(1, width * scale)}px`;
  canvas.style.height = `${Math.max(1, height * scale)}px`;
  canvas.style.imageRendering = scale > 1.5 ? "pixelated" : "auto";
  mark();
}

/// Of "#rrggbb".
const rgb = (color) => [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16));
const percent = (share) => share > 0 && share < .0005 ? "< 0.1 %" : `${(100 * share).toFixed(1)} %`;
const ms = (time) => time >= 9999.5 ? `${(time / 1000).toFixed(1)} s` : `${time.toFixed(time < 99.95 ? 1 : 0)} ms`;

function make(name, text, settings = {}) {
  const element = Object.assign(document.createElement(name), settings);
  if (text !== null) element.textContent = text;
  return element;
}

function swatch(color) {
  const square = make("span", null, { className: "swatch" });
  square.style.background = color;
  return square;
}

function legend() {
  const rows = [...shown.classes.values()].sort((a, b) => b.pixels - a.pixels).map((c) => {
    const row = make("tr", null), head = make("th", null, { scope: "row" }), label = make("label", null);
    const box = make("input", null, { type: "checkbox", checked: true, title: "paint this class" });
    box.addEventListener("change", () => {
      if (box.checked) shown.hidden.delete(c.id); else shown.hidden.add(c.id);
      draw();
    });
    row.dataset.id = c.id;
    label.append(box, swatch(c.color), make("span", c.name));
    head.append(label);
    row.append(head, make("td", percent(c.share)), make("td", c.confidence === null ? "–" : percent(c.confidence)));
    return row;
  });
  at("legend").replaceChildren(...rows);
}

/// Server-Timing: what each stage took in milliseconds.
function times() {
  const stages = new Map([...(shown.timing ?? "").matchAll(/([\w-]+);dur=([\d.]+)/g)].map(([, name, time]) => [name, Number(time)]));
  const total = stages.get("total") ?? 0;
  stages.delete("total");
  const known = [...stages.values()].reduce((sum, time) => sum + time, 0);
  stages.set("other", Math.max(0, shown.trip - known));
  at("bar").replaceChildren(...[...stages].map(([name, time]) => {
    const part = make("span", null);
    part.style.flexGrow = time;
    part.style.background = COLORS[name] ?? COLORS.other;
    return part;
  }));
  const line = (name, time, color) => [color ? swatch(color) : make("span", null), make("dt", name), make("dd", ms(time))];
  const words = { other: "the rest" };
  at("times").replaceChildren(...[...stages].flatMap(([name, time]) => line(words[name] ?? name, time, COLORS[name] ?? COLORS.other)),
    ...(total ? line("server in all", total) : []), ...line("from here and back", shown.trip));
}

// ---- the class under the pointer ------------------------------------------------------------------------------

function pointAt(point) {
  if (!shown) return;
  shown.point = point;
  const { width } = shown.answer;
  const c = point && shown.classes.get(shown.ids[point.y * width + point.x]);
  for (const row of at("legend").rows) row.classList.toggle("pointed", Boolean(c) && row.dataset.id === String(c.id));
  at("under").textContent = c ? `${c.name} at ${point.x}, ${point.y}` : "Point at the mask to see which class is there.";
  at("tip").hidden = !c;
  if (c) {
    at("tip").replaceChildren(swatch(c.color), make("span", ` ${c.name}`));
    if (point.keys) at("said").textContent = at("under").textContent;
  }
  mark();
}

/// Puts the crosshair and the name beside the pointer.
function mark() {
  const point = shown?.point;
  at("cross").hidden = !point?.keys;
  if (!point) return;
  const { width, height } = shown.answer, left = (point.x + .5) / width * canvas.clientWidth, top = (point.y + .5) / height * canvas.clientHeight;
  Object.assign(at("cross").style, { left: `${left}px`, top: `${top}px` });
  const tip = at("tip"), right = left < canvas.clientWidth / 2;
  Object.assign(tip.style, { top: `${top + (top < 40 ? 14 : -34)}px`, left: right ? `${left + 12}px` : "auto", right: right ? "auto" : `${canvas.clientWidth - left + 12}px` });
}

canvas.addEventListener("pointermove", (event) => {
  if (!shown) return;
  const { width, height } = shown.answer, box = canvas.getBoundingClientRect();
  const inside = (value, size) => Math.min(size - 1, Math.max(0, Math.floor(value * size)));
  pointAt({ x: inside((event.clientX - box.left) / box.width, width), y: inside((event.clientY - box.top) / box.height, height), keys: false });
});
canvas.addEventListener("pointerleave", () => pointAt(null));
canvas.addEventListener("blur", () => pointAt(null));
canvas.addEventListener("keydown", (event) => {
  const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  if (!move || !shown || event.ctrlKey || event.altKey || event.metaKey) return;
  event.preventDefault();
  const { width, height } = shown.answer, step = event.shiftKey ? 1 : Math.max(1, Math.round(Math.max(width, height) / 40));
  const from = shown.point ?? { x: width >> 1, y: height >> 1 };
  const inside = (value, size) => Math.min(size - 1, Math.max(0, value));
  pointAt({ x: inside(from.x + move[0] * step, width), y: inside(from.y + move[1] * step, height), keys: true });
});

// ---- files ----------------------------------------------------------------------------------------------------

function save(blob, ending) {
  const link = make("a", null, { href: URL.createObjectURL(blob), download: `${shown.file.name.replace(/\.[^.]*$/, "")}.${ending}.png` });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/// A PNG of class ids with the classes' colors as its palette: as the server makes it for `Accept: image/png`.
async function maskPng({ answer: { width, height }, classes, ids }) {
  const rows = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y++) rows.set(ids.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const packed = new Blob([rows]).stream().pipeThrough(new CompressionStream("deflate"));
  const palette = new Uint8Array(3 * (1 + Math.max(...classes.keys())));
  for (const { id, rgb } of classes.values()) palette.set(rgb, 3 * id);
  const head = new Uint8Array(13), numbers = new DataView(head.buffer);
  numbers.setUint32(0, width);
  numbers.setUint32(4, height);
  head.set([8, 3, 0, 0, 0], 8);
  const body = new Uint8Array(await new Response(packed).arrayBuffer());
  const chunks = [["IHDR", head], ["PLTE", palette], ["IDAT", body], ["IEND", new Uint8Array()]].map(([name, data]) => chunk(name, data));
  return new Blob([new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]), ...chunks], { type: "image/png" });
}

const CRC = Int32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

function chunk(name, data) {
  const bytes = new Uint8Array(data.length + 12), numbers = new DataView(bytes.buffer);
  numbers.setUint32(0, data.length);
  bytes.set(new TextEncoder().encode(name), 4);
  bytes.set(data, 8);
  let crc = -1;
  for (let i = 4; i < data.length + 8; i++) crc = CRC[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  numbers.setInt32(data.length + 8, ~crc);
  return bytes;
}

at("save-mask").addEventListener("click", async () => save(await maskPng(shown), "mask"));
at("save-overlay").addEventListener("click", () => canvas.toBlob((blob) => save(blob, "overlay"), "image/png"));
at("file").addEventListener("change", (event) => { segment(event.target.files[0]); event.target.value = ""; });
for (const name of ["again", "retry"]) at(name).addEventListener("click", () => segment(file));
for (const input of document.querySelectorAll("input[name=view], #opacity")) input.addEventListener("input", redraw);
addEventListener("resize", fit);
addEventListener("paste", (event) => segment(event.clipboardData.files[0]));
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("dragged"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("dragged"); });
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragged");
  segment(event.dataTransfer.files[0]);
});

// ---- the server -----------------------------------------------------------------------------------------------

async function health() {
  let words = "the server does not answer", ready = false;
  try {
    const response = await fetch("ping", { cache: "no-store" });
    if (!response.ok) words = refusalOf(await response.text(), response).error;
    else words = multiModel ? await listModels() : "ready";
    ready = response.ok;
  } catch { /* as said */ }
  at("server").textContent = words;
  if (!ready) setTimeout(health, 2000);
}

async function listModels() {
  const names = [];
  let token = "";
  do {
    const page = await (await fetch(`models${token && `?next_page_token=${encodeURIComponent(token)}`}`, { cache: "no-store" })).json();
    names.push(...page.models.map((model) => model.modelName));
    token = page.nextPageToken ?? "";
  } while (token && names.length < 10_000);
  at("model").replaceChildren(...names.map((name) => make("option", name, { value: name })));
  at("models").hidden = false;
  return `ready, ${names.length} ${names.length === 1 ? "model" : "models"} loaded`;
}

// A browser may have kept what was set before the page was loaded anew.
controls();
health();
