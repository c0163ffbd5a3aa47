// Starts `mimodsl lsp` for `.mimo` files; what it offers is the server's.

const { commands, window, workspace } = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

async function start() {
  const [command, ...args] = workspace.getConfiguration("mimodsl").get("command");
  const server = { command, args };
  const options = {
    // Not the old side of a comparison, whose text has no folder in which to look for what it uses.
    documentSelector: ["file", "untitled"].map((scheme) => ({ scheme, language: "mimo" })),
    synchronize: { fileEvents: workspace.createFileSystemWatcher("**/*.mimo") },
  };
  client = new LanguageClient("mimodsl", "mimodsl", server, options);
  try {
    await client.start();
  } catch (error) {
    window.showErrorMessage(
      `mimodsl: cannot start \`${[command, ...args].join(" ")}\` (${error.message}). ` +
        "`pip install 'mimodsl[lsp]'` brings the server; the setting `mimodsl.command` says where it is.",
    );
  }
}

async function stop() {
  const running = client;
  client = undefined;
  if (running?.isRunning()) await running.stop();
}

async function restart() {
  await stop();
  await start();
}

exports.activate = async (context) => {
  context.subscriptions.push(
    commands.registerCommand("mimodsl.restart", restart),
    workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("mimodsl.command")) restart();
    }),
  );
  await start();
};

exports.deactivate = stop;
