#!/bin/sh
# TL;DR: deploy/image/oci.sh FILE ARCH=BINARY...   (build.sh image --oci calls it; by hand it needs no toolchain)
#
# An image archive made by sh, tar (GNU's) and sha256sum alone: no builder, no daemon, no network. One file that
# `docker load`, `podman load`, `ctr images import` and skopeo (oci-archive:, docker-archive:) read: an OCI image
# layout with docker's manifest.json beside it. Several ARCH=BINARY make one multi-architecture index, for what reads
# OCI: containerd, skopeo, podman.
#
# The image is what Dockerfile.scratch says: its labels, ports, entry point and command are read from there. The
# layer is one file and not compressed, so its digest is its diff_id. Same input, same bytes: every time in it is
# CREATED, files are in order, and belong to root.
#
# Environment: NAME (full reference), VERSION, REVISION, CREATED (seconds since 1970), SOURCE (URL; may be empty).
# Specification: OCI image-spec 1.0 (layout, manifest, config, annotations), moby's image spec 1.2 (manifest.json).
# Exit code: 0 done, 1 failed, 64 wrong usage.
set -eu
umask 022
export LC_ALL=C

die() {
    echo "oci.sh: $1" >&2
    exit "${2:-1}"
}

[ $# -ge 2 ] || die "usage: oci.sh FILE ARCH=BINARY..." 64
file=$1
shift
dockerfile=$(dirname "$0")/../../Dockerfile.scratch
[ -r "$dockerfile" ] || die "cannot read $dockerfile"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
mkdir -p "$root/blobs/sha256" "$work/layer"

: "${NAME:?}" "${VERSION:?}" "${REVISION:?}" "${CREATED:?}" "${SOURCE:=}"
# What goes into JSON as it is must need no escape there.
for value in "$NAME" "$VERSION" "$REVISION" "$CREATED" "$SOURCE"; do
    case $value in
    *[!A-Za-z0-9._:/@+~-]*) die "cannot write \"$value\" into the image: only letters, digits and ._:/@+~- are allowed" 64 ;;
    esac
done
case ${NAME##*/} in
*:?*) ;;
*) die "cannot name the image $NAME: a full reference is needed, such as localhost/chaos-agent:$VERSION" 64 ;;
esac
case $CREATED in
*[!0-9]* | '') die "cannot date the image: CREATED=$CREATED is no number of seconds since 1970" 64 ;;
esac
created=$(date -u -d "@$CREATED" +%Y-%m-%dT%H:%M:%SZ)

# --- what Dockerfile.scratch says -------------------------------------------------------------------------

instruction() { sed -n "s/^$1 \(.*\)/\1/p" "$dockerfile"; }
said() { sed -n "s/^.*org\.opencontainers\.image\.$1=\"\([^\"\\\\]*\)\".*/\1/p" "$dockerfile"; }
entrypoint=$(instruction ENTRYPOINT) command=$(instruction CMD) port=$(instruction EXPOSE)
title=$(said title) description=$(said description) licenses=$(said licenses)
for value in "$entrypoint" "$command" "$port" "$title" "$description" "$licenses"; do
    [ -n "$value" ] || die "cannot find ENTRYPOINT, CMD, EXPOSE and the labels in $dockerfile"
done

labels() { # labels of the config and annotations of the manifest alike, in the order of their names
    p=org.opencontainers.image
    printf '"%s.created":"%s","%s.description":"%s","%s.licenses":"%s","%s.revision":"%s",' \
        $p "$created" $p "$description" $p "$licenses" $p "$REVISION"
    [ -z "$SOURCE" ] || printf '"%s.source":"%s",' $p "$SOURCE"
    printf '"%s.title":"%s","%s.version":"%s"' $p "$title" $p "$VERSION"
}

# --- blobs ------------------------------------------------------------------------------------------------

# Files of a folder in order, of root, of one time, without padding to records and without parent folders.
pack() { # folder, file, members...
    folder=$1 into=$2
    shift 2
    tar --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$CREATED" --record-size=512 \
        -C "$folder" -cf "$into" "$@"
}

