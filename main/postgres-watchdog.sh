# Runs PostgreSQL under a watchdog. The server passes this text to `sh -c`, in a session of its own, with
# the PostgreSQL command as arguments and a pipe on standard input that only the server holds open.
#
# This shell becomes PostgreSQL itself (`exec`), so the server sees its exit status directly. Before that it
# leaves a guard behind: forked twice, so that PostgreSQL is not its parent. The guard waits on the pipe:
#   a line arrives  PostgreSQL has ended and the server knows it: nothing to do
#   end of file     the server died, however it died: stop PostgreSQL at once (SIGQUIT, no checkpoint; the
#                   next start recovers from the write-ahead log), and kill it if that takes 10 seconds
ulimit -c 0
postmaster=$$
exec 3<&0 </dev/null
(
  (
    trap '' HUP INT TERM
    read -r line <&3 && exit 0
    kill -QUIT "$postmaster" || exit 0
    tries=0
    while [ "$tries" -lt 50 ] && kill -0 "$postmaster"; do
      sleep 0.2
      tries=$((tries + 1))
    done
    kill -KILL "$postmaster"
  ) >/dev/null 2>&1 &
)
exec 3<&-
exec "$@"
