#!/usr/bin/env bash
# Three nodes of Roost on one PostgreSQL, with a simulated WhatsApp, on this machine: numbers are paired,
# messages are sent through different nodes, the node that runs a number is killed with -9, and the number
# comes back on another one. Takes under two minutes after the build, and exits 0 only when all of it held.
#
#   scripts/cluster.sh
#
# Builds what it needs, unless ROOST_BIN and ROOST_SANDBOX_BIN name a `roost` that was built with
# `--features sandbox`, and a `roost-sandbox`. Needs bash, curl and PostgreSQL's server programs
# (Debian: apt-get install postgresql). Uses free ports and a folder of its own, and removes everything.
set -euo pipefail
cd "$(dirname "$0")/.."

NUMBERS=6
NODES=(node-1 node-2 node-3)
LEASE=4

# ---------------------------------------------------------------- talking

begun=$EPOCHREALTIME
now_ms() { echo $((${EPOCHREALTIME/[.,]/} / 1000)); }
seconds() { printf '%d.%d' $(($1 / 1000)) $(($1 % 1000 / 100)); }
since_start() { seconds $((($(now_ms) - ${begun/[.,]/} / 1000))); }
say() { printf '%6s s  %s\n' "$(since_start)" "$*"; }
title() { printf '\n%s\n' "$*"; }
fail() {
    printf '\n%6s s  FAILED: %s\n' "$(since_start)" "$*" >&2
    for log in "$folder"/*.log; do
        printf '\n--- the end of %s\n' "$log" >&2
        tail -n 8 "$log" >&2
    done
    exit 1
}

# ---------------------------------------------------------------- starting and cleaning up

folder=$(mktemp -d "${TMPDIR:-/tmp}/roost-cluster.XXXXXX")
declare -A pid=() api=()
sandbox_pid='' postgres=''

clean_up() {
    status=$?
    trap - EXIT
    for running in "${pid[@]}" $sandbox_pid; do kill -9 "$running" 2>/dev/null || true; done
    if [[ $postgres ]]; then as_postgres "$postgres/pg_ctl" stop -m immediate -D "$folder/pg/data" >/dev/null 2>&1 || true; fi
    wait 2>/dev/null || true
    rm -rf "$folder"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# PostgreSQL refuses to run as root.
as_postgres() {
    if ((EUID == 0)); then (cd "$folder" && setpriv --reuid=postgres --regid=postgres --clear-groups "$@"); else "$@"; fi
}

free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 12000))
        if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            echo $port
            return
        fi
    done
}

start_postgres() {
    postgres=$(find /usr/lib/postgresql -path '*/bin/initdb' 2>/dev/null | sort -V | tail -n 1)
    postgres=${postgres%/initdb}
    [[ $postgres ]] || {
        echo 'There is no PostgreSQL server: apt-get install postgresql' >&2
        exit 1
    }
    local port
    port=$(free_port)
    mkdir "$folder/pg"
    chmod 711 "$folder"
    if ((EUID == 0)); then chown postgres: "$folder/pg"; fi
    as_postgres "$postgres/initdb" -A trust -U roost -E UTF8 --no-sync -D "$folder/pg/data" >"$folder/postgres.log" 2>&1 ||
        fail 'initdb'
    as_postgres "$postgres/pg_ctl" start -w -D "$folder/pg/data" -l "$folder/pg/log" \
        -o "-c port=$port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$folder/pg -c fsync=off" \
        >>"$folder/postgres.log" 2>&1 || fail 'PostgreSQL does not start'
    export ROOST__STORE__URL="postgres://roost@127.0.0.1:$port/postgres"
    say "PostgreSQL runs on port $port"
}

start_sandbox() {
    "$sandbox_bin" --listen 127.0.0.1:0 --media-listen 127.0.0.1:0 >"$folder/sandbox.log" 2>&1 &
    sandbox_pid=$!
    until sandbox=$(sed -n 's/^roost-sandbox listens on //p' "$folder/sandbox.log" 2>/dev/null) && [[ $sandbox ]]; do
        kill -0 $sandbox_pid 2>/dev/null || fail 'the sandbox does not start'
        sleep 0.05
    done
    say "the simulated WhatsApp runs at $sandbox"
}

