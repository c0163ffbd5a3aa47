-- Uses the spec at $SPEC as one does by hand, and writes what came of it to $SEEN.

local seen = {}
local path = vim.env.SPEC

local function wait(what, holds)
  assert(vim.wait(30000, holds, 20), "never: " .. what)
end

-- Puts the cursor behind the first place of some text.
local function goto_behind(text)
  vim.fn.cursor(1, 1)
  assert(vim.fn.search("\\V" .. text, "ce") > 0, "no " .. text)
  vim.cmd.normal({ "l", bang = true })
end

local function text()
  return table.concat(vim.api.nvim_buf_get_lines(0, 0, -1, true), "\n") .. "\n"
end

local function substitute(old, new)
  local changed = text():gsub(vim.pesc(old), (new:gsub("%%", "%%%%")), 1)
  vim.api.nvim_buf_set_lines(0, 0, -1, true, vim.split(changed:sub(1, -2), "\n"))
end

local function undo_all()
  vim.cmd("edit!")
  wait("no mistakes", function() return #vim.diagnostic.get(0) == 0 end)
end

local function window_text()
  for _, window in ipairs(vim.api.nvim_list_wins()) do
    if vim.api.nvim_win_get_config(window).relative ~= "" then
      local lines = vim.api.nvim_buf_get_lines(vim.api.nvim_win_get_buf(window), 0, -1, true)
      vim.api.nvim_win_close(window, true)
      return table.concat(lines, "\n")
    end
  end
end

local function run()
  vim.cmd.edit(path)
  local spec = vim.api.nvim_get_current_buf()
  seen.filetype, seen.commentstring = vim.bo.filetype, vim.bo.commentstring
  wait("a server", function()
    local client = vim.lsp.get_clients({ bufnr = spec })[1]
    return client and client.initialized
  end)

  wait("colours", function() return #vim.lsp.semantic_tokens.get_at_pos(spec, 3, 0) > 0 end)
  seen.colours = {}
  for _, word in ipairs({ "let", "replicas", "# mimodsl", "grid", "encoder", "tp", "2" }) do
    local place = vim.fn.searchpos("\\V" .. word, "w")
    seen.colours[word] = vim.lsp.semantic_tokens.get_at_pos(spec, place[1] - 1, place[2] - 1)[1].type
  end

  substitute("ep:2 *", "ep:3 *")
  wait("a mistake", function() return #vim.diagnostic.get(spec) == 1 end)
  local mistake = vim.diagnostic.get(spec)[1]
  seen.mistake = { mistake.code, mistake.lnum + 1, mistake.col }
  vim.fn.cursor(mistake.lnum + 1, mistake.col + 1)
  vim.lsp.buf.code_action({
    apply = true,
    filter = function(action) return action.title == "Write `edp:1` and `ep:4`" end,
  })
  wait("a fix", function() return text():find("ep:4 * edp:1", 1, true) end)
  wait("no mistakes", function() return #vim.diagnostic.get(spec) == 0 end)
  undo_all()

  goto_behind("ep:2")
  local client = vim.lsp.get_clients({ bufnr = spec })[1]
  vim.cmd("startinsert")
  local position = vim.lsp.util.make_position_params(0, client.offset_encoding)
  position.position.character = vim.fn.col(".") - 1
  local answer = client:request_sync("textDocument/completion", position, 30000, spec)
  seen.offered = vim.tbl_map(function(item) return item.label end, answer.result.items or answer.result)
  vim.cmd("stopinsert")

  goto_behind("grid ll")
  vim.lsp.buf.hover()
  wait("a hover", function() seen.hover = seen.hover or window_text() return seen.hover end)

  goto_behind("edp:")
  vim.lsp.buf.definition()
  wait("a jump", function() return vim.fn.line(".") == 4 end)
  seen.definition = { vim.fn.line("."), vim.fn.col(".") }
  goto_behind(": radio_s")
  vim.lsp.buf.definition()
  wait("a preset", function() return vim.fn.expand("%:t") == "nemotron_small.mimo" end)
  vim.cmd.buffer(spec)

  goto_behind("grid ll")
  vim.lsp.buf.rename("text")
  wait("a rename", function() return text():find("grid text", 1, true) end)
  seen.renamed = text()
  undo_all()

  substitute("  grid       = encoder", "      grid=encoder")
  vim.lsp.buf.format({ timeout_ms = 30000 })
  seen.formatted = text()
end

local fine, problem = xpcall(run, debug.traceback)
seen.problem = not fine and problem or nil
vim.fn.writefile({ vim.json.encode(seen) }, vim.env.SEEN)
vim.cmd("qall!")
