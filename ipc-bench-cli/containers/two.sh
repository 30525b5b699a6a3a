#!/bin/sh
# A server in one container and clients in another: only a directory with sockets is shared, no IPC or PID namespace.
# From the root of the workspace: ipc-bench-cli/containers/two.sh
# Ends with 0 and says why where no engine runs; ENGINE names one.
set -eu
for engine in ${ENGINE:-podman docker}; do
    if "$engine" info >/dev/null 2>&1; then break; fi
    engine=
done
if [ -z "$engine" ]; then
    echo "skipped: neither podman nor docker runs here; start one, or name it with ENGINE"
    exit 0
fi
image=ipc-bench:$$
volume=ipc-bench-$$
server=ipc-bench-server-$$
clean() {
    "$engine" rm --force "$server" >/dev/null 2>&1 || true
    "$engine" volume rm "$volume" >/dev/null 2>&1 || true
    "$engine" rmi "$image" >/dev/null 2>&1 || true
}
trap clean EXIT INT TERM
"$engine" build --file Containerfile --tag "$image" .
"$engine" volume create "$volume" >/dev/null
"$engine" run --detach --name "$server" --volume "$volume:/run/ipc" "$image" \
    server uds:/run/ipc/uds.sock shm:/run/ipc/shm.sock mq:/run/ipc/mq.sock >/dev/null
for address in uds:/run/ipc/uds.sock shm:/run/ipc/shm.sock mq:/run/ipc/mq.sock; do
    # The client looks for the server by itself, for 30 s.
    "$engine" run --rm --volume "$volume:/run/ipc" "$image" \
        client "$address" --mode rtt -s 64 -d 100ms --trials 3 --pin none
done
# A name that is not there is told with a hint, not waited for.
if "$engine" run --rm "$image" client uds:/run/ipc/uds.sock --retry 0s --mode rtt; then
    echo "a client without the shared directory found a server"
    exit 1
fi
echo "two containers: ok"
