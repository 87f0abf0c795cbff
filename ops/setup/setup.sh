#!/bin/sh
# Prepares this tree on Debian, Ubuntu and their kin; the Makefile calls it.
#
#   setup.sh system DIR [NAME...]   the programs are on PATH, and a virtual environment can be made in DIR
#   setup.sh venv DIR LOCK          there is one, with what the lock file names and with this package, editable
#
# What is missing of the system is installed by apt-get when root; otherwise the way to install it is said, and the
# script ends with 1. $PYTHON chooses the interpreter of a new environment.
set -eu

say() { printf 'setup: %s\n' "$*" >&2; }

die() {
    say "$@"
    exit 1
}

# The first Python that is new enough; of these, the first that can make a virtual environment by itself.
find_python() {
    chosen=
    for name in ${PYTHON:-python3.14 python3.13 python3.12 python3.11 python3}; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue
        if "$name" -c 'import ensurepip' >/dev/null 2>&1; then
            chosen=$name
            break
        fi
        chosen=${chosen:-$name}
    done
    [ -n "$chosen" ] || die "Python 3.11 or newer is needed and none was found (looked for: ${PYTHON:-python3.14 to python3.11, python3})"
    printf '%s\n' "$chosen"
}

# install_packages WHY PACKAGE...
install_packages() {
    why=$1
    shift
    command -v apt-get >/dev/null || die "$why. There is no apt-get here: install what Debian calls $* and try again"
    [ "$(id -u)" -eq 0 ] || die "$why. Type: sudo apt-get update && sudo apt-get install --no-install-recommends $*"
    say "$why; installing $*"
    # A package may start its service when it is installed (redis-server does). This file is Debian's way to say no.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        trap 'exit 130' INT TERM HUP
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
    fi
    # Standard output is kept for the command that was asked for; nobody is there to answer a question.
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2 </dev/null || say "apt-get update failed; going on with the package lists that are here"
    apt-get install -qq --yes --no-install-recommends "$@" >&2 </dev/null || die "apt-get could not install $*"
}

system() {
    directory=$1
    shift
    why=
    packages=
    if [ ! -x "$directory/bin/python" ]; then
        python=$(find_python)
        if ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
            why="$python cannot make a virtual environment (its ensurepip is missing); "
            packages=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
        fi
    fi
    for name; do
        command -v "$name" >/dev/null && continue
        why="$why$name is not on PATH; "
        case $name in
            /usr/bin/python3) packages="$packages python3" ;;
            dpkg-deb) packages="$packages dpkg" ;;
            ip) packages="$packages iproute2" ;;
            man) packages="$packages man-db" ;;
            nft) packages="$packages nftables" ;;
            promtool) packages="$packages prometheus" ;;
            systemd-analyze) packages="$packages systemd" ;;
            *) packages="$packages $name" ;;
        esac
    done
    [ -n "$packages" ] || return 0
    # shellcheck disable=SC2086  # a list of package names
    install_packages "${why%; }" $packages
    for package in $packages; do
        case $package in
            redis-server | prometheus | nginx)
                # Nor is a server that nobody asked for to come up at the next boot.
                ! command -v systemctl >/dev/null || systemctl disable --quiet "$package.service" || true
                ;;
        esac
    done
    for name; do
        command -v "$name" >/dev/null || die "$name is installed, but not on PATH ($PATH)"
    done
}

venv() {
    directory=$1
    lock=$2
    # Also one whose interpreter has gone, or whose making was cut short, is made anew.
    if ! "$directory/bin/python" -m pip --version >/dev/null 2>&1; then
        rm -rf "$directory"
        system "$directory"
        python=$(find_python)
        say "making $directory with $("$python" --version)"
        "$python" -m venv "$directory"
    fi
    say "installing $lock into $directory"
    pip="$directory/bin/python -m pip install --quiet --no-input --disable-pip-version-check"
    $pip --require-hashes --requirement "$lock"
    # Everything that the package needs is there now: no index is asked.
    $pip --no-index --no-deps --no-build-isolation --editable .
}

cd "$(dirname "$0")/../.."
verb=${1:?"usage: setup.sh system DIR [NAME...] | venv DIR LOCK"}
shift
case $verb in
    system) system "$@" ;;
    venv) venv "$@" ;;
    *) die "no such verb: $verb" ;;
esac
