"""The command line is an interface: a change of it changes this list, and the changelog."""

import argparse

from mimodsl.cli.main import parser

COMMON = ["-h --help", "--verbose"]

COMMANDS = {
    "new": [*COMMON, "FILE", "--template NAME = nemotron_vlm", "--list"],
    "check": [
        *COMMON,
        "SPEC... (required)",
        "--format {full,concise,json,github} = full",
        "--json",
        "--select...",
        "--ignore...",
        "--fix",
        "--set...",
    ],
    "fmt": [*COMMON, "SPEC... (required)", "--check", "--diff"],
    "plan": [
        *COMMON,
        "SPEC (required)",
        "--rank R",
        "--json",
        "--groups FILE",
        "--fit SIZE",
        "--gpu NAME",
        "--gpus-per-node N",
        "--set...",
    ],
    "build": [
        *COMMON,
        "SPEC (required)",
        "--device {auto,cpu,cuda,meta} = auto",
        "--steps N",
        "--seed N",
        "--data MODULE:FUNCTION",
        "--save DIR",
        "--save-every N",
        "--load DIR",
        "--resume",
        "--eval-every N",
        "--eval-steps M",
        "--log-dir DIR",
        "--profile DIR",
        "--profile-steps A:B",
        "--profile-ranks R,R",
        "--no-shared-groups",
        "--timeout SECONDS",
        "--json",
        "--set...",
    ],
    "verify": [
        *COMMON,
        "SPEC (required)",
        "--device {cpu,cuda} = cpu",
        "--steps N = 2",
        "--full-size",
        "--tolerance X = 0.001",
        "--timeout SECONDS",
        "--json",
        "--set...",
    ],
    "export": [
        *COMMON,
        "SPEC (required)",
        "--to {torchrun,slurm,python,json,megatron-args} (required)",
        "--output FILE",
        "--json",
        "--steps N",
        "--save-every N",
        "--folder DIR",
        "--job-name NAME",
        "--device {cpu,cuda}",
        "--gpus-per-node N",
        "--ranks-per-node N",
        "--before COMMAND",
        "--time LIMIT",
        "--partition NAME",
        "--account NAME",
        "--retries N",
        "--sbatch OPTION",
        "--set...",
    ],
    "diff": [*COMMON, "A (required)", "B (required)", "--json"],
    "explain": [*COMMON, "CODE", "--json"],
    "lsp": COMMON,
}


def described(action: argparse.Action) -> str:
    many = "..." if action.nargs == "+" or isinstance(action.default, list) else ""
    words = [" ".join(action.option_strings) or str(action.metavar)]
    if not many and action.choices:
        words.append("{" + ",".join(action.choices) + "}")
    elif action.option_strings and action.nargs != 0 and not many:
        words.append(str(action.metavar))
    if action.required:
        words.append("(required)")
    if action.default not in (None, False, argparse.SUPPRESS) and not many:
        words.append(f"= {action.default}")
    words[0] += many
    return " ".join(words)


def subparsers() -> dict[str, argparse.ArgumentParser]:
    return next(
        action.choices
        for action in parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )


def test_commands_and_options_are_these():
    found = {
        name: [described(action) for action in command._actions]
        for name, command in subparsers().items()
    }
    assert found == COMMANDS


def test_every_option_says_what_it_does():
    for command in subparsers().values():
        for action in command._actions:
            assert action.help or not action.option_strings, action


def test_no_option_may_be_shortened():
    assert all(not command.allow_abbrev for command in subparsers().values())
