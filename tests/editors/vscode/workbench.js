// VS Code as a user sees it: its server on localhost with the extension in it, its workbench in a browser.
//
// code-server carries the whole of VS Code; its own program is not run, and so nothing has to be compiled.

const { spawn, spawnSync } = require("node:child_process");
const { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } = require("node:fs");
const { tmpdir } = require("node:os");
const { dirname, join } = require("node:path");
const { chromium } = require("playwright-core");

const ROOT = join(__dirname, "..", "..", "..");
const SERVER = join(__dirname, "node_modules", "code-server", "lib", "vscode", "out", "server-main.js");
const EXTENSION = join(ROOT, "grammars", "vscode", "dist", "mimodsl.vsix");
const PATIENCE = 30_000;

const BROWSER = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/google-chrome"].find(
  (path) => path && existsSync(path),
);
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"];
const QUIET = ["--disable-background-networking", "--disable-component-update"];

const SETTINGS = {
  "mimodsl.command": [process.env.MIMODSL ?? join(ROOT, ".venv", "bin", "mimodsl"), "lsp"],
  "editor.minimap.enabled": false,
  "files.autoSave": "off",
  "telemetry.telemetryLevel": "off",
  "workbench.startupEditor": "none",
};

class Workbench {
  // Starts everything, with some files in the folder that is open.
  static async start(files) {
    const bench = new Workbench();
    bench.home = mkdtempSync(join(tmpdir(), "mimodsl-vscode-"));
    bench.folder = join(bench.home, "specs");
    for (const [name, text] of Object.entries(files)) bench.write(name, text);
    bench.used = SETTINGS;
    bench.settings(SETTINGS);
    try {
      bench.install();
      const port = await bench.serve();
      await bench.browse(port);
    } catch (error) {
      await bench.stop();
      throw error;
    }
    return bench;
  }

  // Texts.

  path(name) {
    return join(this.folder, name);
  }

  write(name, text) {
    mkdirSync(dirname(this.path(name)), { recursive: true });
    writeFileSync(this.path(name), text);
  }

  read(name) {
    return readFileSync(this.path(name), "utf8");
  }

