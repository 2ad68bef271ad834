#!/usr/bin/env bash
# Sends the public API what its own OpenAPI document allows and what it forbids, with Schemathesis: no answer may be a
# 5xx, have a status or a content type that is not documented, or break its schema. Starts a sandbox of its own on a
# free port and ends it again. Exit code 0 where all was well, or where Schemathesis cannot be had: then it says so.
#
#   test/schemathesis.sh [examples per operation]      an example is a request
#
# SCHEMATHESIS_SEED repeats a run; SCHEMATHESIS_VENV keeps the installation elsewhere than in node_modules.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=4.32.5
examples=${1:-175}
seed=${SCHEMATHESIS_SEED:-1}
venv=${SCHEMATHESIS_VENV:-$PWD/node_modules/.schemathesis-$version}
start_seconds=120
run_seconds=2400

skip() {
  echo "schemathesis: SKIPPED, nothing was tested: $*" >&2
  exit 0
}
fail() {
  echo "schemathesis: $*" >&2
  exit 1
}

if ! "$venv/bin/schemathesis" --version >/dev/null 2>&1; then
  command -v python3 >/dev/null || skip 'there is no python3 on this machine'
  python3 -m venv "$venv" 2>/dev/null || skip 'python3 cannot make a venv on this machine'
  "$venv/bin/pip" install --quiet --disable-pip-version-check --retries 1 --timeout 20 "schemathesis==$version" ||
    skip "PyPI did not give schemathesis $version"
fi

folder=$(mktemp -d)
: >"$folder.log"
COFFER_DATA_DIR=$folder node main/launch.mjs main/cli.ts start --port auto >"$folder.log" 2>&1 &
sandbox=$!
end() {
  kill -TERM "$sandbox" 2>/dev/null
  wait "$sandbox" 2>/dev/null
  rm -rf "$folder" "$folder.log"
}
trap end EXIT

for ((waited = 0; ; waited++)); do
  grep -q 'Stop with Ctrl-C' "$folder.log" && break
  kill -0 "$sandbox" 2>/dev/null || { cat "$folder.log" >&2; fail 'the sandbox did not start'; }
  ((waited < start_seconds)) || fail "the sandbox was not ready after $start_seconds s"
  sleep 1
done
of_sandbox() { node -p "JSON.parse(require('fs').readFileSync('$folder/sandbox.json', 'utf8')).$1"; }
api_url=$(of_sandbox api_url)
secret_key=$(of_sandbox secret_key)

# Its regular expressions know no halves of characters, and what it sends has none.
document=$folder/openapi.json
curl -fsS "$api_url/openapi.json" | sed 's/\\\\ud800-\\\\udfff//g' >"$document" || fail 'there is no /openapi.json'
# A line of JSON Lines is JSON: what is sent there is one line.
cat >"$folder/hooks.py" <<'PYTHON'
import schemathesis

for media_type in ("application/x-ndjson", "application/jsonl"):
    schemathesis.serializer.alias(media_type, "application/json")
PYTHON
echo "schemathesis: $examples examples an operation, seed $seed"
# In the sandbox's folder, because it leaves notes where it runs. One worker: its threads trip over each other.
(cd "$folder" && SCHEMATHESIS_HOOKS=hooks PYTHONPATH=$folder exec timeout "$run_seconds" "$venv/bin/schemathesis" run "$document" \
  --url "$api_url" --header "Authorization: Bearer $secret_key" \
  --checks not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance \
  --phases examples,coverage,fuzzing --mode all --max-examples "$examples" --seed "$seed" \
  --suppress-health-check all --request-timeout 30 --warnings off)
result=$?

counted=$(curl -fsS "$api_url/metrics" |
  awk '/^coffer_http_requests_total.*route="\/v1\//{sum += $2} END {print sum + 0}')
echo "schemathesis: $counted requests were answered"
if [ "$result" -ne 0 ]; then
  # What the product itself says of an answer that was its own fault; its log holds no card data.
  grep -hE '"level":"(error|fatal)"' "$folder.log" "$folder/coffer.log" 2>/dev/null | tail -n 20 | cut -c -4000 >&2
fi
[ "$result" -eq 0 ] || fail "it found faults (exit code $result); SCHEMATHESIS_SEED=$seed repeats the run"
[ "$counted" -gt 0 ] || fail 'no request reached a route'
