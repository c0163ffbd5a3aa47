"""Everything that draws or prints, one file for each thing that is shown.

`show` prints a thing on a console of rich, and `document` gives the same as plain values for JSON.

| file | shows |
|---|---|
| `plan/` | a plan, section by section; its time on a GPU, its fit into memory, its nodes |
| `run`, `meta` | what `build` trained, or built on the meta device |
| `progress` | a run while it lasts |
| `verdict` | what `verify` compared |
| `differences` | what `diff` found |
| `pages` | what `explain` says about a code |

`tables`, `short`, `numbers` and `json` hold what these share.
"""
