"""Completions as the shells make them: each is asked, in a root that has it, what it would complete a line to."""

# A line that is not ended, and words that must be among its completions. An argument that is no flag has its values in
# bash and zsh; for fish clap_complete writes none, and fish offers files.
LINES = (
    ("benchctl st", {"start", "stop"}),
    ("benchctl start --cl", {"--clients", "--clients-table"}),
    ("benchctl server up", {"upgrade"}),
    ("benchctl completions ", {"bash", "zsh", "fish"}),
    ("metronome-server --wo", {"--workers"}),
    ("metronome-agent ru", {"run"}),
)

# The function that bash-completion loads for a command's name, called as bash calls it.
BASH = r"""
. /usr/share/bash-completion/bash_completion
line=$1
read -ra COMP_WORDS <<<"$line"; case $line in *' ') COMP_WORDS+=('') ;; esac
COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=${#line}
_completion_loader "${COMP_WORDS[0]}"
function=$(complete -p "${COMP_WORDS[0]}" | sed -E 's/.*-F ([^ ]+).*/\1/')
"$function" "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" || :
printf '%s\n' "${COMPREPLY[@]}"
"""

# An interactive zsh in a terminal of its own: Tab is pressed, and what is offered goes to a file.
ZSH = r"""
zmodload zsh/zpty
hits=$(mktemp)
zpty shell zsh -f -i
zpty -w shell "PS1= RPS1= LISTMAX=10000; autoload -Uz compinit; compinit -u -D
compadd() {
    local words=(\"\${@[1,(i)(-|--)]}\")
    if [[ \${words[(r)-[OAD]]} == '' ]]; then
        local -a offered; builtin compadd -A offered \"\$@\"; print -lr -- \$offered >>$hits
    fi
    builtin compadd \"\$@\"
}
print ready >>$hits"
for i in {1..200}; do [[ -s $hits ]] && break; sleep 0.05; done
zpty -w -n shell "$1"$'\t'
zpty -w -n shell $'\C-u print finished >>'$hits$'\n'
for i in {1..200}; do grep -q finished $hits && break; sleep 0.05; done
zpty -d shell
grep -v '^ready$\|^finished$' $hits
"""

FISH = r"""complete --do-complete "$argv[1]" | string split --fields 1 \t"""

COMMANDS = {"bash": ("bash", "-c", BASH, "bash"), "zsh": ("zsh", "-f", "-c", ZSH, "zsh"), "fish": ("fish", "-c", FISH)}


def faults(run):
    """What is not completed. `run` runs a script of sh with its arguments, and returns what it printed."""
    found = []
    for shell, command in COMMANDS.items():
        for line, wanted in LINES:
            if shell == "fish" and line.endswith(" "):
                continue
            offered = set(run([*command, line]).split())
            if absent := wanted - offered:
                found.append(f"{shell} completes {line!r} to {sorted(offered)[:20]}, without {sorted(absent)}")
    return found
