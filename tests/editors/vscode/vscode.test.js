// The extension, used as in an editor because it is in one: what is seen, what is offered, what is saved.

const assert = require("node:assert");
const { existsSync, readFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { join } = require("node:path");
const { after, before, beforeEach, test } = require("node:test");
const { BROWSER, EXTENSION, ROOT, SERVER, Workbench } = require("./workbench.js");

const SPEC = "spec.mimo";
const LIBRARY = "sizes.mimo";
const DEMO = readFileSync(join(ROOT, "specs", "nemotron_vlm.mimo"), "utf8");
const USING = DEMO.replace("let replicas = 2", `use "${LIBRARY}"`).replace("--set replicas=4", "");

let bench;

before(async () => {
  assert(BROWSER, "no Chromium is here; its path may be in $CHROMIUM");
  for (const path of [SERVER, EXTENSION]) assert(existsSync(path), `no ${path}: make editors`);
  bench = await Workbench.start({ [SPEC]: DEMO, [LIBRARY]: "let replicas = 3 // 0\n" });
  await bench.open(LIBRARY);
  await bench.problems(1);
});

after(() => bench?.stop());

// Every test begins with the shipped spec, in one tab.
beforeEach(async () => {
  bench.write(LIBRARY, "let replicas = 2\n");
  await bench.fresh(SPEC, DEMO);
});

// A test that fails leaves a picture behind.
function seen(name, used) {
  test(name, async () => {
    try {
      await used();
    } catch (error) {
      await bench.page.screenshot({ path: join(tmpdir(), `${name.replaceAll(/\W+/g, "_")}.png`) });
      throw error;
    }
  });
}

const replaced = (old, changed) => (text) => text === DEMO.replace(old, changed);

seen("a spec has colours", async () => {
  let colours;
  const keywords = async () => {
    colours = await bench.colours();
    return ["use", "place", "module"].every((word) => colours[word] && colours[word] === colours.let);
  };
  await bench.until(keywords, () => JSON.stringify(colours));
  const kinds = ["let", "etp", "2", '"presets/nemotron_small.mimo"', "activation", "*"];
  const seen = new Set(kinds.map((word) => colours[word]));
  assert(!seen.has(undefined) && seen.size >= 5, JSON.stringify(colours));
});

seen("a mistake is underlined as it is typed, and its fix is one key away", async () => {
  await bench.goto(SPEC, "ep:2");
  await bench.press("Backspace");
  await bench.type("3");
  await bench.page.locator(".squiggly-error").first().waitFor();
  await bench.problems(1, "the expert view covers 6 ranks a pipeline stage");
  assert.deepStrictEqual(await bench.fixes(), ["Write `ep:2`", "Write `edp:1` and `ep:4`"]);
  await bench.press("ArrowDown", "Enter");
  await bench.save(SPEC, replaced("ep:2 * edp:replicas", "ep:4 * edp:1"));
  await bench.problems(0);
});

seen("a size is completed by those with which no rule objects", async () => {
  await bench.goto(SPEC, "ep:2");
  await bench.press("Backspace", "Control+Space");
  assert.deepStrictEqual(await bench.offered(), ["2", "1", "replicas"]);
  await bench.press("ArrowDown", "Enter");
  await bench.save(SPEC, replaced("etp:1 * ep:2", "etp:2 * ep:1"));
});

seen("fields, kinds and names are completed while they are typed", async () => {
  await bench.goto(SPEC, "activation = squared_relu");
  await bench.press("Enter");
  await bench.type("ff");
  assert.deepStrictEqual(await bench.offered(), ["ffn"]);
  await bench.press("Tab");
  await bench.type("64");
  await bench.goto(SPEC, "use \"presets/nemotron_small.mimo\"");
  await bench.press("Enter", "Enter");
  await bench.type("module m");
  await bench.press("Escape");
  await bench.type(" :");
  assert((await bench.offered()).includes("nemotron_small"));
  await bench.type(" mlp_proj");
  assert.deepStrictEqual(await bench.offered(), ["mlp_projector"]);
});

seen("a block is completed with the cursor in it", async () => {
  await bench.goto(SPEC, "precision = fp32");
  await bench.press("Enter");
  await bench.type("lr_decay = cos");
  await bench.press("Control+Space");
  assert((await bench.offered())[0].startsWith("cosine"));
  await bench.press("Enter");
  await bench.type("steps = 100");
  const block = /fp32\n {2}lr_decay = cosine \{ steps = 100 *\}\n/;
  await bench.save(SPEC, (text) => block.test(text));
});

seen("what stands at the cursor is told", async () => {
  await bench.goto(SPEC, "grid ll");
  await bench.press("Control+k", "Control+i");
  const grid = await bench.hover();
  assert.match(grid, /llm — grid, ranks 4–7 · language/);
  assert.match(grid, /ep +│ +0 +│ +1/);
  await bench.press("Escape");
  await bench.goto(SPEC, "weight_de");
  await bench.press("Control+k", "Control+i");
  assert.match(await bench.hover(), /weight_decay — .*default 0/s);
});

seen("a name leads to its declaration, in a shipped preset, too", async () => {
  await bench.goto(SPEC, "edp:replicas");
  await bench.press("F12");
  await bench.at(4, 5);
  await bench.goto(SPEC, ": radio_small");
  await bench.press("F12");
  await bench.page.getByRole("tab", { name: /nemotron_small\.mimo/ }).waitFor();
});

seen("a name is changed wherever it is meant, and a wrong one refused", async () => {
  await bench.goto(SPEC, "grid ll");
  await bench.rename("encoder");
  await bench.page.getByText("there is a grid `encoder` already", { exact: true }).waitFor();
  await bench.press("Escape", "Escape");
  await bench.rename("text");
  await bench.save(SPEC, (text) => text === DEMO.replace(/\bllm\b/g, "text"));
});

seen("a name of a used file is changed in both", async () => {
  await bench.fresh(SPEC, USING);
  await bench.goto(SPEC, "edp:replicas");
  await bench.rename("copies");
  await bench.command("File: Save All Files");
  await bench.until(() => bench.read(LIBRARY) === "let copies = 2\n", () => bench.read(LIBRARY));
  await bench.until(() => bench.read(SPEC) === USING.replace(/\breplicas/g, "copies"), () => bench.read(SPEC));
  await bench.problems(0);
});

seen("a mistake in a used file that is not saved is shown where it is used", async () => {
  await bench.fresh(SPEC, USING);
  await bench.open(LIBRARY);
  await bench.press("Control+End");
  await bench.type("let broken = 3 // 0");
  await bench.problems(2, "MIMO207");
  await bench.press("Control+z");
});

seen("a spec is formatted, and mended when it is saved", async () => {
  const ugly = DEMO.replace("  grid       = encoder\n", "      grid=encoder\n");
  await bench.fresh(SPEC, ugly);
  await bench.command("Format Document");
  await bench.save(SPEC, (text) => text === DEMO);
  await bench.fresh(SPEC, DEMO.replace("activation", "activaton"));
  await bench.problems(1);
  await bench.command("Fix All");
  await bench.save(SPEC, (text) => text === DEMO);
});

seen("lines are commented, blocks folded, and declarations outlined", async () => {
  await bench.goto(SPEC, "token = 511");
  await bench.press("Control+/");
  await bench.save(SPEC, replaced("  token = 511", "  # token = 511"));
  await bench.press("Control+Shift+o");
  const names = bench.page.locator(".quick-input-list .monaco-list-row .label-name");
  await names.filter({ hasText: "vision -> projector -> language" }).waitFor();
  await bench.press("Escape");
});

seen("where the server is not found, the editor says what to do", async () => {
  bench.settings({ ...bench.used, "mimodsl.command": ["no-such-mimodsl", "lsp"] });
  await bench.page.getByText(/cannot start `no-such-mimodsl lsp`.*pip install/).first().waitFor();
  bench.settings(bench.used);
  await bench.goto(SPEC, "ep:2");
  await bench.type("1");
  await bench.problems(1);
});
