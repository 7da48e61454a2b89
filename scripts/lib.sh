# Shared by the scripts in this folder; source it, do not run it.
# shellcheck shell=bash

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
TOOLS=$ROOT/.dev/tools
SCRIPT=${0##*/}

# Progress and complaints go to stderr: stdout belongs to the answer.
say() { printf '%s: %s\n' "$SCRIPT" "$*" >&2; }

# die WHAT [FIX]...: says what failed, then how to mend it.
die() {
    printf '%s: error: %s\n' "$SCRIPT" "$1" >&2
    shift
    if (($# > 0)); then printf '  fix: %s\n' "$@" >&2; fi
    exit "$DIED"
}

# `set -e` alone dies without a word. What `die` has explained needs no second message from the shells around it.
DIED=70
set -E
trap '[[ $? == "$DIED" ]] || say "stopped at line $LINENO, where this failed: $BASH_COMMAND"' ERR

# excerpt FILE [LINES]: the end of a log, indented, for an error message.
excerpt() {
    [[ -s $1 ]] || return 0
    printf '  --- last lines of %s\n' "$1" >&2
    tail -n "${2:-15}" "$1" | sed 's/^/  | /' >&2
}

have() { command -v "$1" >/dev/null 2>&1; }

am_root() { [[ $(id -u) == 0 ]]; }

# apt_install PACKAGE...: installs Debian packages when root; otherwise says which command an administrator would run.
apt_install() {
    if ! have apt-get; then
        die "missing: $*, and this is no Debian-like system" "install the equivalent of: $*"
    fi
    if ! am_root; then
        die "missing Debian packages: $*" "sudo scripts/dev packages"
    fi
    local log
    log=$(mktemp)
    say "installing $* from the Debian archive (may take a minute)"
    local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -y -q -o DPkg::Lock::Timeout=120)
    # Package lists may be absent (container images) or stale (404): refresh them only when the first try fails.
    if ! "${apt[@]}" install --no-install-recommends "$@" </dev/null >"$log" 2>&1; then
        if ! { "${apt[@]}" update && "${apt[@]}" install --no-install-recommends "$@"; } </dev/null >"$log" 2>&1; then
            excerpt "$log"
            rm -f "$log"
            die "apt-get could not install: $*" \
                "mend the apt sources or the network until 'apt-get update' works, then run this again"
        fi
    fi
    rm -f "$log"
}

# need_python: python3 with pip, from Debian when missing.
need_python() {
    have python3 || apt_install python3 python3-pip
    python3 -m pip --version >/dev/null 2>&1 || apt_install python3-pip
}

# wheel_binary PACKAGE VERSION FILE: prints the path of the executable FILE from the PyPI wheel PACKAGE==VERSION,
# downloading it into .dev/tools first when it is not there. Nothing is installed into the system's Python.
wheel_binary() {
    local package=$1 version=$2 file=$3
    local target=$TOOLS/$package-$version/$file
    if [[ ! -x $target ]]; then
        need_python
        mkdir -p "$TOOLS"
        local tmp found
        tmp=$(mktemp -d "$TOOLS/tmp.XXXXXX")
        say "downloading $package $version from the Python package index"
        if ! python3 -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: \
            --dest "$tmp" "$package==$version" </dev/null >"$tmp/log" 2>&1; then
            excerpt "$tmp/log"
            rm -rf "$tmp"
            die "pip could not download $package==$version" \
                "check the network and pip's index (pip config list), then run again"
        fi
        python3 -m zipfile -e "$tmp"/*.whl "$tmp/wheel"
        found=$(find "$tmp/wheel" -type f -name "$file" -path '*/scripts/*' -print -quit)
        if [[ -z $found ]]; then
            rm -rf "$tmp"
            die "the wheel $package $version holds no executable '$file'"
        fi
        chmod 755 "$found"
        # A rename, so that a second process never sees half a file.
        mkdir -p "${target%/*}"
        mv -f "$found" "$target"
        rm -rf "$tmp"
    fi
    printf '%s\n' "$target"
}

# python_packages NAME REQUIREMENT...: prints a folder with these packages, installing them into .dev/tools first.
python_packages() {
    local name=$1 target
    shift
    target=$TOOLS/$name-$(printf '%s\n' "$@" | cat - "${REQUIREMENTS:-/dev/null}" | sha256sum | cut -c1-12)
    if [[ ! -d $target ]]; then
        need_python
        mkdir -p "$TOOLS"
        local tmp
        tmp=$(mktemp -d "$TOOLS/tmp.XXXXXX")
        say "installing $name from the Python package index"
        if ! python3 -m pip --disable-pip-version-check install --quiet --no-warn-script-location --only-binary=:all: \
            --target "$tmp/site" "$@" </dev/null >"$tmp/log" 2>&1; then
            excerpt "$tmp/log"
            rm -rf "$tmp"
            die "pip could not install $name" "check the network and pip's index (pip config list), then run again"
        fi
        # A rename, so that a second process never sees half a folder.
        mv "$tmp/site" "$target" 2>/dev/null || [[ -d $target ]]
        rm -rf "$tmp"
    fi
    printf '%s\n' "$target"
}

# is_process PID TEXT: PID is alive and its command line holds TEXT. A pid alone proves nothing: pids are reused.
is_process() {
    local pid=$1 text=$2 args
    [[ $pid =~ ^[0-9]+$ ]] || return 1
    if [[ -d /proc/self ]]; then
        args=$({ tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null) || return 1
    else
        args=$(ps -o args= -p "$pid" 2>/dev/null) || return 1
    fi
    [[ $args == *"$text"* ]]
}

port_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# free_port TAKEN...: a port nobody listens on, below the range from which the kernel hands out client ports.
free_port() {
    local port try
    for ((try = 0; try < 200; try++)); do
        port=$((20000 + RANDOM % 12000))
        if [[ " $* " != *" $port "* ]] && ! port_open "$port"; then
            printf '%s\n' "$port"
            return
        fi
    done
    die "no free port between 20000 and 32000"
}

# stop_process PID TEXT SECONDS: TERM, patience, then KILL.
stop_process() {
    local pid=$1 text=$2 patience=$3 i
    kill -TERM "$pid" 2>/dev/null || return 0
    for ((i = 0; i < patience * 10; i++)); do
        if ! is_process "$pid" "$text"; then return 0; fi
        sleep 0.1
    done
    say "process $pid ignores TERM after $patience s; killing it"
    kill -KILL "$pid" 2>/dev/null || true
}
