// The layers. A map is an Int8Array: row by row, the channels of a pixel side by side. Every number
// here is a whole one below 2^53, which JavaScript's numbers hold exactly.

// A sum as a byte of the next map: scaled, half a step rounded up, cut off where it is too large.
function toByte(sum, multiplier, offset, shift) {
  const scaled = sum * multiplier + offset * 2 ** (shift - OFFSET_BITS);
  return Math.max(-128, Math.min(127, Math.floor(scaled / 2 ** shift)));
}

// The map without the byte that stands for 0, and with rows and columns of 0 around it.
function padded(x, { height, width, channels, zero }, padding) {
  const wide = (width + 2 * padding) * channels;
  const result = new Int32Array((height + 2 * padding) * wide);
  for (let row = 0; row < height; row++) {
    const start = (row + padding) * wide + padding * channels;
    for (let i = 0; i < width * channels; i++) result[start + i] = x[row * width * channels + i] - zero;
  }
  return result;
}

const KERNELS = {
  // Across all channels, or a linear layer. Weights: [out][kernel height][kernel width][channels].
  conv(layer, from, to, x) {
    const values = padded(x, from, layer.padding);
    const weights = WEIGHTS[layer.weights];
    const [kernelHeight, kernelWidth] = layer.kernel;
    const wide = (from.width + 2 * layer.padding) * from.channels;
    const rowSize = kernelWidth * from.channels;
    const out = new Int8Array(to.height * to.width * to.channels);
    let place = 0;
    for (let top = 0; top < to.height; top++) {
      for (let left = 0; left < to.width; left++) {
        for (let o = 0; o < to.channels; o++) {
          let sum = 0;
          for (let row = 0; row < kernelHeight; row++) {
            const start = (top * layer.stride + row) * wide + left * layer.stride * from.channels;
            const first = (o * kernelHeight + row) * rowSize;
            for (let i = 0; i < rowSize; i++) sum += values[start + i] * weights[first + i];
          }
          out[place++] = toByte(sum, layer.multipliers[o], layer.offsets[o], layer.shift);
        }
      }
    }
    return out;
  },

  // Of each channel by itself. Weights: [kernel height][kernel width][channels].
  depthwise(layer, from, to, x) {
    const values = padded(x, from, layer.padding);
    const weights = WEIGHTS[layer.weights];
    const [kernelHeight, kernelWidth] = layer.kernel;
    const channels = from.channels;
    const wide = (from.width + 2 * layer.padding) * channels;
    const out = new Int8Array(to.height * to.width * channels);
    let place = 0;
    for (let top = 0; top < to.height; top++) {
      for (let left = 0; left < to.width; left++) {
        for (let c = 0; c < channels; c++) {
          let sum = 0;
          for (let row = 0; row < kernelHeight; row++) {
            const start = (top * layer.stride + row) * wide + left * layer.stride * channels + c;
            const first = row * kernelWidth * channels + c;
            for (let column = 0; column < kernelWidth; column++) {
              sum += values[start + column * channels] * weights[first + column * channels];
            }
          }
          out[place++] = toByte(sum, layer.multipliers[c], layer.offsets[c], layer.shift);
        }
      }
    }
    return out;
  },

  // A batch norm by itself: a factor and an offset for each channel.
  affine(layer, from, to, x) {
    return x.map((value, i) => {
      const c = i % from.channels;
      return toByte(value, layer.multipliers[c], layer.offsets[c], layer.shift);
    });
  },

  // The sum of two maps, each in steps of its own.
  add(layer, from, to, first, second) {
    const [a, b] = layer.multipliers;
    return first.map((value, i) => toByte(value * a + second[i] * b + layer.offset, 1, 0, ADD_SHIFT));
  },

  relu(layer, from, to, x) {
    return x.map((value) => Math.max(value, from.zero));
  },

  // The largest byte of each window; rows and columns left over are dropped.
  maxPool(layer, from, to, x) {
    return windows(from, to, layer.size, layer.size, (places) => {
      let most = -128;
      for (const place of places) most = Math.max(most, x[place]);
      return most;
    });
  },

  // The mean of each window, which is a part of the map or all of it.
  avgPool(layer, from, to, x) {
    return windows(from, to, ...layer.size, (places) => {
      let sum = 0;
      for (const place of places) sum += x[place];
      return toByte(sum, layer.multiplier, layer.offset, layer.shift);
    });
  },

  // Channel by channel instead of pixel by pixel.
  flatten(layer, from, to, x) {
    const size = from.height * from.width;
    return x.map((_, i) => x[(i % size) * from.channels + Math.floor(i / size)]);
  },
};

// What `value` makes of the places in each window; windows do not overlap.
function windows(from, to, height, width, value) {
  const out = new Int8Array(to.height * to.width * to.channels);
  const places = new Int32Array(height * width);
  let place = 0;
  for (let row = 0; row < to.height; row++) {
    for (let column = 0; column < to.width; column++) {
      for (let c = 0; c < to.channels; c++) {
        for (let i = 0; i < places.length; i++) {
          const y = row * height + Math.floor(i / width);
          const x = column * width + (i % width);
          places[i] = (y * from.width + x) * from.channels + c;
        }
        out[place++] = value(places);
      }
    }
  }
  return out;
}

// The scores (an Int8Array) of an image: HEIGHT rows of WIDTH pixels with CHANNELS values 0 to 255.
function scoresOf(pixels) {
  const maps = [Int8Array.from(pixels, (value, i) => PIXEL_BYTES[i % CHANNELS][value])];
  for (const layer of LAYERS) {
    const inputs = layer.inputs.map((number) => maps[number]);
    const from = MAPS[layer.inputs[0]];
    maps[layer.output] = KERNELS[layer.kind](layer, from, MAPS[layer.output], ...inputs);
  }
  return maps[LAYERS[LAYERS.length - 1].output];
}

// How likely each class is, 0 to 1, by these scores.
function probabilitiesOf(scores) {
  const most = Math.max(...scores);
  const shares = Array.from(scores, (score) => Math.exp((score - most) * SCORE_SCALE));
  const total = shares.reduce((sum, share) => sum + share, 0);
  return shares.map((share) => share / total);
}
