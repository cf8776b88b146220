# PID 1 of the emulated host, second half: runs one job and tells its end. $1 is the mark that closes both output
# streams, $2 is `pipe`, `none` or ROWSxCOLUMNS.
end=$1
screen=$2
dir=/run/kvmhost
busybox=$dir/busybox

exec 4>/dev/vport0p2 5>/dev/vport0p3
$busybox cat <$dir/out >&4 &
out=$!
$busybox cat <$dir/err >&5 &
err=$!
copier=$err
stdin=$dir/in
if [ "$screen" = none ]; then
    stdin=/dev/null
else
    $busybox cat </dev/vport0p4 >$dir/in &
    copier=$!
fi

case $screen in
none | pipe)
    $busybox sh $dir/job <$stdin >$dir/out 2>$dir/err 3>&- 4>&- 5>&-
    code=$?
    ;;
*)
    rows=${screen%x*}
    columns=${screen#*x}
    # The only pseudo-terminal of a fresh host is number 0.
    while read -r verb r c; do
        [ "$verb" = SIZE ] && $busybox stty -F /dev/pts/0 rows "$r" cols "$c"
    done <&3 >/dev/null 2>&1 4>&- 5>&- &
    copier=$!
    SHELL=/bin/sh /usr/bin/script -qefc "stty rows $rows cols $columns; exec $busybox sh $dir/job" /dev/null \
        <$stdin >$dir/out 2>$dir/err 3>&- 4>&- 5>&-
    code=$?
    ;;
esac

# As with a container's first process: when it ends, so does what it left running. Whatever is younger than the copiers
# is the job's (or a kernel thread, which no signal reaches).
for process in /proc/[0-9]*; do
    process=${process#/proc/}
    [ "$process" -gt $copier ] && kill -9 "$process" 2>/dev/null
done
wait $out $err
$busybox printf %s "$end" >&4
$busybox printf %s "$end" >&5
$busybox sync
echo "EXIT $code" >&3
# The machine is ended from outside, once both streams have arrived whole.
while :; do $busybox sleep 1000000; done
