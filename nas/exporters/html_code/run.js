// node run.js index.html < pixels > scores: the scores of images, by the script in the page alone.
const fs = require("fs");
const page = fs.readFileSync(process.argv[2], "utf8");
const source = page.match(/<script id="network">([^]*?)<\/script>/)[1];
// A function of its own: in a context of node's `vm` each use of Math is slow.
const size = "HEIGHT * WIDTH * CHANNELS";
const network = new Function(source + "\nreturn { scoresOf, size: " + size + " };")();
const pixels = fs.readFileSync(0);
const scores = [];
for (let i = 0; i + network.size <= pixels.length; i += network.size) {
  scores.push(Buffer.from(network.scoresOf(pixels.subarray(i, i + network.size))));
}
process.stdout.write(Buffer.concat(scores));
