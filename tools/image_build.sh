#!/bin/sh
# Build the image without a daemon: FOLDER keeps a Debian made by debootstrap, which is BASE here, and the images. Usage: image_build.sh FOLDER [cpu|gpu]
# As root, on Debian or Ubuntu, with buildah, podman, crun and debootstrap. What pip needs to know of its index it reads from pip.conf, which is mounted, never copied.
set -eu
folder=$(mkdir -p "$1" && cd "$1" && pwd)
target=${2:-cpu}
storage="--storage-driver vfs --root $folder/storage --runroot $folder/run"
cd "$(dirname "$0")/.."

if ! buildah $storage inspect --type image localhost/base:1 >/dev/null 2>&1; then
    rm -rf "$folder/debian"
    debootstrap --variant=minbase --include=ca-certificates,python3,python3-venv,python3-pip bookworm "$folder/debian" >"$folder/debootstrap.log"
    tar -C "$folder/debian" -c . | podman $storage import - localhost/base:1 >/dev/null
    rm -rf "$folder/debian"
fi
mounts="-v /etc/ssl/certs:/etc/ssl/certs:ro"
[ ! -f /etc/pip.conf ] || mounts="$mounts -v /etc/pip.conf:/etc/pip.conf:ro"
buildah $storage bud --format docker --isolation chroot --network host $mounts --build-arg BASE=localhost/base:1 --target "$target" -t "localhost/seatrial:$target" .
