# Runs a PostgreSQL server until standard input is closed. Lines of standard input are orders, each of which is confirmed by a line.
# Arguments: the directory of the programs, an empty directory, the port; for a standby, the port of its primary.
set -euo pipefail
programs=$1 directory=$2 port=$3 primary=${4:-}
as_user=()
if [ "$(id -u)" = 0 ]; then
    # The server does not run as root.
    user=$(id -un postgres 2>/dev/null || echo nobody)
    chown "$user" "$directory"
    as_user=(setpriv "--reuid=$user" "--regid=$(id -gn "$user")" --clear-groups)
fi
control() {
    "${as_user[@]}" "$programs/pg_ctl" -D "$directory/data" -w -l "$directory/server.log" "$@" >>"$directory/log" 2>&1 </dev/null
}
stop() {
    signal CONT || true
    control -m immediate stop || true
    rm -rf "$directory"
}
# Sends a signal to all processes of the server.
signal() {
    local main
    main=$(head -n 1 "$directory/data/postmaster.pid" 2>/dev/null) || return 0
    # shellcheck disable=SC2046 # a list of processes
    kill "-$1" "$main" $(cat "/proc/$main/task/$main/children") 2>/dev/null || true
}
trap '' INT TERM
cd "$directory"
if [ -z "$primary" ]; then
    "${as_user[@]}" "$programs/initdb" -D "$directory/data" -U postgres --auth=trust --no-locale -E UTF8 --no-sync >"$directory/log" 2>&1
else
    "${as_user[@]}" "$programs/pg_basebackup" -h 127.0.0.1 -p "$primary" -U postgres -D "$directory/data" -R -c fast --no-sync >"$directory/log" 2>&1
fi
cat >>"$directory/data/postgresql.conf" <<SETTINGS
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$directory'
max_connections = 300
# The tests stop processes, and not this machine.
fsync = off
full_page_writes = off
wal_retrieve_retry_interval = 100ms
SETTINGS
control start
trap stop EXIT
echo ready
while read -r order; do
    case $order in
        kill)
            signal KILL
            # The next start does not believe in a process that nothing waits for.
            rm -f "$directory/data/postmaster.pid" "$directory/.s.PGSQL.$port.lock"
            sleep 0.2
            ;;
        start) control start ;;
        promote) control promote ;;
        pause) signal STOP ;;
        continue) signal CONT ;;
    esac
    echo done.
done
