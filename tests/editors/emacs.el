;;; Uses the spec at $SPEC as one does by hand, and writes what came of it to $SEEN.  -*- lexical-binding: t -*-

(require 'json)
(require 'eglot)
(require 'flymake)

(defvar seen nil)

(defun see (key value) (push (cons key value) seen))

(defmacro wait (what &rest holds)
  `(let ((end (+ (float-time) 30)))
     (while (not (progn ,@holds))
       (when (> (float-time) end) (error "never: %s" ,what))
       (accept-process-output nil 0.02))))

(defun goto-behind (text)
  (goto-char (point-min))
  (search-forward text))

(defun write-over (old new)
  (goto-behind old)
  (replace-match new t t))

(defun mistakes ()
  "The mistakes that are shown, of the text as it is: a batch is never idle long enough to ask."
  (eglot--signal-textDocument/didChange)
  (flymake-start)
  (flymake-diagnostics))

(defun again ()
  "The spec as it lies on disk, without mistakes."
  (revert-buffer t t t)
  (wait "no mistakes" (not (mistakes))))

(defun use-it ()
  (find-file (getenv "SPEC"))
  (see 'mode (symbol-name major-mode))
  (run-hooks 'post-command-hook) ; with which `eglot-ensure' starts, when a user has visited a file
  (wait "a server" (eglot-current-server))

  (write-over "ep:2 *" "ep:3 *")
  (wait "a mistake" (mistakes))
  (see 'mistake (flymake-diagnostic-text (car (mistakes))))
  (goto-char (flymake-diagnostic-beg (car (mistakes))))
  (let ((found (eglot-code-actions (point) (point))))
    (see 'fixes (vconcat (mapcar (lambda (one) (plist-get one :title)) found))))
  (again)

  (goto-behind "ep:2")
  (delete-char -1)
  (let ((all (eglot-completion-at-point)))
    (see 'offered (vconcat (mapcar #'substring-no-properties (all-completions "" (nth 2 all))))))
  (again)

  (goto-behind "grid ll")
  (eglot-hover-eldoc-function (lambda (text &rest _) (see 'hover (substring-no-properties text))))
  (wait "a hover" (assq 'hover seen))

  (goto-behind "edp:")
  (xref-find-definitions "LSP identifier at point.")
  (see 'definition (line-number-at-pos))

  (goto-behind "grid ll")
  (eglot-rename "text")
  (see 'renamed (buffer-string))
  (again)

  (goto-behind "token")
  (comment-line 1)
  (forward-line -1)
  (see 'commented (buffer-substring (line-beginning-position) (line-end-position)))
  (again)

  (write-over "  grid       = encoder" "      grid=encoder")
  (eglot-format-buffer)
  (see 'formatted (buffer-string)))

(setq make-backup-files nil)
(condition-case problem (use-it) (error (see 'problem (format "%S" problem))))
(with-temp-file (getenv "SEEN") (insert (json-encode seen)))
(kill-emacs 0)
