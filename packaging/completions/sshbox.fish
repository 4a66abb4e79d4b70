# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sshbox_global_optspecs
    string join \n config= h/help V/version
end

function __fish_sshbox_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sshbox_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sshbox_using_subcommand
    set -l cmd (__fish_sshbox_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sshbox -n "__fish_sshbox_needs_command" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_needs_command" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_needs_command" -s V -l version -d 'Print version'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "adopt" -d 'Set containers of an earlier gateway aside, so that their users get boxes on the same homes'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "config" -d 'Check the configuration, or show what counts'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "doctor" -d 'Proves each step of a login and says what to do about those that fail'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "keys" -d 'Show which keys would let a user in, step by step'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "kill" -d 'End a session: its program is hung up, what it has detached lives on'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "list" -d 'List all boxes'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "logs" -d 'Show what sshbox and its sshd wrote to the journal'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "reap" -d 'Stop all boxes that are idle for too long, now, as the timer does'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "restart" -d 'Stop a box and start it'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "sessions" -d 'List the sessions that are open'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "start" -d 'Start a box, as its user\'s next login would'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "status" -d 'Show the box of one user'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "stop" -d 'Stop a box; its user\'s next login starts it'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "top" -d 'Show the boxes that run, the busiest first; q ends it'
complete -c sshbox -n "__fish_sshbox_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sshbox -n "__fish_sshbox_using_subcommand adopt" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand adopt" -l all -d 'Every container with a name that box.name gives to somebody'
complete -c sshbox -n "__fish_sshbox_using_subcommand adopt" -l dry-run -d 'Show what was found, and stop nothing'
complete -c sshbox -n "__fish_sshbox_using_subcommand adopt" -l yes -d 'Do not ask'
complete -c sshbox -n "__fish_sshbox_using_subcommand adopt" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and not __fish_seen_subcommand_from check show help" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and not __fish_seen_subcommand_from check show help" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and not __fish_seen_subcommand_from check show help" -f -a "check" -d 'Say whether it is valid; if not, where it is wrong'
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and not __fish_seen_subcommand_from check show help" -f -a "show" -d 'Show the value of every key and whether the file says so or it is the default'
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and not __fish_seen_subcommand_from check show help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and __fish_seen_subcommand_from check" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and __fish_seen_subcommand_from check" -l json -d 'Print JSON'
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and __fish_seen_subcommand_from show" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "check" -d 'Say whether it is valid; if not, where it is wrong'
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show the value of every key and whether the file says so or it is the default'
complete -c sshbox -n "__fish_sshbox_using_subcommand config; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sshbox -n "__fish_sshbox_using_subcommand doctor" -l ask -d 'Ask the account source for this name, print how the answer began, and do nothing else' -r
complete -c sshbox -n "__fish_sshbox_using_subcommand doctor" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand doctor" -l fix -d 'Do what is safe about failures: owners and modes of sshbox\'s own files, its users, directories, timer, socket and network'
complete -c sshbox -n "__fish_sshbox_using_subcommand doctor" -l json -d 'Print JSON'
complete -c sshbox -n "__fish_sshbox_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand keys" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand keys" -l json -d 'Print JSON'
complete -c sshbox -n "__fish_sshbox_using_subcommand keys" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand kill" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand kill" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand list" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand list" -l json -d 'Print JSON'
complete -c sshbox -n "__fish_sshbox_using_subcommand list" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand logs" -l since -d 'Only from this moment on: 2h, 3days, or 2026-03-01T10:00:00Z' -r
complete -c sshbox -n "__fish_sshbox_using_subcommand logs" -l file -d 'Read this file of JSON lines, and not the journal' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand logs" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand logs" -l all -d 'Everything'
complete -c sshbox -n "__fish_sshbox_using_subcommand logs" -l follow -d 'Go on with what comes'
complete -c sshbox -n "__fish_sshbox_using_subcommand logs" -l json -d 'One JSON object for each entry'
complete -c sshbox -n "__fish_sshbox_using_subcommand logs" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand reap" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand reap" -l dry-run -d 'Say what would be done and why, and change nothing'
complete -c sshbox -n "__fish_sshbox_using_subcommand reap" -l json -d 'Print JSON'
complete -c sshbox -n "__fish_sshbox_using_subcommand reap" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand restart" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand restart" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand sessions" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand sessions" -l json -d 'Print JSON'
complete -c sshbox -n "__fish_sshbox_using_subcommand sessions" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand start" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand start" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand status" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand status" -l json -d 'Print JSON'
complete -c sshbox -n "__fish_sshbox_using_subcommand status" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand stop" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand stop" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand top" -l config -d 'Configuration file' -r -F
complete -c sshbox -n "__fish_sshbox_using_subcommand top" -l once -d 'Print one table and end, as without a terminal'
complete -c sshbox -n "__fish_sshbox_using_subcommand top" -l json -d 'Print JSON once and end'
complete -c sshbox -n "__fish_sshbox_using_subcommand top" -s h -l help -d 'Print help'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "adopt" -d 'Set containers of an earlier gateway aside, so that their users get boxes on the same homes'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "config" -d 'Check the configuration, or show what counts'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "doctor" -d 'Proves each step of a login and says what to do about those that fail'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "keys" -d 'Show which keys would let a user in, step by step'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "kill" -d 'End a session: its program is hung up, what it has detached lives on'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "list" -d 'List all boxes'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "logs" -d 'Show what sshbox and its sshd wrote to the journal'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "reap" -d 'Stop all boxes that are idle for too long, now, as the timer does'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "restart" -d 'Stop a box and start it'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "sessions" -d 'List the sessions that are open'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "start" -d 'Start a box, as its user\'s next login would'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "status" -d 'Show the box of one user'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "stop" -d 'Stop a box; its user\'s next login starts it'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "top" -d 'Show the boxes that run, the busiest first; q ends it'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and not __fish_seen_subcommand_from adopt config doctor keys kill list logs reap restart sessions start status stop top help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "check" -d 'Say whether it is valid; if not, where it is wrong'
complete -c sshbox -n "__fish_sshbox_using_subcommand help; and __fish_seen_subcommand_from config" -f -a "show" -d 'Show the value of every key and whether the file says so or it is the default'
