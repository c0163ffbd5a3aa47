// Makes dist/: the extension in one file, and the grammar that lies beside this folder.

const { copyFileSync, mkdirSync } = require("node:fs");
const { join } = require("node:path");
const { buildSync } = require("esbuild");

const here = (...path) => join(__dirname, ...path);

mkdirSync(here("dist"), { recursive: true });
copyFileSync(here("..", "mimo.tmLanguage.json"), here("dist", "mimo.tmLanguage.json"));
copyFileSync(here("..", "..", "LICENSE"), here("dist", "LICENSE"));
buildSync({
  entryPoints: [here("extension.js")],
  outfile: here("dist", "extension.js"),
  bundle: true,
  platform: "node",
  target: "node18",
  external: ["vscode"],
  minify: true,
});
