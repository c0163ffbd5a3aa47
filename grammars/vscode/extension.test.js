// The built extension loads, and starts what the settings say, in an editor that only counts calls.

const assert = require("node:assert");
const Module = require("node:module");
const { join } = require("node:path");
const { test } = require("node:test");

const COMMAND = ["no-such-mimodsl", "lsp"];

// Whatever the client's library wants of VS Code: classes to extend, values to read.
function anything() {
  return new Proxy(class {}, {
    get: (target, name) => (name in target ? target[name] : (target[name] = anything())),
    apply: () => ({ dispose() {} }),
  });
}

test("the extension says what to do where the server cannot be started", async () => {
  const shown = [];
  const vscode = anything();
  const listen = () => ({ dispose() {} });
  vscode.version = "1.90.0";
  vscode.EventEmitter = class {
    event = listen;
    fire() {}
    dispose() {}
  };
  vscode.commands = { registerCommand: listen };
  vscode.window = {
    showErrorMessage: (text) => shown.push(text),
    createOutputChannel: () => ({ append() {}, appendLine() {}, show() {}, dispose() {} }),
  };
  const workspace = {
    getConfiguration: () => ({ get: () => COMMAND }),
    createFileSystemWatcher: () => ({ onDidCreate: listen, onDidChange: listen, onDidDelete: listen }),
    workspaceFolders: undefined,
    textDocuments: [],
  };
  vscode.workspace = new Proxy(workspace, { get: (own, name) => (name in own ? own[name] : listen) });
  const load = Module._load;
  Module._load = (name, ...rest) => (name === "vscode" ? vscode : load(name, ...rest));
  try {
    const extension = require(join(__dirname, "dist", "extension.js"));
    await extension.activate({ subscriptions: [] });
    assert.match(shown.at(-1), /cannot start `no-such-mimodsl lsp`.*pip install 'mimodsl\[lsp\]'/);
    await extension.deactivate();
  } finally {
    Module._load = load;
  }
});
