# SPDX-License-Identifier: GPL-2.0-or-later
#
# Completion of insp for bash. What there is to complete is asked of insp itself ('insp help --machine', a
# millisecond), so that it always fits the program that is installed.

# Sets COMPREPLY to what fits $2 among the kind or the words $1.
_insp_values() {
    case $1 in
        '<file>') compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- "$2") ;;
        '<directory>') compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- "$2") ;;
        '<command>') mapfile -t COMPREPLY < <(compgen -W "$_insp_commands" -- "$2") ;;
        -) ;;
        *) mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2") ;;
    esac
}

_insp() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    local table command=${COMP_WORDS[1]} _insp_commands
    COMPREPLY=()
    table=$("${COMP_WORDS[0]}" help --machine 2>/dev/null) || return
    _insp_commands=$(awk -F'\t' '$1 == "command" { print $2 }' <<< "$table")
    if ((COMP_CWORD == 1)); then
        mapfile -t COMPREPLY < <(compgen -W "$_insp_commands --help --version" -- "$word")
        return
    fi

    # The value of an option: "--format=raw" is three words to bash, "-a image" and "--add image" are two.
    local option=
    if [[ $word == '=' ]]; then
        option=$before word=
    elif [[ $before == '=' ]]; then
        option=${COMP_WORDS[COMP_CWORD - 2]}
    elif [[ $before == -?* ]]; then
        option=$(awk -F'\t' -v c="$command" -v o="$before" \
            '$1 == "option" && $2 == c && $5 == "value" && ($3 == o || $4 == o) { print o }' <<< "$table")
    fi
    if [[ -n $option ]]; then
        _insp_values "$(awk -F'\t' -v c="$command" -v o="$option" \
            '$1 == "option" && $2 == c && ($3 == o || $4 == o) { print $6 }' <<< "$table")" "$word"
        return
    fi

    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(awk -F'\t' -v c="$command" \
            '$1 == "option" && $2 == c { print $3; print $4 }' <<< "$table" | grep -vx -e -)" -- "$word")
        return
    fi
    local host words
    IFS=$'\t' read -r host words < <(awk -F'\t' -v c="$command" \
        '$1 == "command" && $2 == c { print $4 "\t" $5 }' <<< "$table")
    # The guest's paths can't be known without opening the images.
    if [[ $host == none ]]; then
        _insp_values "${words:--}" "$word"
    else
        compopt -o filenames 2>/dev/null
        mapfile -t COMPREPLY < <(compgen -f -W "${words#-}" -- "$word")
    fi
}

complete -F _insp insp
