#!/usr/bin/env bash
# Turns a backup into a folder that mongorestore takes, without Regrow: for whoever has the repository, an age identity, and
# nothing else. Needs bash, awk, coreutils, jq (1.6 or later), age and zstd.
#
#   recover-without-regrow.sh REPOSITORY IDENTITY BACKUP OUT_DIR
#
# REPOSITORY is a folder; copy a bucket into one before, with any tool. IDENTITY is the file of the age identity; '-' where
# the backup is not encrypted. BACKUP is an id, a unique beginning of one, or 'latest'. OUT_DIR must not exist, or be empty:
# everything is written there, as plain text for whoever can read it.
#
# Every byte that is used is held against the SHA-256 that the backup's manifest has of it, and the manifest against its
# signature where there is an OpenSSL 3. What a killed run leaves is in OUT_DIR alone, and plain text: remove it, and run it
# again. docs/FORMAT.md says what all of this is.
set -euo pipefail
umask 077

fail() {
    printf 'error: %s\n' "$1" >&2
    [ -z "${2:-}" ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

say() {
    printf '%s\n' "$*" >&2
}

[ $# -eq 4 ] || fail "give REPOSITORY IDENTITY BACKUP OUT_DIR" "the first lines of $0 say what they are"
repository=$1 identity=$2 backup=$3 out=$4

for tool in age zstd jq awk od dd sha256sum; do
    [ "$tool" = age ] && [ "$identity" = - ] && continue
    command -v "$tool" >/dev/null || fail "$tool is not here" "install it: 'apt-get install age zstd jq' has what a Debian lacks"
done

# Prints the id of the backup that was asked for. Ids begin with their time, so the last one is the newest.
find_backup() {
    local found=() manifest
    for manifest in "$repository"/backups/*/manifest.json; do
        [ -f "$manifest" ] || continue
        manifest=${manifest%/manifest.json}
        manifest=${manifest##*/}
        case $backup in
        latest) found=("$manifest") ;;
        *) [ "${manifest#"$backup"}" = "$manifest" ] || found+=("$manifest") ;;
        esac
    done
    [ ${#found[@]} -gt 0 ] || fail "$repository holds no backup '$backup'" "ls $repository/backups shows what it holds"
    [ ${#found[@]} -eq 1 ] || fail "'$backup' means ${found[0]} and ${found[1]}, and perhaps others" "write more of the id"
    printf '%s\n' "${found[0]}"
}

[ -f "$repository/regrow-repository.json" ] || fail "$repository is no repository: regrow-repository.json is missing"
jq -e '.format == "regrow-repository" and .version == 1 and .features == []' "$repository/regrow-repository.json" >/dev/null ||
    fail "$repository has a format that this script does not know" "use the script of the Regrow that wrote it, or a later one"
id=$(find_backup)
manifest=$repository/backups/$id/manifest.json
base=$(jq -r '.payload.incremental.base // empty' "$manifest" 2>/dev/null || true)
[ -z "$base" ] || fail "$id is an increment: it holds what has changed since $(jq -r .payload.incremental.parent "$manifest")" \
    "recover the full backup $base; docs/FORMAT.md says how to apply the increments behind it by hand"
jq -e --arg id "$id" '.payload | .format == "regrow-manifest" and .version == 1 and .id == $id' "$manifest" >/dev/null ||
    fail "$manifest is no manifest of $id that this script knows"
encryption=$(jq -r .payload.encryption "$manifest")

mkdir -p "$out"
[ -z "$(ls -A "$out")" ] || fail "$out is not empty" "name a folder that does not exist"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Takes the SHA-256 that a file must have.
check() {
    local sum
    sum=$(sha256sum <"$1")
    [ "${sum%% *}" = "$2" ] || fail "$3 is damaged: its SHA-256 is not the recorded one" "copy it anew, or recover another backup"
}

# Checks that one of the repository's keys has signed the manifest: the bytes between its first field's name and its last.
check_signature() {
    local text key
    case $(openssl version 2>/dev/null) in
    'OpenSSL '[3-9]* | 'OpenSSL '[1-9][0-9]*) ;;
    *)
        say "note: without OpenSSL 3, whether the manifest is genuine is not checked"
        return
        ;;
    esac
    text=$(<"$manifest")
    text=${text#'{"payload":'}
    printf 'regrow-manifest-v1\n%s' "${text%,\"signature\":*}" >"$work/signed"
    jq -r .signature.value "$manifest" | base64 -d >"$work/signature"
    key=$(jq -r .signature.key "$manifest")
    {
        # What says in DER that an Ed25519 key follows.
        printf '\060\052\060\005\006\003\053\145\160\003\041\000'
        jq -r --arg key "$key" '.signing_keys[] | select(.id == $key).public_key' "$repository/regrow-repository.json" | base64 -d
    } >"$work/public.der"
    openssl pkeyutl -verify -pubin -keyform DER -inkey "$work/public.der" -rawin -in "$work/signed" \
        -sigfile "$work/signature" >/dev/null 2>&1 ||
        fail "$manifest is not signed by a key of this repository" "it was altered: find out by whom, or recover another backup"
}

# Decrypts and decompresses; zstd passes over the header by itself.
open() {
    if [ "$encryption" = none ]; then zstd -dcq; else age -d -i "$identity" | zstd -dcq; fi
}

check_signature

# Prints each document of a run as a line of the numbers of its bytes.
split_documents() {
    od -An -v -tu1 | awk '{
        for (i = 1; i <= NF; i++) {
            printf "%s ", $i
            if (++seen <= 4) size += $i * 256 ^ (seen - 1)
            if (seen >= 5 && seen == size) { print ""; seen = 0; size = 0 }
        }
    } END { exit seen != 0 }'
}

# Reads BSON: of each document of the catalog, what is to be done with it, in lines of fields with tabs between them.
# Options and indexes become canonical extended JSON, in the order of their fields.
plan=$(cat <<'JQ'
split(" ") | map(select(. != "") | tonumber) as $b |

def u32($p): $b[$p] + 256 * $b[$p + 1] + 65536 * $b[$p + 2] + 16777216 * $b[$p + 3];
def i32($p): u32($p) | if . >= 2147483648 then . - 4294967296 else . end;
def padded($digits): tostring | "0" * ($digits - length) + .;

# Numbers beyond 2^53 are not exact in jq, so 64 bits are taken apart into their last six digits and those before.
def decimal($high; $low):
  ($high * 967296 + $low) as $rest | ($rest % 1000000) as $last | ($high * 4294 + ($rest - $last) / 1000000)
  | if . == 0 then $last | tostring else tostring + ($last | padded(6)) end;
def i64($p):
  u32($p) as $low | u32($p + 4) as $high
  | if $high < 2147483648 then decimal($high; $low)
    elif $low == 0 then "-" + decimal(4294967296 - $high; 0)
    else "-" + decimal(4294967295 - $high; 4294967296 - $low) end;

def double($p):
  (if $b[$p + 7] >= 128 then "-" else "" end) as $sign
  | ($b[$p + 7] % 128 * 16 + ($b[$p + 6] / 16 | floor)) as $exponent
  | ($b[$p + 6] % 16 * 281474976710656 + ($b[$p + 4] + 256 * $b[$p + 5]) * 4294967296 + u32($p)) as $fraction
  | if $exponent == 2047 then (if $fraction == 0 then $sign + "Infinity" else "NaN" end)
    elif $exponent == 0 and $fraction == 0 then $sign + "0.0"
    else (if $exponent == 0 then $fraction * pow(2; -1074) else ($fraction + 4503599627370496) * pow(2; $exponent - 1075) end)
      | tostring | $sign + if test("[.e]"; "i") then . else . + ".0" end
    end;

# The coefficient has 113 bits: it is kept in groups of seven digits, the last ones first.
def decimal128($p):
  (if $b[$p + 15] >= 128 then "-" else "" end) as $sign | ($b[$p + 15] % 128) as $first
  | if $first >= 124 then "NaN"
    elif $first >= 120 then $sign + "Infinity"
    elif $first >= 96 then $sign + "0E" + ($first % 32 * 512 + $b[$p + 14] * 2 + ($b[$p + 13] / 128 | floor) - 6176 | tostring)
    else
      reduce ($b[$p + 14] % 2, $b[$p + 13 - range(14)]) as $byte ([0];
        reduce .[] as $group ({carry: $byte, groups: []};
          ($group * 256 + .carry) as $sum | {carry: ($sum / 10000000 | floor), groups: (.groups + [$sum % 10000000])})
        | .groups + if .carry > 0 then [.carry] else [] end)
      | reverse | (.[0] | tostring) + (.[1:] | map(padded(7)) | add // "")
      | $sign + . + "E" + ($first * 128 + ($b[$p + 14] / 2 | floor) - 6176 | tostring)
    end;

def hexadecimal($from; $to):
  [$b[$from:$to][] | (. / 16 | floor), . % 16 | "0123456789abcdef"[.:. + 1]] | add // "";
def base64($from; $to):
  $b[$from:$to] as $bytes | ($bytes | length) as $length
  | "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/" as $alphabet
  | [range(0; $length; 3) as $i
      | ($bytes[$i] * 65536 + ($bytes[$i + 1] // 0) * 256 + ($bytes[$i + 2] // 0)) as $three
      | [262144, 4096, 64, 1 | ($three / . | floor) % 64 | $alphabet[.:. + 1]]
      | if $length - $i == 1 then .[0:2] + ["=="] elif $length - $i == 2 then .[0:3] + ["="] else . end | add]
  | add // "";

def text($from; $to):
  [foreach $b[$from:$to][] as $byte ({more: 0, code: 0};
      if .more > 0 then {more: (.more - 1), code: (.code * 64 + $byte - 128)}
      elif $byte < 128 then {more: 0, code: $byte}
      elif $byte < 224 then {more: 1, code: ($byte - 192)}
      elif $byte < 240 then {more: 2, code: ($byte - 224)}
      else {more: 3, code: ($byte - 240)} end;
      if .more > 0 then empty else .code | if . > 1114111 or (. >= 55296 and . < 57344) then 65533 else . end end)]
  | implode;
def zero($p): first(range($p; $b | length) | select($b[.] == 0));

# The fields from one byte to another: names, values as JSON, and where these begin and end.
def fields($from; $to):
  def value($type; $p):
    def string: text($p + 4; $p + 3 + u32($p)) | tojson;
    def after_string: $p + 4 + u32($p);
    def json($begin): [fields($begin + 4; $begin + u32($begin) - 1)[] | (.name | tojson) + ":" + .json] | "{" + join(",") + "}";
    if $type == 1 then ["{\"$numberDouble\":\"\(double($p))\"}", $p + 8]
    elif $type == 2 then [string, after_string]
    elif $type == 3 then [json($p), $p + u32($p)]
    elif $type == 4 then [([fields($p + 4; $p + u32($p) - 1)[].json] | "[" + join(",") + "]"), $p + u32($p)]
    elif $type == 5 then
      # The old kind of binary repeats its length.
      (if $b[$p + 4] == 2 then 9 else 5 end) as $head | ($p + 5 + u32($p)) as $stop
      | ["{\"$binary\":{\"base64\":\"\(base64($p + $head; $stop))\",\"subType\":\"\(hexadecimal($p + 4; $p + 5))\"}}", $stop]
    elif $type == 6 then ["{\"$undefined\":true}", $p]
    elif $type == 7 then ["{\"$oid\":\"\(hexadecimal($p; $p + 12))\"}", $p + 12]
    elif $type == 8 then [($b[$p] == 1 | tostring), $p + 1]
    elif $type == 9 then ["{\"$date\":{\"$numberLong\":\"\(i64($p))\"}}", $p + 8]
    elif $type == 10 then ["null", $p]
    elif $type == 11 then
      zero($p) as $stop | zero($stop + 1) as $last
      | ["{\"$regularExpression\":{\"pattern\":\(text($p; $stop) | tojson),\"options\":\(text($stop + 1; $last) | tojson)}}", $last + 1]
    elif $type == 12 then
      after_string as $at
      | ["{\"$dbPointer\":{\"$ref\":\(string),\"$id\":{\"$oid\":\"\(hexadecimal($at; $at + 12))\"}}}", $at + 12]
    elif $type == 13 then ["{\"$code\":\(string)}", after_string]
    elif $type == 14 then ["{\"$symbol\":\(string)}", after_string]
    elif $type == 15 then
      ($p + 8 + u32($p + 4)) as $scope
      | ["{\"$code\":\(text($p + 8; $scope - 1) | tojson),\"$scope\":\(json($scope))}", $p + u32($p)]
    elif $type == 16 then ["{\"$numberInt\":\"\(i32($p))\"}", $p + 4]
    elif $type == 17 then ["{\"$timestamp\":{\"t\":\(u32($p + 4)),\"i\":\(u32($p))}}", $p + 8]
    elif $type == 18 then ["{\"$numberLong\":\"\(i64($p))\"}", $p + 8]
    elif $type == 19 then ["{\"$numberDecimal\":\"\(decimal128($p))\"}", $p + 16]
    elif $type == 255 then ["{\"$minKey\":1}", $p]
    elif $type == 127 then ["{\"$maxKey\":1}", $p]
    else error("the catalog has a value of the unknown type \($type)") end;
  [{stop: $from} | recurse(
      if .stop >= $to then empty
      else .stop as $at | zero($at + 1) as $name | value($b[$at]; $name + 1) as [$json, $stop]
        | {name: text($at + 1; $name), json: $json, begin: ($name + 1), stop: $stop} end)]
  | .[1:];

# What mongorestore calls the files of a collection. Names that are too long for files end in something that tells them
# apart; their metadata has the name itself.
def file_name($number): @uri | if length < 238 then . else .[0:208] + "%24" + ($number | padded(27)) end;
def integer: fromjson | (.["$numberInt"] // .["$numberLong"]);
def bytes($field): $b[$field.begin:$field.stop] | map("\\" + (. / 64 | floor | tostring) + (. / 8 | floor % 8 | tostring) + (. % 8 | tostring)) | add;

fields(4; ($b | length) - 1) as $fields
| ($fields | map({key: .name, value: .}) | from_entries) as $field
| ($field | map_values(.json)) as $json
| ($json.type | fromjson) as $type
| if $type == "collection" then
    ($json.name | fromjson) as $name | ($json.kind | fromjson) as $kind | ($json.number | integer) as $number
    | (if $kind == "buckets"
       then "system.buckets." + ($name | ltrimstr("system.buckets.") | file_name($number))
       else $name | file_name($number) end) as $file
    | ["collection", $kind, ($json.db | fromjson | @uri), $file],
      ["metadata", "{\"options\":\($json.options),\"indexes\":\($json.indexes),\"uuid\":\"\($json.uuid
        | if . == "null" then "" else $field.uuid.begin as $p | hexadecimal($p + 5; $p + 21) end)\",\"collectionName\":\($name
        | if ($file | length) >= 238 then @uri else . end | tojson),\"type\":\"\($kind)\"}"]
  elif $type == "segments" or $type == "oplog_segments" then
    $json.segments | fromjson[] | ["segment", (.n | .["$numberLong"] // .["$numberInt"]), (.bytes | .["$numberLong"] // .["$numberInt"])]
  elif $type == "oplog" then ["oplog", ($json.patterns | fromjson | length | tostring)]
  elif $type == "user" or $type == "role" then [$type, bytes($field.document)]
  elif $type == "source" then empty
  else error("the catalog has an entry of the unknown type \($type)") end
| join("\t")
JQ
)

# Where each segment lies.
declare -A place
while IFS=$'\t' read -r number key offset size sha256; do
    place[$number]="$key $offset $size $sha256"
done < <(jq -r '.payload.packs[] | .key as $key | .segments[] | [.n, $key, .offset, .size, .sha256] | @tsv' "$manifest")

# The file that segments are written to, and how large it must become.
into='' expected=0

finish() {
    [ -z "$into" ] || [ "$(wc -c <"$into")" -eq "$expected" ] || fail "$into has not become as large as it should be"
    into='' expected=0
}

begin() {
    finish
    into=$1
    mkdir -p "${into%/*}"
    : >"$into"
}

segment() {
    local key offset size sha256
    [ -n "${place[$1]:-}" ] || fail "the manifest has no segment $1"
    read -r key offset size sha256 <<<"${place[$1]}"
    dd if="$repository/$key" of="$work/segment" bs=1M iflag=skip_bytes,count_bytes,fullblock \
        skip="$offset" count="$size" status=none || fail "cannot read $key"
    check "$work/segment" "$sha256" "segment $1 of $key"
    open <"$work/segment" >>"$into" || fail "segment $1 of $key cannot be opened" "is $identity the right identity?"
    expected=$((expected + $2))
}

# Prints the folder of a database.
folder_of() {
    local name
    printf -v name '%b' "${1//%/\\x}"
    case $name in '' | . | .. | */*) fail "'$name' is no name of a database" ;; esac
    printf '%s/%s' "$out" "$name"
}

IFS=$'\t' read -r key sha256 < <(jq -r '.payload.catalog | [.key, .sha256] | @tsv' "$manifest")
check "$repository/$key" "$sha256" "$key"
open <"$repository/$key" >"$work/catalog" || fail "the catalog cannot be opened" "is $identity the right identity?"
split_documents <"$work/catalog" | jq -R -r "$plan" >"$work/plan" || fail "the catalog cannot be read"

say "Recovering $id into $out"
folder='' file='' kind='' collections=0 oplog='' accounts=''
while IFS=$'\t' read -r what first second third; do
    case $what in
    collection)
        kind=$first file=$third folder=$(folder_of "$second")
        collections=$((collections + 1))
        mkdir -p "$folder"
        case $kind in collection | buckets) begin "$folder/$file.bson" ;; *) finish ;; esac
        ;;
    metadata) [ "$kind" = buckets ] || printf '%s\n' "$first" >"$folder/$file.metadata.json" ;;
    segment) segment "$first" "$second" ;;
    oplog)
        begin "$out/oplog.bson"
        oplog=$first
        ;;
    user | role)
        finish
        accounts=yes
        mkdir -p "$out/admin"
        # The bytes are written as octal escapes, and nothing else is in there.
        # shellcheck disable=SC2059
        printf "$first" >>"$out/admin/system.${what}s.bson"
        ;;
    *) fail "the catalog has something unknown: $what" ;;
    esac
done <"$work/plan"
finish
# What mongorestore must see to restore users: {_id: "authSchema", currentVersion: 5}, which every server since 3.0 has.
[ -z "$accounts" ] || printf '\055\000\000\000\002_id\000\013\000\000\000authSchema\000\020currentVersion\000\005\000\000\000\000' \
    >"$out/admin/system.version.bson"

say "Recovered $collections namespaces. Every byte that was read is as it was written."
command="mongorestore --uri=… --bypassDocumentValidation"
if [ -n "$oplog" ]; then
    say "This backup was read while documents went on changing: replay its oplog, or it shows no single moment. Duplicate keys"
    say "that mongorestore reports before that are second versions of documents, and expected."
    [ "$oplog" = 0 ] || say "It holds chosen namespaces only, and its oplog has entries of all: replay it into a server of its own."
    command+=" --oplogReplay"
fi
say "Next: $command $out"