digest() { sha256sum "$1" | cut -d ' ' -f 1; }
size() { wc -c <"$1" | tr -d ' '; }

blob() { # file: moves it to its place; $hash and $bytes say which and how large
    hash=$(digest "$1") bytes=$(size "$1")
    mv "$1" "$root/blobs/sha256/$hash"
}

descriptor() { # media type, more members: of the blob made last
    printf '{"mediaType":"application/vnd.oci.image.%s","digest":"sha256:%s","size":%s%s}' "$1" "$hash" "$bytes" "${2:-}"
}

platform() { # architecture: as GOARCH and GOARM name it
    case $1 in
    armv7) printf '"architecture":"arm","os":"linux","variant":"v7"' ;;
    amd64 | arm64 | 386 | riscv64) printf '"architecture":"%s","os":"linux"' "$1" ;;
    *) return 1 ;;
    esac
}

image() { # architecture, binary: layer, config and manifest, the blob made last; $extra is for its descriptor
    platform "$1" >/dev/null || die "unknown architecture: $1; amd64, arm64, 386, armv7 or riscv64" 64
    [ -s "$2" ] || die "cannot read $2; ./build.sh --arch $1 makes it"
    cp "$2" "$work/layer/chaos-agent"
    chmod 755 "$work/layer/chaos-agent"
    pack "$work/layer" "$work/blob" chaos-agent
    blob "$work/blob"
    layer=$(descriptor layer.v1.tar) layer_hash=$hash

    printf '{"created":"%s",%s,"config":{"ExposedPorts":{"%s/tcp":{}},"Entrypoint":%s,"Cmd":%s,"WorkingDir":"/","Labels":{%s}},' \
        "$created" "$(platform "$1")" "$port" "$entrypoint" "$command" "$(labels)" >"$work/blob"
    printf '"rootfs":{"type":"layers","diff_ids":["sha256:%s"]},"history":[{"created":"%s","created_by":"COPY chaos-agent /chaos-agent"}]}' \
        "$layer_hash" "$created" >>"$work/blob"
    blob "$work/blob"
    config=$(descriptor config.v1+json) config_hash=$hash

    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":%s,"layers":[%s],"annotations":{%s}}' \
        "$config" "$layer" "$(labels)" >"$work/blob"
    blob "$work/blob"
    extra=",\"platform\":{$(platform "$1")}"
}

# --- the archive ------------------------------------------------------------------------------------------

# containerd takes the whole reference from its own annotation, others the tag from the specification's.
name=",\"annotations\":{\"io.containerd.image.name\":\"$NAME\",\"org.opencontainers.image.ref.name\":\"${NAME##*:}\"}"
images="" count=$# kind=manifest.v1+json
for pair in "$@"; do
    image "${pair%%=*}" "${pair#*=}"
    [ "$count" = 1 ] || images=$images${images:+,}$(descriptor manifest.v1+json "$extra")
done
if [ "$count" = 1 ]; then
    printf '[{"Config":"blobs/sha256/%s","RepoTags":["%s"],"Layers":["blobs/sha256/%s"]}]\n' \
        "$config_hash" "$NAME" "$layer_hash" >"$root/manifest.json"
else
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s],"annotations":{%s}}' \
        "$images" "$(labels)" >"$work/blob"
    blob "$work/blob"
    extra="" kind=index.v1+json
fi
printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[%s]}\n' \
    "$(descriptor $kind "$extra$name")" >"$root/index.json"
printf '{"imageLayoutVersion":"1.0.0"}\n' >"$root/oci-layout"

# Only files: a folder entry for a parent confuses some importers.
members=$(cd "$root" && find ./* -type f | sed "s,^\./,," | sort)
# shellcheck disable=SC2086 # digests and fixed names: no spaces
pack "$root" "$work/archive" $members
mv "$work/archive" "$file"
