#!/usr/bin/env bash
# Follows a stream with curl, from one connection to the next, and prints each event as one line of JSON.
# In the environment: SERVER, its address; TOKEN, a bearer token. Ends after the message that says "the end".
set -uo pipefail

last_event_id=
retry_milliseconds=3000
while true; do
    headers=(-H "Authorization: Bearer $TOKEN" -H 'Accept: text/event-stream')
    [ -z "$last_event_id" ] || headers+=(-H "Last-Event-ID: $last_event_id")
    exec 3< <(exec curl --no-buffer --silent --fail --noproxy '*' "${headers[@]}" "$SERVER/output/stream")
    curl=$!
    id=$last_event_id
    data=
    # What is cut off in the middle of a line or of an event is no event.
    while IFS= read -r line <&3; do
        case "$line" in
            'id: '*) id="${line#id: }" ;;
            'data: '*) data="${line#data: }" ;;
            'retry: '*) retry_milliseconds="${line#retry: }" ;;
            '')
                last_event_id=$id
                [ -z "$data" ] || printf '{"id":"%s","data":%s}\n' "$last_event_id" "$data"
                case "$data" in
                    *'"content":"the end"'*)
                        kill "$curl"
                        exit 0
                        ;;
                esac
                data=
                ;;
        esac
    done
    exec 3<&-
    printf 'follow: the stream ended after %s\n' "$last_event_id" >&2
    sleep "$(printf '%d.%03d' $((retry_milliseconds / 1000)) $((retry_milliseconds % 1000)))"
done
