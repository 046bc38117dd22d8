#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A shell's completion of insp offers every command and every option of each, and files where files are meant.
# Usage: completions.sh bash|zsh|fish INSP DIRECTORY-OF-COMPLETIONS. Exit code 77 without that shell.
set -u
shell=$1 insp=$2 completions=$3 failures=0
fail() { echo "$shell: $*"; failures=$((failures + 1)); }
if ! command -v "$shell" >/dev/null; then echo "$shell is not installed"; exit 77; fi

scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
mkdir "$scratch/bin" "$scratch/files" "$scratch/home"
ln -s "$insp" "$scratch/bin/insp"
touch "$scratch/files/disk one.img" "$scratch/files/disk-two.img"
PATH=$scratch/bin:$PATH HOME=$scratch/home
export PATH HOME completions
cd "$scratch/files" || exit 1

# offered WORD...: what the shell offers for the last word, one a line.
case $shell in
bash)
    offered() {
        bash --norc -c '. "$completions/insp.bash"
            COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
            _insp && printf "%s\n" "${COMPREPLY[@]}"' bash "$@"
    }
    ;;
fish)
    # fish takes half a second for reading the completions: what is asked of every command is asked at once.
    mkdir "$scratch/options"
    # shellcheck disable=SC2046
    (cd "$scratch/options" && fish --no-config -c 'source $completions/insp.fish
        for command in $argv; complete -C "insp $command --" >$command; end' \
        $("$insp" help --machine | awk -F'\t' '$1 == "command" { print $2 }'))
    offered() {
        if [ $# = 3 ] && [ "$3" = -- ]; then
            cut -f 1 "$scratch/options/$2"
            return
        fi
        line=$1
        shift
        for word; do line="$line $word"; done
        fish --no-config -c 'source $completions/insp.fish; complete -C "$argv[1]"' "$line" | cut -f 1
    }
    ;;
zsh)
    # zsh's own machinery needs a terminal. So we look at what the function asks of it: the specs, unfolded.
    offered() {
        zsh -f -c 'fpath=($completions $fpath); autoload -Uz _insp
            _call_program() { shift; "$@" }
            _describe() { print -rl -- ${described%%:*} }
            _arguments() {
                local spec action
                for spec; do
                    action=${spec##*:}
                    case $spec in
                    "*:"*) operand=$action ;;
                    "*-"*)
                        option=${${spec#\*}%%[\[+=]*}
                        if [[ $words[CURRENT-1] == $option || $words[CURRENT] == $option=* ]]; then
                            value=$action
                        else
                            print -r -- $option
                        fi ;;
                    esac
                done >$TMPPREFIX.options
                case ${value-$operand} in
                    _files*) [[ $words[CURRENT] == -* ]] || print -rl -- * ;;
                    \ _insp_words_or_files\ *) print -rl -- ${=operand#* * } * ;;
                    \(*) [[ -z ${value-} && $words[CURRENT] == -* ]] || print -rl -- ${=${${value-$operand}#\(}%\)} ;;
                esac
                [[ $words[CURRENT] == -* ]] && cat $TMPPREFIX.options
                rm -f $TMPPREFIX.options
            }
            TMPPREFIX='"$scratch"'/zsh
            words=("$@") CURRENT=$#
            _insp' zsh "$@"
    }
    ;;
esac

expect() { # what is offered, has this line
    echo "$1" | grep -qxF -e "$2" || fail "'$2' is not offered for: $3"
}

machine=$("$insp" help --machine) || { echo "'$insp help --machine' failed"; exit 1; }
commands=$(echo "$machine" | awk -F'\t' '$1 == "command" { print $2 }')
all=$(offered insp '')
for command in $commands; do
    expect "$all" "$command" 'insp '
    offered insp "$command" -- | sort >"$scratch/offered"
    echo "$machine" | awk -F'\t' -v c="$command" '$1 == "option" && $2 == c && $4 != "-" { print $4 }' | sort |
        comm -23 - "$scratch/offered" >"$scratch/missing"
    while read -r option; do fail "'$option' is not offered for: insp $command --"; done <"$scratch/missing"
done

images=$(offered insp cat -a '')
expect "$images" disk-two.img 'insp cat -a '
echo "$images" | grep -q 'disk.*one\.img' || fail "a name with a space is not offered: $images"
expect "$(offered insp copy-in '')" disk-two.img 'insp copy-in '
expect "$(offered insp appliance '')" warm 'insp appliance '
expect "$(offered insp backup '')" restore 'insp backup '
expect "$(offered insp backup create '')" disk-two.img 'insp backup create '
expect "$(offered insp help '')" copy-out 'insp help '
expect "$(offered insp touch --time '')" mtime 'insp touch --time '
# The guest's paths are not the host's.
guest=$(offered insp cat -a x.img '')
[ -z "$guest" ] || fail "a guest's path is completed by files of the host: $guest"

[ $failures = 0 ]
