// The page: a drawing or a picture goes to the network, and its scores are shown.

const find = (id) => document.getElementById(id);
const board = find("board");
const pen = board.getContext("2d", { willReadFrequently: true });
const MOST_SHOWN = 10;
const MOST_SIDE = 4096; // of a picture, beyond which the browser makes it smaller
let shown = null; // values 0 to 255 of the picture, before it may be inverted
let last = null; // where the pen is

function clear() {
  pen.fillStyle = IS_DARK ? "black" : "white";
  pen.fillRect(0, 0, board.width, board.height);
  shown = null;
  for (const id of ["answer", "scores"]) find(id).textContent = "";
  find("answer").textContent = CAN_DRAW ? "Draw, or drop a picture." : "Drop a picture.";
  const seen = find("seen").getContext("2d");
  seen.clearRect(0, 0, WIDTH, HEIGHT);
}

function classify() {
  if (shown === null) return;
  const pixels = find("invert").checked ? shown.map((value) => 255 - value) : shown;
  const probabilities = probabilitiesOf(scoresOf(pixels));
  const order = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  find("answer").textContent = CLASSES[order[0]] + " " + percent(probabilities[order[0]]);
  const rows = order.slice(0, MOST_SHOWN).map((i) => {
    const row = document.createElement("li");
    const name = document.createElement("span");
    const bar = document.createElement("meter");
    const share = document.createElement("span");
    name.textContent = CLASSES[i];
    bar.value = probabilities[i];
    share.textContent = percent(probabilities[i]);
    row.append(name, bar, share);
    return row;
  });
  find("scores").replaceChildren(...rows);
  const seen = new ImageData(WIDTH, HEIGHT);
  for (let i = 0; i < WIDTH * HEIGHT; i++) {
    for (let c = 0; c < 3; c++) seen.data[4 * i + c] = pixels[i * CHANNELS + (c % CHANNELS)];
    seen.data[4 * i + 3] = 255;
  }
  find("seen").getContext("2d").putImageData(seen, 0, 0);
}

function percent(share) {
  return (100 * share).toFixed(1) + " %";
}

function look(context, width, height) {
  const { data } = context.getImageData(0, 0, width, height);
  shown = fitted(inChannels(data, width, height));
  classify();
}

async function open(file) {
  let image;
  try {
    image = await createImageBitmap(file); // turned as EXIF says
  } catch {
    find("answer").textContent = file.name + " is no picture that this browser reads.";
    return;
  }
  const scale = Math.min(1, MOST_SIDE / Math.max(image.width, image.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(image.width * scale));
  canvas.height = Math.max(1, Math.round(image.height * scale));
  const context = canvas.getContext("2d");
  context.fillStyle = "white"; // where the picture is transparent
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(image, 0, 0, canvas.width, canvas.height);
  look(context, canvas.width, canvas.height);
  pen.drawImage(canvas, 0, 0, board.width, board.height);
}

function place(event) {
  const box = board.getBoundingClientRect();
  const scale = board.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

function draw(event) {
  const next = place(event);
  pen.strokeStyle = IS_DARK ? "white" : "black";
  pen.lineWidth = board.width * Math.max(1 / 13, 1.5 / WIDTH);
  pen.lineCap = pen.lineJoin = "round";
  pen.beginPath();
  pen.moveTo(...last);
  pen.lineTo(...next);
  pen.stroke();
  last = next;
}

if (CAN_DRAW) {
  board.addEventListener("pointerdown", (event) => {
    board.setPointerCapture(event.pointerId);
    last = place(event);
    draw(event);
  });
  board.addEventListener("pointermove", (event) => {
    if (last !== null) draw(event);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    board.addEventListener(name, () => {
      if (last !== null) look(pen, board.width, board.height);
      last = null;
    });
  }
}
find("clear").addEventListener("click", clear);
find("invert").addEventListener("change", classify);
find("file").addEventListener("change", (event) => {
  if (event.target.files.length) open(event.target.files[0]);
  event.target.value = "";
});
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) open(event.dataTransfer.files[0]);
});
clear();
