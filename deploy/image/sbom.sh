#!/bin/sh
# TL;DR: deploy/image/sbom.sh TARGET >chaos-agent.cdx.json   (build.sh image --oci calls it)
#
# What is inside the binary, as a CycloneDX 1.5 document: every crate that is linked in for TARGET (no build scripts,
# no procedural macros, no crates for tests), with its license and its checksum from Cargo.lock, and Rust's own
# standard library. Made by cargo, awk and sha256sum; the same sources make the same bytes.
#
# Environment: VERSION, CREATED (seconds since 1970), CARGO_OPTIONS (such as --locked --offline).
set -eu
export LC_ALL=C
cd "$(dirname "$0")/../.."
[ $# = 1 ] || { echo "usage: sbom.sh TARGET" >&2; exit 64; }
# shellcheck disable=SC2153 # from the environment
created=$(date -u -d "@$CREATED" +%Y-%m-%dT%H:%M:%SZ)

# depth, name and version, license: a line a crate, a crate below the one that needs it.
# shellcheck disable=SC2086 # a list of options
crates=$(cargo tree ${CARGO_OPTIONS:-} --target "$1" --edges normal,no-proc-macro --prefix depth --no-dedupe \
    --format '|{p}|{l}' | sed 's/ ([^|]*)|/|/') # without the folder of this machine
[ -n "$crates" ] || { echo "sbom.sh: cargo tree knows no crate" >&2; exit 1; }
serial=$(printf '%s\n' "$crates" "$VERSION" "$CREATED" "$1" | sha256sum | cut -c 1-32 |
    sed 's/^\(.\{8\}\)\(.\{4\}\).\(.\{3\}\).\(.\{3\}\)\(.\{12\}\)$/\1-\2-5\3-8\4-\5/')
rust=$(rustc --version | cut -d ' ' -f 2)

printf '%s\n' "$crates" | awk -F '|' -v version="$VERSION" -v created="$created" -v serial="$serial" \
    -v target="$1" -v rust="$rust" '
    function purl(name, version) {
        gsub(/\+/, "%2B", version)
        return "pkg:cargo/" name "@" version
    }
    function quoted(text) {
        gsub(/["\\]/, "\\\\&", text)
        return "\"" text "\""
    }
    BEGIN { # the checksums of Cargo.lock, by name and version
        while ((getline line <"Cargo.lock") > 0) {
            split(line, part, "\"")
            if (line ~ /^name = /) name = part[2]
            if (line ~ /^version = /) id = name " " part[2]
            if (line ~ /^checksum = /) sum[id] = part[2]
        }
    }
    {
        split($2, word, " ")
        sub(/^v/, "", word[2])
        ref = purl(word[1], word[2])
        above[$1] = ref
        if ($1 > 0) {
            edge = above[$1 - 1] " " ref
            if (!(edge in edges)) {
                edges[edge] = 1
                needs[above[$1 - 1]] = needs[above[$1 - 1]] (needs[above[$1 - 1]] ? "," : "") quoted(ref)
            }
        } else {
            license0 = $3
        }
        if (!(ref in seen)) {
            seen[ref] = 1
            order[++count] = ref
            title[ref] = word[1]
            number[ref] = word[2]
            license[ref] = $3
        }
    }
    END {
        std = "pkg:generic/rust-std@" rust
        printf "{\n  \"bomFormat\": \"CycloneDX\",\n  \"specVersion\": \"1.5\",\n"
        printf "  \"serialNumber\": \"urn:uuid:%s\",\n  \"version\": 1,\n  \"metadata\": {\n", serial
        printf "    \"timestamp\": \"%s\",\n    \"component\": {\"type\": \"application\", \"bom-ref\": %s, ", created, quoted(order[1])
        printf "\"name\": \"chaos-agent\", \"version\": %s, \"purl\": %s, ", quoted(version), quoted(order[1])
        printf "\"licenses\": [{\"expression\": %s}]},\n", quoted(license0)
        printf "    \"properties\": [{\"name\": \"cargo:target\", \"value\": %s}]\n  },\n  \"components\": [\n", quoted(target)
        for (i = 2; i <= count; i++) {
            ref = order[i]
            gsub("/", " OR ", license[ref]) # the old spelling of a choice
            printf "    {\"type\": \"library\", \"bom-ref\": %s, \"name\": %s, \"version\": %s, \"purl\": %s, ", \
                quoted(ref), quoted(title[ref]), quoted(number[ref]), quoted(ref)
            checksum = sum[title[ref] " " number[ref]]
            if (checksum != "") printf "\"hashes\": [{\"alg\": \"SHA-256\", \"content\": \"%s\"}], ", checksum
            printf "\"licenses\": [{\"expression\": %s}]},\n", quoted(license[ref])
        }
        printf "    {\"type\": \"library\", \"bom-ref\": %s, \"name\": \"rust-std\", \"version\": %s, \"purl\": %s, ", \
            quoted(std), quoted(rust), quoted(std)
        printf "\"description\": \"the Rust standard library, with musl libc\", \"licenses\": [{\"expression\": \"(MIT OR Apache-2.0) AND MIT\"}]}\n  ],\n"
        printf "  \"dependencies\": [\n"
        for (i = 1; i <= count; i++)
            printf "    {\"ref\": %s, \"dependsOn\": [%s%s]},\n", quoted(order[i]), needs[order[i]], \
                (needs[order[i]] ? "," : "") quoted(std)
        printf "    {\"ref\": %s, \"dependsOn\": []}\n  ]\n}\n", quoted(std)
    }'
