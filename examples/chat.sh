#!/usr/bin/env bash
# Posts a message to a new conversation, and prints it and the answer. Needs curl and jq.
#
#     examples/chat.sh Hello
#
# On a lost connection it reconnects after three seconds, with the last number that it received in `Last-Event-ID`: it misses no
# event and gets none twice. It prints the answer when it is complete; the other examples print it as it grows.
set -euo pipefail

URL=${CORTEX_URL:-http://127.0.0.1:8000}
EMAIL=${CORTEX_EMAIL:-user@example.com}
PASSWORD=${CORTEX_PASSWORD:-password123}
CONTENT=${*:-Hello}

# Posts JSON from standard input. With its key, a request whose response was lost is repeated, and stored once.
post() {
    curl -sS --fail-with-body --retry 10 --retry-connrefused "$URL$1" -d @- \
        -H 'Content-Type: application/json' -H "Idempotency-Key: $(cat /proc/sys/kernel/random/uuid)" "${@:2}"
}

TOKEN=$(jq -n --arg email "$EMAIL" --arg password "$PASSWORD" '$ARGS.named' | post /auth/login | jq -r .access_token)
AUTH="Authorization: Bearer $TOKEN"
CHAT=$(jq -n '{title: "Example"}' | post /conversations -H "$AUTH" | jq -r .id)
# A stream that starts from the journal's position before the message has the message and everything after it.
LAST=$(curl -sSI "$URL/conversations/$CHAT" -H "$AUTH" | tr -d '\r' | sed -n 's/^x-last-event-id: //Ip')
jq -n --arg conversation_id "$CHAT" --arg content "$CONTENT" '$ARGS.named' | post /input -H "$AUTH" >/dev/null

# The stream ends with this script.
trap 'kill $! 2>/dev/null || true' EXIT
while true; do
    while IFS= read -r line; do
        case $line in
            'id: '*) LAST=${line#id: } ;;
            'data: '*)
                event=${line#data: }
                case $(jq -r .type <<<"$event") in
                    input) jq -r '"\(.data.sender_name): \(.data.content)"' <<<"$event" ;;
                    output)
                        jq -r .data.content <<<"$event"
                        status=$(jq -r .data.status <<<"$event")
                        [ "$status" = complete ] || { echo "the answer was $status" >&2; exit 1; }
                        exit ;;
                    output_error) jq -r '"no answer: \(.data.error)"' <<<"$event" >&2; exit 1 ;;
                esac ;;
        esac
    done < <(curl -sSN --fail "$URL/output/stream?conversation_id=$CHAT" -H "$AUTH" -H "Last-Event-ID: $LAST")
    # 22 is a status such as 401, after which another attempt is of no use.
    wait $! || [ $? != 22 ] || exit 1
    sleep 3
done
