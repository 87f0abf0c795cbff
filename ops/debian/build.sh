#!/bin/sh
# Builds build/deb/portsyncd_VERSION_ARCH.deb; `make deb` calls it.
#
#   build.sh VENV       VENV is the tree's own environment: its pip and its hatchling do the work
#
# The package bundles a virtual environment, /opt/venvs/portsyncd, of the distribution's own Python: nothing is fetched
# when it is installed, and no other package's libraries are used. Nothing is done where nothing has changed since the
# last time; the locked dependencies are installed anew only when the lock, the interpreter or this script has changed.
# The same commit gives the same bytes, wherever and by whomever it is built.
set -eu
umask 022
cd "$(dirname "$0")/../.."

venv=$(cd "${1:?"usage: build.sh VENV"}" && pwd)
python=/usr/bin/python3
prefix=/opt/venvs/portsyncd
out=build/deb
# The date of the bundled dependencies, which have none: the one that hatchling gives the files of a wheel.
wheels_date=1580601600

die() {
    printf 'build.sh: %s\n' "$*" >&2
    exit 1
}

# digest PATH... : of the contents and names of all files there.
digest() {
    find "$@" -name __pycache__ -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16
}

# pip_install ENVIRONMENT ARGUMENT... : by the tree's pip, so that the environment itself needs none.
pip_install() {
    environment=$1
    shift
    "$venv/bin/python" -m pip --python "$environment/bin/python3" install --quiet --no-input \
        --disable-pip-version-check --no-compile "$@"
}

# compile SECONDS ROOT PATH : the daemon may not write below /opt, so its bytecode is brought along. It names its
# source's time and the path that the source will have.
compile() {
    find "$2/$3" -exec touch --no-dereference --date="@$1" {} +
    "$python" -m compileall -q --invalidation-mode timestamp -s "$2" -p / "$2/$3"
}

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "this needs $python, 3.11 or newer"
minor=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
architecture=$(dpkg --print-architecture)
version=$(sed -n 's/^__version__ = "\(.*\)"$/\1/p' src/portsyncd/__init__.py)
deb=$out/portsyncd_${version}_$architecture.deb
# Debian's own variables for who builds a package.
maintainer="${DEBFULLNAME:-portsyncd maintainers} <${DEBEMAIL:-root@localhost}>"
# The last commit's date; a tree without history has that of its change log.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH

mkdir -p "$out"
# Two may build in one tree; the second finds the work done.
exec 9>"$out/lock"
flock 9
sources="src ops requirements/run.txt pyproject.toml README.md CHANGELOG.md LICENSE"
# shellcheck disable=SC2086  # words
made_from="$("$python" --version) $SOURCE_DATE_EPOCH $maintainer $(digest $sources)"
if [ -e "$deb" ] && [ "$made_from" = "$(cat "$out/made-from" 2>/dev/null)" ]; then
    exit 0
fi
rm -rf "$out/made-from" "$out/new" "$out/wheel" "$out/root"

dependencies=$out/dependencies-$( ("$python" --version && cat requirements/run.txt ops/debian/build.sh) | sha256sum | cut -c1-16)
if [ ! -d "$dependencies" ]; then
    rm -rf "$out"/dependencies-*
    new=$out/new$prefix
    "$python" -m venv --without-pip "$new"
    pip_install "$new" --require-hashes --requirement requirements/run.txt
    # Nobody activates it, and the programs of other packages are not what is packaged. The interpreter is named with
    # its minor version: the packages inside are for no other.
    rm -rf "${new:?}/bin" "$new/include"
    mkdir "$new/bin"
    ln -s "/usr/bin/python$minor" "$new/bin/python3"
    sed -i -n '/^home\|^include-system-site-packages\|^version/p' "$new/pyvenv.cfg"
    compile "$wheels_date" "$out/new" "$prefix"
    mv "$out/new" "$dependencies"
fi

root=$out/root
cp -a "$dependencies" "$root"
"$venv/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-index --no-deps --no-build-isolation \
    --wheel-dir "$out/wheel" .
# Found by its name: pip would note down the path of a file that it was given.
pip_install "$root$prefix" --no-index --no-deps --find-links "$out/wheel" "portsyncd==$version"
find "$root$prefix" -type f -exec chmod 644 {} +
# The programs that pip wrote name this folder, and none of them is in the package.
find "$root$prefix" -name RECORD -exec sed -i '/^[./]*bin\//d' {} +
cat >"$root$prefix/bin/portsyncd" <<END
#!$prefix/bin/python3
import sys