start_nodes() {
    local node
    for node in "${NODES[@]}"; do
        ROOST__CLUSTER__NODE=$node ROOST__CLUSTER__CERTIFICATE_FILE=$folder/certs/$node.pem \
            ROOST__CLUSTER__KEY_FILE=$folder/certs/$node.key "$roost_bin" serve --listen 127.0.0.1:0 --data-dir "$folder/$node" \
            --ready-file "$folder/$node.ready" >"$folder/$node.log" 2>&1 &
        pid[$node]=$!
    done
    for node in "${NODES[@]}"; do
        until [[ -s $folder/$node.ready ]]; do
            kill -0 "${pid[$node]}" 2>/dev/null || fail "$node does not start"
            sleep 0.05
        done
        api[$node]=$(field api <"$folder/$node.ready")
        say "$node answers at ${api[$node]}"
    done
}

# ---------------------------------------------------------------- calls

# The first field of this name in the JSON on the standard input.
field() { grep -o "\"$1\":\"[^\"]*\"" | head -n 1 | cut -d '"' -f 4; }

# One call to one node: METHOD PATH [BODY] [IDEMPOTENCY-KEY]. The answer's status is in $status, its body in $body.
call() {
    local node=$1 method=$2 path=$3 data=${4:-} key=${5:-} answer
    answer=$(curl -s -m 10 -w '\n%{http_code}' -X "$method" "${api[$node]}$path" \
        -H "Authorization: Bearer $tenant_key" -H 'Content-Type: application/json' \
        ${data:+-d "$data"} ${key:+-H "Idempotency-Key: $key"}) || true
    status=${answer##*$'\n'} body=${answer%$'\n'*}
}

# The same, to one node after the other until one has carried it out. That node is in $through.
must() {
    local deadline=$(($(now_ms) + 30000)) node
    refused=0
    while (($(now_ms) < deadline)); do
        for node in "${alive[@]}"; do
            call "$node" "$@"
            through=$node
            if [[ $status == 2* ]]; then return; fi
            refused=$((refused + 1))
        done
        sleep 0.1
    done
    fail "no node carries out $1 $2: $status $body"
}

control() { curl -sf -m 30 "$sandbox/sandbox/v1$1" ${2:+-d "$2"}; }

# The node that runs an instance, as the operator sees it.
owner() {
    local node found
    for node in "${alive[@]}"; do
        found=$(curl -s -m 5 -H "Authorization: Bearer $operator_key" "${api[$node]}/v1/operator/actors?kind=instance" |
            tr '{' '\n' | grep -F "\"instance/$1\"" | field node) || true
        if [[ $found ]]; then
            echo "$found"
            return
        fi
    done
}

# How often a phone received a text.
received() { control "/accounts/$1/messages" | tr '{' '\n' | grep -F '"direction":"received"' | grep -cF "\"text\":\"$2\"" || true; }

# Whether the instance's device is connected.
connected() { [[ $(control "/accounts/$1/devices") == *'"connected":true'* ]]; }

wait_for() {
    local what=$1 deadline=$(($(now_ms) + 40000))
    shift
    until "$@"; do
        (($(now_ms) < deadline)) || fail "$what"
        sleep 0.05
    done
}

has_received() { [[ $(received "$1" "$2") -ge 1 ]]; }

# ---------------------------------------------------------------- what is shown

declare -a instance=()
phone() { printf '491511000%02d' "$1"; }
peer() { printf '491512000%02d' "$1"; }

pair() {
    local number=$1 node=${NODES[$1 % 3]} code
    control /accounts "{\"phone_number\":\"$(phone "$number")\",\"name\":\"Shop $number\"}" >/dev/null
    control /accounts "{\"phone_number\":\"$(peer "$number")\",\"name\":\"Customer $number\"}" >/dev/null
    alive=("$node" "${NODES[@]}")
    must POST /v1/instances "{\"name\":\"shop $number\"}"
    instance[number]=$(field id <<<"$body")
    must POST "/v1/instances/${instance[number]}/connect" '{"method":"qr"}'
    code=''
    wait_for "no QR code for number $number" has_code
    control "/accounts/$(phone "$number")/scan" "{\"code\":\"$code\"}" >/dev/null || fail "number $number could not be paired"
    wait_for "number $number does not connect" connected "$(phone "$number")"
    alive=("${NODES[@]}")
    say "number $number is paired through $node, and runs on $(owner "${instance[number]}")"
}

has_code() {
    local node
    for node in "${alive[@]}"; do
        call "$node" GET "/v1/instances/${instance[number]}/qr"
        code=$(field code <<<"$body")
        if [[ $code == *@* ]]; then return 0; fi
    done
    return 1
}

# NUMBER TEXT: sends through the node that is first in $alive, or another if that cannot.
send() {
    local key="demo-$1-${2// /-}"
    must POST "/v1/instances/${instance[$1]}/messages" \
        "{\"to\":\"$(peer "$1")\",\"type\":\"text\",\"text\":{\"body\":\"$2\"}}" "$key"
}

if [[ -z ${ROOST_BIN:-} || -z ${ROOST_SANDBOX_BIN:-} ]]; then
    title 'Building'
    cargo build --locked --features sandbox -p roost -p roost-sandbox
fi
built="${CARGO_TARGET_DIR:-target}/debug"
roost_bin=$(realpath "${ROOST_BIN:-$built/roost}") sandbox_bin=$(realpath "${ROOST_SANDBOX_BIN:-$built/roost-sandbox}")
begun=$EPOCHREALTIME
say "$("$roost_bin" --version), in $folder"

title 'A database, a simulated WhatsApp, three nodes'
start_postgres
start_sandbox
ROOST__STORE__MASTER_KEY=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
ROOST__CLUSTER__COOKIE=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export ROOST__STORE__MASTER_KEY ROOST__CLUSTER__COOKIE
export ROOST__WHATSAPP__URL="${sandbox/http:/ws:}/ws/chat"
export ROOST__CLUSTER__LEASE="${LEASE}s" ROOST__CLUSTER__STABLE_FOR=1s ROOST__CLUSTER__LISTEN=127.0.0.1:0
"$roost_bin" cluster certs --dir "$folder/certs" "${NODES[@]}" >"$folder/certs.log" 2>&1 || fail 'no certificates'
export ROOST__CLUSTER__AUTHORITY_FILE="$folder/certs/authority.pem"
say 'each node has a certificate of its own: they speak to each other over mutual TLS'
roost() { ROOST__LOG__FILTER=error "$roost_bin" "$@" --data-dir "$folder/keys" 2>>"$folder/keys.log"; }
tenant=$(roost tenant create demo) || fail 'no tenant'
tenant_key=$(roost key create --tenant "$tenant") && tenant_key=${tenant_key##*[[:space:]]}
operator_key=$(roost key create --operator) && operator_key=${operator_key##*[[:space:]]}
start_nodes
alive=("${NODES[@]}")

# Nodes that have just come are given their share; nobody is to be paired on the way.
sleep 3

title "$NUMBERS numbers, each on one node"
for ((number = 1; number <= NUMBERS; number++)); do pair $number; done

title 'Any node takes a message for any number'
for node in "${NODES[@]}"; do
    alive=("$node" "${NODES[@]}")
    send 1 "through $node"
    wait_for "the message through $node was not delivered" has_received "$(peer 1)" "through $node"
    say "sent through $node, for number 1 on $(owner "${instance[1]}"): the customer has it"
done

title 'The node that runs number 1 is killed with -9'
victim=$(owner "${instance[1]}")
[[ $victim ]] || fail 'nobody runs number 1'
alive=()
for node in "${NODES[@]}"; do if [[ $node != "$victim" ]]; then alive+=("$node"); fi; done
declare -a moved=()
for ((number = 1; number <= NUMBERS; number++)); do
    if [[ $(alive=("${NODES[@]}"); owner "${instance[number]}") == "$victim" ]]; then moved+=("$number"); fi
done
kill -9 "${pid[$victim]}"
killed=$(now_ms)
wait "${pid[$victim]}" 2>/dev/null || true
unset "pid[$victim]"
say "$victim is gone; it ran these numbers: ${moved[*]}. Its lease of $LEASE s has to run out before others may act for them"
send 1 'after the crash'
say "a message for number 1 is accepted by $through, after $refused answers of 503 (the same Idempotency-Key each time)"
for number in "${moved[@]}"; do
    wait_for "number $number does not come back" connected "$(phone "$number")"
    new=$(owner "${instance[number]}")
    say "number $number is connected again, on ${new:-?}, $(seconds $(($(now_ms) - killed))) s after the kill; nobody scanned anything"
    [[ $new != "$victim" ]] || fail "$victim is dead"
done
wait_for 'the message was not delivered' has_received "$(peer 1)" 'after the crash'
say 'the customer of number 1 has the message'

title 'What has to hold'
for text in "through ${NODES[0]}" "through ${NODES[1]}" "through ${NODES[2]}" 'after the crash'; do
    [[ $(received "$(peer 1)" "$text") == 1 ]] || fail "the customer received '$text' $(received "$(peer 1)" "$text") times"
done
say 'every message reached the phone, once'
for ((number = 1; number <= NUMBERS; number++)); do
    # A login that throws out a living one: two nodes would have acted for one number.
    if control "/accounts/$(phone "$number")/logins" | grep -qF '"ended_for":"replaced"'; then
        fail "number $number was logged in twice at the same time"
    fi
done
say 'WhatsApp never saw a number logged in twice at the same time'
title "It held. $(since_start) s in all; everything is being removed."
