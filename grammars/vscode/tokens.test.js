// The grammar, read by the tokenizer of VS Code itself.

const assert = require("node:assert");
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { test } = require("node:test");
const { loadWASM, OnigScanner, OnigString } = require("vscode-oniguruma");
const { INITIAL, Registry, parseRawGrammar } = require("vscode-textmate");

const FILE = join(__dirname, "..", "mimo.tmLanguage.json");
const ROOT = join(__dirname, "..", "..");

async function grammar() {
  await loadWASM(readFileSync(require.resolve("vscode-oniguruma/release/onig.wasm")).buffer);
  const registry = new Registry({
    onigLib: Promise.resolve({
      createOnigScanner: (patterns) => new OnigScanner(patterns),
      createOnigString: (text) => new OnigString(text),
    }),
    loadGrammar: async () => parseRawGrammar(readFileSync(FILE, "utf8"), FILE),
  });
  return registry.loadGrammar("source.mimo");
}

// Every piece of text that is no blank, with its innermost scope.
function tokens(loaded, text) {
  const found = [];
  let state = INITIAL;
  for (const line of text.split("\n")) {
    const read = loaded.tokenizeLine(line, state);
    state = read.ruleStack;
    for (const { startIndex, endIndex, scopes } of read.tokens) {
      const piece = line.slice(startIndex, endIndex).trim();
      if (piece) found.push([piece, scopes.at(-1).replace(/\.mimo$/, "")]);
    }
  }
  return found;
}

test("a shipped spec has the scopes that its words mean", async () => {
  const loaded = await grammar();
  const text = readFileSync(join(ROOT, "specs", "nemotron_vlm.mimo"), "utf8");
  const found = tokens(loaded, text);
  const scopes = (word) => new Set(found.filter(([text]) => text === word).map(([, scope]) => scope));
  assert.deepStrictEqual(scopes("flow"), new Set(["keyword.declaration"]));
  assert.deepStrictEqual(scopes("grid"), new Set(["keyword.declaration", "variable.other.property"]));
  assert.deepStrictEqual(scopes("mlp_projector"), new Set(["support.type.kind"]));
  assert.deepStrictEqual(scopes("radio_small"), new Set(["entity.other.inherited-class"]));
  assert.deepStrictEqual(scopes("etp"), new Set(["support.type.axis"]));
  assert.deepStrictEqual(scopes("3e-3"), new Set(["constant.numeric.float"]));
  assert.deepStrictEqual(scopes("adamw"), new Set(["entity.name.tag"]));
  assert.deepStrictEqual(scopes("1f1b"), new Set(["constant.language"]));
  const plain = found.filter(([, scope]) => scope === "source").map(([text]) => text);
  assert.deepStrictEqual(new Set(plain), new Set(["{", "}", ","]));
});
