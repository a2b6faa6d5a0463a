// A picture as the images of the training were made: values 0 to 255, in grey or red, green, blue.

// { values, width, height } of the bytes red, green, blue, opacity of each pixel, which is opaque.
function inChannels(rgba, width, height) {
  const values = new Uint8Array(width * height * CHANNELS);
  for (let i = 0; i < width * height; i++) {
    const [red, green, blue] = [rgba[4 * i], rgba[4 * i + 1], rgba[4 * i + 2]];
    if (CHANNELS === 3) values.set([red, green, blue], 3 * i);
    else values[i] = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16;
  }
  return { values, width, height };
}

// The picture in the size of the network, by the way that the training took.
function fitted(picture) {
  const { width, height } = picture;
  const ratio = WIDTH / HEIGHT;
  if (FIT === "crop") {
    const [w, h] = width / height >= ratio ? [ratio * height, height] : [width, width / ratio];
    const [left, top] = [(width - w) / 2, (height - h) / 2];
    return resized(picture, WIDTH, HEIGHT, [left, top, left + w, top + h]).values;
  }
  if (FIT === "pad") {
    const scale = Math.min(WIDTH / width, HEIGHT / height);
    const [w, h] = [width, height].map((side) => Math.max(1, halfToEven(side * scale)));
    const small = resized(picture, w, h, [0, 0, width, height]).values;
    const values = new Uint8Array(WIDTH * HEIGHT * CHANNELS);
    const [left, top] = [Math.floor((WIDTH - w) / 2), Math.floor((HEIGHT - h) / 2)];
    for (let row = 0; row < h; row++) {
      const line = small.subarray(row * w * CHANNELS, (row + 1) * w * CHANNELS);
      values.set(line, ((top + row) * WIDTH + left) * CHANNELS);
    }
    return values;
  }
  return resized(picture, WIDTH, HEIGHT, [0, 0, width, height]).values;
}

function halfToEven(x) {
  const near = Math.round(x);
  return near - x === 0.5 && near % 2 ? near - 1 : near;
}

// A part of the picture in another size: bilinear, as Pillow does it.
function resized(picture, width, height, box) {
  const [left, top, right, bottom] = box.map(Math.fround);
  const rows = (it) => alongRows(it, width, left, right);
  const columns = (it) => transposed(alongRows(transposed(it), height, top, bottom));
  const isHigh = picture.height > picture.width && height < picture.height;
  return isHigh ? rows(columns(picture)) : columns(rows(picture));
}

function transposed({ values, width, height }) {
  const result = new Uint8Array(values.length);
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      for (let c = 0; c < CHANNELS; c++) {
        const place = (row * width + column) * CHANNELS + c;
        result[(column * height + row) * CHANNELS + c] = values[place];
      }
    }
  }
  return { values: result, width: height, height: width };
}

function alongRows({ values, width, height }, newWidth, begin, end) {
  if (newWidth === width && begin === 0 && end === width) return { values, width, height };
  const result = new Uint8Array(newWidth * height * CHANNELS);
  const scale = Math.fround(end - begin) / newWidth;
  const support = Math.max(scale, 1);
  for (let column = 0; column < newWidth; column++) {
    const center = begin + (column + 0.5) * scale;
    const first = Math.max(0, Math.floor(center - support + 0.5));
    const last = Math.min(width, Math.floor(center + support + 0.5));
    const shares = [];
    for (let x = first; x < last; x++) {
      shares.push(Math.max(0, 1 - Math.abs((x - center + 0.5) / support)));
    }
    const total = shares.reduce((sum, share) => sum + share, 0);
    const factors = shares.map((share) => Math.floor((share / total) * 2 ** 22 + 0.5));
    for (let row = 0; row < height; row++) {
      for (let c = 0; c < CHANNELS; c++) {
        let sum = 2 ** 21;
        factors.forEach((factor, i) => {
          sum += factor * values[(row * width + first + i) * CHANNELS + c];
        });
        result[(row * newWidth + column) * CHANNELS + c] = Math.min(255, Math.floor(sum / 2 ** 22));
      }
    }
  }
  return { values: result, width: newWidth, height };
}
