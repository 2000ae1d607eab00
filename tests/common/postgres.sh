# Runs a PostgreSQL server until standard input is closed.
# Arguments: the directory of the programs, an empty directory, the port.
set -euo pipefail
programs=$1 directory=$2 port=$3
as_user=()
if [ "$(id -u)" = 0 ]; then
    # The server does not run as root.
    user=$(id -un postgres 2>/dev/null || echo nobody)
    chown "$user" "$directory"
    as_user=(setpriv "--reuid=$user" "--regid=$(id -gn "$user")" --clear-groups)
fi
stop() {
    "${as_user[@]}" "$programs/pg_ctl" -D "$directory/data" -m immediate -w stop >/dev/null 2>&1 || true
    rm -rf "$directory"
}
trap '' INT TERM
cd "$directory"
"${as_user[@]}" "$programs/initdb" -D "$directory/data" -U postgres --auth=trust --no-locale -E UTF8 --no-sync >"$directory/log" 2>&1
cat >>"$directory/data/postgresql.conf" <<SETTINGS
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$directory'
max_connections = 300
# The tests stop instances, and not this server.
fsync = off
full_page_writes = off
SETTINGS
"${as_user[@]}" "$programs/pg_ctl" -D "$directory/data" -w -l "$directory/server.log" start >>"$directory/log" 2>&1 </dev/null
trap stop EXIT
echo ready
cat >/dev/null
