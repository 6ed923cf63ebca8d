# What busybox does all day, each part with its outcome: files, pipes, processes. $1: busybox. In an empty directory.
b=$1
umask 022
part() { echo "-- $*"; }

part files
mkdir -p a/b; echo one > a/x; $b cp -a a/x a/y; $b ln a/x a/b/hard; $b ln -s x a/soft; $b mv a/y a/b/moved
$b chmod 640 a/x; $b touch -d '2001-02-03 04:05:06' a/x; $b stat -c '%a %s %h %Y %F' a/x; $b stat -c '%a %h %F' a/soft; $b readlink a/soft
$b find a | $b sort; $b dd if=/dev/zero of=zeros bs=1k count=40 2>/dev/null; $b truncate -s 100 zeros; $b wc -c zeros
$b mkfifo pipe; (echo through the pipe > pipe &); $b cat pipe; $b ls -l a | $b wc -l; $b fallocate -l 5000 room; $b du room
$b mktemp -d ./tmp.XXXXXX | $b wc -c; $b rmdir tmp.*
$b cat /nonexistent; echo $?

part text
$b seq 1 300 | $b awk '{ s += $1 * $1 } END { print s, NR }'; $b seq 20 | $b tac | $b head -n 3 | $b tr '\n' ' '; echo
printf 'b 2\na 1\nc 3\n' | $b sort | $b sed -n 's/^\(.\) \(.\)$/\2\1/p' | $b paste -s -d,
$b seq 100 > left; $b sed 's/^50$/fifty/' left > right; $b diff left right; $b cmp left right
$b expr 6 '*' 7; echo '2^70' | $b bc; $b factor 1234567; $b printf '%s|%5d\n' x 42; $b xxd -l 16 left; $b cut -c1 right | $b uniq -c | $b tail -n 2
$b md5sum left; $b sha256sum right; $b sha3sum left

part archives
$b tar cf a.tar left right; $b tar tf a.tar; $b gzip -k left; $b gunzip -c left.gz | $b cmp - left; echo $?
mkdir out; $b tar xf a.tar -C out; $b cmp out/left left; echo $?; $b bzip2 -k right; $b bzcat right.bz2 | $b md5sum
printf 'left\nright\n' | $b cpio -o -H newc 2>/dev/null | $b cpio -t 2>/dev/null; $b uuencode left.gz x < left | $b wc -l; rm left.gz a.tar

part processes
$b seq 1 40 | $b xargs -n 7 echo | $b wc -l; $b seq 1 6 | $b xargs -P 3 -n 1 $b sh -c 'exit 0'; echo $?
($b sleep 0.1; exit 9) & wait $!; echo $?
$b sh -c 'kill -TERM $$; echo not reached'; echo $?
trap 'echo usr1' USR1; kill -USR1 $$; echo after
$b timeout 5 $b sh -c "exit 4"; echo $?
$b setsid $b sh -c 'echo in a session'; $b setpriv --nnp $b true; echo $?
$b sleep 60 & kill $!; wait $!; echo $?
for i in 1 2 3 4; do (echo $i > job.$i; exit $i) & done; wait; $b cat job.1 job.2 job.3 job.4
$b yes | $b head -n 1000 | $b tee copy | $b wc -l; $b wc -l < copy
$b time -f %C true 2>&1; $b taskset 1 true; echo $?; $b ionice -c 3 true; echo $?; $b renice 5 $$; echo $?
x=$($b env -i A=5 $b sh -c 'echo $A'); echo $x; $b id -u > /dev/null; $b uname -s; $b test -w . ; echo $?

part machine
$b linux32 $b uname -m; $b linux64 $b uname -m; $b mknod fifo p; echo $?; $b ip link show lo > /dev/null; echo $?
$b mount > /dev/null; echo $?; $b free > /dev/null; echo $?; $b nproc > /dev/null; echo $?; $b chown $($b id -u) left; echo $?
