;;; tramp.el --- files and processes in a box, with four methods of TRAMP  -*- lexical-binding: t -*-

;; Runs in Emacs batch mode without user settings. Exits with a nonzero status at the first failed
;; assertion. $NAME is the login name; the current directory contains a file `large'.

(require 'cl-lib)
(require 'tramp)
(setq tramp-verbose 1
      auth-source-save-behavior nil
      create-lockfiles nil
      make-backup-files nil)

(message "versions: Emacs %s, TRAMP %s" emacs-version tramp-version)

(dolist (method '("ssh" "sshx" "scp" "rsync"))
  (let* ((here default-directory)
         (base (format "/%s:%s@box:/home/user/%s/" method (getenv "NAME") method))
         (file (concat base "file")))
    (make-directory base)
    (let ((coding-system-for-write 'utf-8))
      (write-region "héllo\n" nil file nil 'quiet)
      (write-region "more\n" nil file t 'quiet))
    (with-temp-buffer
      (let ((coding-system-for-read 'utf-8)) (insert-file-contents file))
      (cl-assert (equal (buffer-string) "héllo\nmore\n") t))
    (rename-file file (concat base "renamed"))
    (cl-assert (not (file-exists-p file)) t)
    (set-file-modes (concat base "renamed") #o600)
    (cl-assert (= (file-modes (concat base "renamed")) #o600) t)
    ;; TRAMP copies large files with the method's own program, if it has one.
    (copy-file (concat here "large") (concat base "large"))
    (copy-file (concat base "large") (concat here method) t)
    (cl-assert (zerop (call-process "cmp" nil nil nil (concat here "large") (concat here method))) t)
    (cl-assert (equal (directory-files base) '("." ".." "large" "renamed")) t)
    (let ((default-directory base))
      (cl-assert (= (process-file "sh" nil nil nil "-c" "exit 7") 7) t)
      (cl-assert (equal (shell-command-to-string "pwd; cut -d: -f1 /run/sshbox/passwd")
                        (format "/home/user/%s\n%s\n" method (getenv "NAME")))
                 t)
      (with-temp-buffer
        (let ((process (start-file-process "job" (current-buffer) "sh" "-c" "echo async; exit 0")))
          (set-process-sentinel process #'ignore)
          (while (accept-process-output process 60))
          (cl-assert (string-match-p "async" (buffer-string)) t))))
    (tramp-cleanup-connection (tramp-dissect-file-name base) t)))

(message "all done")
;;; tramp.el ends here