from portsyncd.__main__ import main

sys.exit(main())
END
chmod 755 "$root$prefix/bin/portsyncd"
compile "$SOURCE_DATE_EPOCH" "$root" "$prefix/lib/python$minor/site-packages/portsyncd"

# place FILE TARGET [MODE]
place() {
    install -D -m "${3:-644}" "$1" "$root/$2"
}

# generate TARGET COMMAND... : what the command prints, packed if the target says so.
generate() {
    target=$root/$1
    shift
    mkdir -p "${target%/*}"
    "$@" >"$out/generated" || die "this failed: $*"
    case $target in
        *.gz) gzip -9n <"$out/generated" >"$target" ;;
        *) cp "$out/generated" "$target" ;;
    esac
}

changelog() {
    printf 'portsyncd (%s) unstable; urgency=medium\n\n  * What has changed stands in %s/CHANGELOG.md.\n\n -- %s  %s\n' \
        "$version" "/$doc" "$maintainer" "$(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")"
}

doc=usr/share/doc/portsyncd
packaged="$root$prefix/bin/python3 -B"
mkdir -p "$root/usr/bin"
ln -s "$prefix/bin/portsyncd" "$root/usr/bin/portsyncd"
for unit in ops/systemd/*.service; do
    place "$unit" "usr/lib/systemd/system/${unit##*/}"
done
place ops/systemd/portsyncd.sysusers usr/lib/sysusers.d/portsyncd.conf
place ops/systemd/portsyncd.tmpfiles usr/lib/tmpfiles.d/portsyncd.conf
# shellcheck disable=SC2086  # words
{
    generate usr/share/man/man8/portsyncd.8.gz $packaged -m portsyncd.cli.manual
    generate usr/share/bash-completion/completions/portsyncd $packaged -m portsyncd completion bash
    generate usr/share/zsh/vendor-completions/_portsyncd $packaged -m portsyncd completion zsh
}
generate "$doc/changelog.gz" changelog
place CHANGELOG.md "$doc/CHANGELOG.md"
place ops/debian/copyright "$doc/copyright"
# What is bundled, in which versions, under which licences.
"$venv/bin/python" ops/audit/sbom.py requirements/run.txt "$root/$doc/sbom.cdx.json"
place ops/debian/lintian-overrides usr/share/lintian/overrides/portsyncd
place ops/portsyncd.conf.example "$doc/examples/portsyncd.conf"
for example in nginx prometheus grafana supervisord; do
    find "ops/$example" -name tests -prune -o -type f ! -name '*.py*' -print | while read -r file; do
        place "$file" "$doc/examples/${file#ops/}"
    done
done

# The C library that the bundled wheels were made for, as their tags say (PEP 600).
libc=$(grep -rhos --include=WHEEL 'manylinux_[0-9]*_[0-9]*' "$root" | sort -uV | tail -1 | sed 's/manylinux_//; s/_/./')
mkdir "$root/DEBIAN"
sed -e "s/@VERSION@/$version/; s/@ARCHITECTURE@/$architecture/; s/@MAINTAINER@/$maintainer/; s/@PYTHON@/python$minor/" \
    -e "s/@LIBC@/libc6 (>= $libc)/; s/@SIZE@/$(du -sk --apparent-size "$root" | cut -f1)/" \
    ops/debian/control >"$root/DEBIAN/control"
for script in postinst prerm postrm; do
    place "ops/debian/$script" "DEBIAN/$script" 755
done
(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | LC_ALL=C sort -z | xargs -0 md5sum >DEBIAN/md5sums)

# dpkg-deb gives what is younger than SOURCE_DATE_EPOCH that date. A tenth smaller would take it five times as long.
dpkg-deb --root-owner-group -Zxz -z1 --build "$root" "$out/new.deb" >/dev/null
rm -rf "$out"/portsyncd_*.deb "$root" "$out/wheel" "$out/generated"
mv "$out/new.deb" "$deb"
printf '%s\n' "$made_from" >"$out/made-from"
printf 'made %s (%s kB)\n' "$deb" "$(du -k "$deb" | cut -f1)"
