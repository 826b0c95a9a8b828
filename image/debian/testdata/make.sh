#!/bin/sh
# Makes repo/ and keyring.gpg: a Debian archive of two packages, signed with a
# key that is thrown away afterwards. Needs dpkg-deb and gpg; the tests need the result only.
set -eu
cd "$(dirname "$0")"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
rm -rf repo keyring.gpg
mkdir -p repo/pool repo/dists/trixie/main/binary-amd64

package() { # NAME DEPENDS
	mkdir -p "$tmp/$1/DEBIAN" "$tmp/$1/usr/share/doc/$1"
	printf 'Package: %s\nVersion: 1:1.0-1\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\nDepends: %s\nDescription: test\n' "$1" "$2" |
		sed '/^Depends: $/d' >"$tmp/$1/DEBIAN/control"
	echo "text of $1" >"$tmp/$1/usr/share/doc/$1/README"
	echo "rights of $1" >"$tmp/$1/usr/share/doc/$1/copyright"
}
package hello libhello
mkdir -p "$tmp/hello/usr/bin"
printf '#!/bin/sh\necho hello "$@"\n' >"$tmp/hello/usr/bin/hello"
chmod 4755 "$tmp/hello/usr/bin/hello"
ln -s hello "$tmp/hello/usr/bin/hi"
ln "$tmp/hello/usr/bin/hello" "$tmp/hello/usr/bin/hullo"
package libhello ""
mkdir -p "$tmp/libhello/lib/x86_64-linux-gnu" # through the merged /usr
echo library >"$tmp/libhello/lib/x86_64-linux-gnu/libhello.so.1"

find "$tmp" -exec touch -hd @0 {} +
packages=repo/dists/trixie/main/binary-amd64/Packages
for name in hello libhello; do
	deb=pool/$name.deb
	dpkg-deb --root-owner-group -Zgzip -b "$tmp/$name" "repo/$deb" >/dev/null
	dpkg-deb -f "repo/$deb"
	printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "repo/$deb")" "$(sha256sum <"repo/$deb" | cut -d' ' -f1)"
done >$packages
cat >"$tmp/Release" <<END
Origin: casemate test
Suite: trixie
Codename: trixie
Date: Wed, 01 Jan 2025 00:00:00 UTC
Architectures: amd64
Components: main
SHA256:
 $(sha256sum <$packages | cut -d' ' -f1) $(stat -c %s $packages) main/binary-amd64/Packages
END

mkdir -m 700 "$tmp/gnupg"
export GNUPGHOME="$tmp/gnupg"
# Long ago, for machines whose clock is behind.
gpg() { command gpg -q --faked-system-time 20250101T000000 "$@"; }
gpg --batch --passphrase '' --quick-generate-key 'casemate test' rsa3072 sign never
gpg --clearsign -o repo/dists/trixie/InRelease "$tmp/Release"
gpg --export >keyring.gpg
gpgconf --kill all
