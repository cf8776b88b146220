#!/bin/sh
# Packs one image with this writer and with its peers, in the same minute, in turns; then, where mounting is allowed, reads
# what came out by this machine's kernel: all of it, and 4 KiB here and there.
#
#   benches/roots.sh ARCHIVE [ROUNDS]
#
# ARCHIVE is what `docker save` writes, of one layer, uncompressed. Needs tar2sqfs (squashfs-tools-ng) and mkfs.erofs (erofs-utils).
set -eu
archive=$(realpath "$1")
rounds=${2:-5}
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'umount "$work/mnt" 2>/dev/null || :; rm -rf "$work"' EXIT
layer=$(tar xOf "$archive" manifest.json | sed 's/.*"Layers": *\["\([^"]*\)"\].*/\1/')

# least NAME COMMAND: wall and CPU seconds of the quickest of all rounds so far.
least() {
    name=$1 seconds=$work/$1.time
    shift
    python3 - "$seconds" "$@" <<'PYTHON'
import os, subprocess, sys, time
record, *command = sys.argv[1:]
before, start = os.times(), time.monotonic()
subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
wall, after = time.monotonic() - start, os.times()
cpu = after.children_user + after.children_system - before.children_user - before.children_system
best = min([(wall, cpu)] + ([tuple(map(float, open(record).read().split()))] if os.path.exists(record) else []))
open(record, "w").write("%f %f" % best)
PYTHON
}

echo "packing: least of $rounds, wall s, CPU s, bytes"
cargo build --quiet --release --bench roots
mkdir "$work/mnt"
round=0
while [ $round -lt "$rounds" ]; do
    round=$((round + 1))
    for how in none lz4 zstd; do
        least "ours-$how" env ONLY=$how cargo bench --quiet --bench roots -- "$archive" 1 "$work"
    done
    for how in lz4 zstd; do
        least "tar2sqfs-$how" sh -c "tar xOf '$archive' '$layer' | tar2sqfs -f -q -c $how '$work/sqfs.$how'"
    done
    least mkfs.erofs-lz4 sh -c "rm -rf '$work/tree' '$work/erofs.lz4' && mkdir '$work/tree' &&
        tar xOf '$archive' '$layer' | tar xpC '$work/tree' && mkfs.erofs --quiet -zlz4 '$work/erofs.lz4' '$work/tree'"
done
for name in ours-none ours-lz4 ours-zstd tar2sqfs-lz4 tar2sqfs-zstd mkfs.erofs-lz4; do
    case $name in
        ours-*) image=$work/root.${name#ours-} ;;
        tar2sqfs-*) image=$work/sqfs.${name#tar2sqfs-} ;;
        *) image=$work/erofs.lz4 ;;
    esac
    printf '%-16s %s %s' "$name" "$(cat "$work/$name.time")" "$(stat -c %s "$image")"
    if [ "$(id -u)" = 0 ] && mount -o loop,ro "$image" "$work/mnt" 2>/dev/null; then
        python3 - "$work/mnt" <<'PYTHON'
import os, random, sys, time
root, files = sys.argv[1], []
for place, _, names in os.walk(root):
    files += [os.path.join(place, name) for name in sorted(names)]
files = sorted(path for path in files if os.path.isfile(path) and not os.path.islink(path))
def cold():
    open("/proc/sys/vm/drop_caches", "w").write("3")
def timed(work):
    best = 1e9
    for _ in range(3):
        cold(); start = time.monotonic(); work(); best = min(best, time.monotonic() - start)
    return best
def everything():
    for path in files:
        open(path, "rb").read()
def here_and_there():
    choice = random.Random(1)
    big = [path for path in files if os.path.getsize(path) > 100_000]
    for _ in range(2000):
        path = choice.choice(big)
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        os.pread(fd, 4096, choice.randrange(os.path.getsize(path)) & ~4095)
        os.close(fd)
def small():
    for path in random.Random(2).sample([path for path in files if os.path.getsize(path) < 20_000], 2000):
        open(path, "rb").read()
print("  all %.2f s, 2000 x 4 KiB %.3f s, 2000 small files %.3f s" % (timed(everything), timed(here_and_there), timed(small)), end="")
PYTHON
        umount "$work/mnt"
    fi
    echo
done
