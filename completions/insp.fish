# SPDX-License-Identifier: GPL-2.0-or-later
#
# Completion of insp for fish. What there is to complete is asked of insp itself ('insp help --machine', a
# millisecond), so that it always fits the program that is installed.

# True when the command line's subcommand is $argv[1]; without an argument, when there is none yet.
function __insp_command
    set -l words (commandline -opc)
    if test (count $argv) -eq 0
        test (count $words) -eq 1
    else
        test (count $words) -ge 2; and test "$words[2]" = "$argv[1]"
    end
end

complete -c insp -f
complete -c insp -n __insp_command -l help -d 'show the help'
complete -c insp -n __insp_command -s V -l version -d 'show the version'

set -l __insp_table (command insp help --machine 2>/dev/null)
set -l __insp_commands
for line in $__insp_table
    set -l fields (string split \t -- $line)
    test $fields[1] = command; and set -a __insp_commands $fields[2]
end

for line in $__insp_table
    set -l fields (string split \t -- $line)
    set -l command $fields[2]
    if test $fields[1] = command
        complete -c insp -n __insp_command -a $command -d $fields[3]
        # The guest's paths can't be known without opening the images.
        if test $fields[4] != none
            complete -c insp -n "__insp_command $command" -F
            if test $fields[5] != -
                complete -c insp -n "__insp_command $command" -a $fields[5]
            end
        else if test $fields[5] = '<command>'
            complete -c insp -n "__insp_command $command" -a "$__insp_commands"
        else if test $fields[5] != -
            complete -c insp -n "__insp_command $command" -a $fields[5]
        end
        continue
    end
    set -l how
    test $fields[3] != -; and set -a how -s (string sub -s 2 -- $fields[3])
    test $fields[4] != -; and set -a how -l (string sub -s 3 -- $fields[4])
    test $fields[5] = value; and set -a how -r
    switch $fields[6]
        case '<file>' '<directory>'
            set -a how -F
        case '<command>' -
        case '*'
            set -a how -f -a $fields[6]
    end
    complete -c insp -n "__insp_command $command" $how -d $fields[7]
end