  settings(values) {
    const folder = join(this.home, "user", "Machine");
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "settings.json"), JSON.stringify(values));
  }

  // Processes.

  options() {
    return ["--server-data-dir", this.home, "--user-data-dir", join(this.home, "user"), "--accept-server-license-terms"];
  }

  install() {
    const made = spawnSync(process.execPath, [SERVER, ...this.options(), "--install-extension", EXTENSION]);
    if (!/successfully installed/.test(made.stdout)) throw new Error(`${made.stdout}${made.stderr}`);
  }

  serve() {
    const where = ["--host", "127.0.0.1", "--port", "0", "--without-connection-token", "--telemetry-level", "off"];
    this.server = spawn(process.execPath, [SERVER, ...this.options(), ...where]);
    let said = "";
    return new Promise((resolve, reject) => {
      const hear = (data) => {
        said += data;
        const port = /listening on (\d+)/.exec(said);
        if (port) resolve(Number(port[1]));
      };
      this.server.stdout.on("data", hear);
      this.server.stderr.on("data", hear);
      this.server.on("exit", () => reject(new Error(said)));
    });
  }

  async browse(port) {
    this.browser = await chromium.launchPersistentContext(join(this.home, "browser"), {
      executablePath: BROWSER,
      args: [...FLAGS, ...QUIET],
      viewport: { width: 1280, height: 1000 },
    });
    this.browser.setDefaultTimeout(PATIENCE);
    this.page = this.browser.pages()[0];
    await this.page.goto(`http://127.0.0.1:${port}/?folder=${this.folder}`);
    // What works in a folder that nobody trusts works in all.
    await this.page.getByRole("button", { name: "No, I don't trust the authors" }).click();
  }

  async stop() {
    await this.browser?.close();
    if (this.server?.exitCode === null) {
      const gone = new Promise((resolve) => this.server.on("exit", resolve));
      this.server.removeAllListeners("exit").on("exit", () => {});
      this.server.kill();
      await Promise.race([gone, new Promise((resolve) => setTimeout(resolve, 5000))]);
    }
    rmSync(this.home, { recursive: true, force: true, maxRetries: 5 });
  }

  // What a user does.

  async open(name) {
    await this.page.getByRole("treeitem", { name, exact: true }).dblclick();
    this.editor = this.page.locator(`.editor-instance .monaco-editor[data-uri$="/${name}"]`);
    await this.editor.waitFor();
    await this.page.keyboard.press("Control+Home");
  }

  press(...keys) {
    return keys.reduce((before, key) => before.then(() => this.page.keyboard.press(key)), Promise.resolve());
  }

  type(text) {
    return this.page.keyboard.type(text);
  }

  async command(title) {
    await this.press("F1");
    await this.page.locator(".quick-input-box input").fill(`>${title}`);
    await this.page.locator(".quick-input-list .monaco-list-row").first().waitFor();
    await this.press("Enter");
  }

  // Puts the cursor behind the first place of some text in a file as it lies on disk.
  async goto(name, text) {
    const before = this.read(name).split(text, 1)[0] + text;
    const lines = before.split("\n");
    await this.press("Control+g");
    await this.page.locator(".quick-input-box input").fill(`:${lines.length}:${lines.at(-1).length + 1}`);
    await this.press("Enter");
    await this.at(lines.length, lines.at(-1).length + 1);
  }

  at(line, column) {
    return this.page.getByText(`Ln ${line}, Col ${column}`, { exact: true }).waitFor();
  }

  // Saves until the file has what is wanted: what was asked of the server may take a moment.
  async save(name, wanted) {
    const saved = async () => {
      await this.press("Control+s");
      return wanted(this.read(name));
    };
    await this.until(saved, () => this.read(name));
  }

  async until(holds, shown) {
    const end = Date.now() + PATIENCE;
    while (!(await holds())) {
      if (Date.now() > end) throw new Error(`never so: ${holds}\n${await shown?.()}`);
      await this.page.waitForTimeout(50);
    }
  }

  // A file with some text, on disk and in the only tab.
  async fresh(name, text) {
    await this.press("Escape", "Escape");
    await this.command("File: Revert File");
    await this.command("View: Close All Editors");
    await this.page.getByRole("tab", { name: /\.mimo/ }).first().waitFor({ state: "detached" });
    this.write(name, text);
    await this.open(name);
    const last = text.trimEnd().split("\n").at(-1);
    await this.until(async () => (await this.shown()).includes(last), () => this.shown());
  }

  // What is seen.

  // The lines of the text that are on the screen.
  async shown() {
    const lines = await this.editor.locator(".view-line").allInnerTexts();
    return lines.map((line) => line.replaceAll("\u00a0", " "));
  }

  // The colour of every piece of text of its own colour.
  colours() {
    return this.editor.locator(".view-line span span").evaluateAll((pieces) =>
      Object.fromEntries(pieces.map((one) => [one.textContent.trim(), getComputedStyle(one).color])),
    );
  }

  // Waits until the problems panel lists so many mistakes, all with some text.
  async problems(count, text = "") {
    if (!(await this.page.locator(".markers-panel").isVisible())) {
      await this.command("View: Focus Problems");
      await this.page.locator(".markers-panel").waitFor();
      await this.command("View: Focus Active Editor Group");
    }
    const rows = this.page.locator(".markers-panel .monaco-list-row .marker-message-details-container");
    const listed = async () => {
      const found = await rows.allInnerTexts();
      return found.length === count && found.every((one) => one.includes(text));
    };
    await this.until(listed, () => rows.allInnerTexts());
  }

  // The words in the list of completions.
  async offered() {
    const rows = this.page.locator(".suggest-widget.visible .monaco-list-row .label-name");
    await rows.first().waitFor();
    return rows.allInnerTexts();
  }

  // What the list of fixes offers. The editor may say that there are none until it has asked anew.
  async fixes() {
    const rows = this.page.locator(".action-widget .monaco-list-row.action");
    const listed = async () => {
      await this.press("Escape", "Control+.");
      return rows.first().waitFor({ timeout: 3000 }).then(() => true, () => false);
    };
    await this.until(listed);
    return rows.allInnerTexts();
  }

  async hover() {
    const page = this.page.locator(".monaco-hover:visible .hover-contents").first();
    await page.filter({ hasText: /\S/ }).waitFor();
    await this.until(async () => !/Loading/.test(await page.innerText()));
    return (await page.innerText()).replaceAll("\u00a0", " ");
  }

  async rename(name) {
    await this.press("F2");
    await this.page.locator(".rename-box input").fill(name);
    await this.press("Enter");
  }
}

module.exports = { BROWSER, EXTENSION, PATIENCE, ROOT, SERVER, Workbench };
